"Whole files, JSON lines, and locks."
import os
import platform
import subprocess
import sys

import pytest

from adafocus.system.files import keep_lines, lock_folder, read_lines, take_lock, write_whole

HOLD = '''import sys, time
from pathlib import Path
from adafocus.system.files import lock_folder
try:
    with lock_folder(Path(sys.argv[1])):
        print('mine', flush=True)
        time.sleep(60)
except ValueError as error: print(error)'''


def test_a_file_is_replaced_or_kept(tmp_path):
    path = tmp_path/'a.txt'
    with write_whole(path, sync=True) as partial:
        assert partial.suffix == '.txt' and partial.parent == tmp_path
        partial.write_text('one')
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    with pytest.raises(KeyError), write_whole(path) as partial:
        partial.write_text('two')
        raise KeyError
    assert path.read_text() == 'one' and [p.name for p in tmp_path.iterdir()] == ['a.txt']


def test_lines(tmp_path):
    assert read_lines(tmp_path/'nothing.jsonl') == []
    keep_lines(tmp_path/'nothing.jsonl', lambda line: True)
    path = tmp_path/'a.jsonl'
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    keep_lines(path, lambda line: line['a'] > 1)
    assert path.read_text() == '{"a": 2}\n' and len(list(tmp_path.iterdir())) == 1


def test_one_of_several_processes_gets_a_folder_and_a_killed_one_leaves_it(tmp_path):
    processes = [subprocess.Popen([sys.executable, '-c', HOLD, tmp_path], stdout=subprocess.PIPE, text=True) for _ in range(6)]
    first = [p.stdout.readline().strip() for p in processes]
    owner = processes[first.index('mine')]
    named = f'{tmp_path} is in use by process {owner.pid} on {platform.node()}; wait for it, or choose another folder'
    others = [line for line in first if line != 'mine']
    assert len(others) == 5 and set(others) <= {named, named.replace(f'process {owner.pid} on {platform.node()}', 'another process')}
    with pytest.raises(ValueError, match=f'process {owner.pid} on'), lock_folder(tmp_path): pass
    owner.kill()
    owner.wait()
    with lock_folder(tmp_path): pass
    for p in processes: p.communicate()


def test_a_lock_is_given_back(tmp_path):
    lock = take_lock(tmp_path/'lock')
    assert lock and take_lock(tmp_path/'lock') is None
    lock.release()
    assert take_lock(tmp_path/'lock')
