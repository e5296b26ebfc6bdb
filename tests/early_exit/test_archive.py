"Scoring an archive: by one process or two, killed and gone on with, and refused where it would not be one result."
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import tyro
from conftest import CPU, ROOT, TWO_PROCESSES, run

from adafocus import predict
from adafocus.data import needle
from adafocus.method.model import AdaFocus, ModelConfig
from adafocus.run.config import Config, DataConfig, save_config
from adafocus.run.folder import save_weights

COMMAND = '-m', 'adafocus.predict'
BOTH = '-m', *TWO_PROCESSES, 'adafocus.predict'


@pytest.fixture(scope='module')
def untrained(tmp_path_factory):
    "A run that has learned nothing, and predicts all the same."
    folder = tmp_path_factory.mktemp('archive')/'run'
    folder.mkdir()
    model = ModelConfig(num_classes=len(needle.GLYPHS), num_frames=4, frame_size=64, patch_size=32, global_size=28, global_encoder='small_global', local_encoder='small_local',
                        policy_channels=16, policy_hidden=32, classifier_hidden=64)
    torch.manual_seed(0)
    save_config(Config(preset='needle', classes=list(needle.GLYPHS), model=model, data=DataConfig(resize=64)), folder/'config.yaml')
    save_weights(AdaFocus(model), folder/'model.safetensors')
    return folder


@pytest.fixture(scope='module')
def alone(untrained, tiny, tmp_path_factory):
    "What one process says of all seventy videos, by path."
    out = tmp_path_factory.mktemp('alone')/'scores'
    status, said = command(untrained, tiny, '--out', out)
    assert status == 0 and 'holds 70 videos' in said, said
    return by_path(out)


def command(*args):
    "The command in this process, as one process does it: its status, and all it prints."
    said, status = io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try: tyro.cli(predict.main, args=[*(str(a) for a in args), '--device', 'cpu'])
        except SystemExit as e: status = e.code
    return status, said.getvalue()


def lines(out):
    "All lines of an archive, none of which is torn."
    texts = [path.read_text() for path in sorted(out.glob('predictions-*.jsonl'))]
    assert all(text.endswith('\n') or not text for text in texts)
    return [json.loads(line) for text in texts for line in text.splitlines()]


def by_path(out):
    "Its lines by their paths, each of which is there once."
    rows = lines(out)
    assert len({row['path'] for row in rows}) == len(rows)
    return {row['path']: row for row in rows}


def same(written, expected):
    "The same videos, and the same predictions but for rounding."
    return written.keys() == expected.keys() and all(row['frames'] == expected[path]['frames'] and torch.allclose(torch.tensor(row['probabilities']), torch.tensor(expected[path]['probabilities']), atol=1e-4)
                                                   for path, row in written.items())


def start(*args):
    "A command in a process group of its own."
    return subprocess.Popen([sys.executable, *(str(a) for a in args)], cwd=ROOT, env={**os.environ, **CPU}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def written(out, count, process, timeout=60):
    "Wait until an archive has some lines. Those of a process that has ended will not come."
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        if sum(path.read_bytes().count(b'\n') for path in out.glob('predictions-*.jsonl')) >= count: return
        time.sleep(.01)
    raise AssertionError(f'there were not {count} lines in {timeout} s')


@pytest.mark.slow
def test_two_processes_write_what_one_does(untrained, tiny, alone, tmp_path):
    out = tmp_path/'scores'
    done = run('python', *BOTH, untrained, tiny, tiny, '--out', out, '--workers', 1, **CPU)
    assert done.returncode == 0 and done.stdout.count('holds 70 videos') == 1, done.stdout + done.stderr
    assert same(by_path(out), alone)
    assert [len(path.read_text().splitlines()) for path in sorted(out.glob('predictions-*.jsonl'))] == [35, 35]


@pytest.mark.slow
def test_a_killed_launch_goes_on_with_another_number_of_processes(untrained, tiny, alone, tmp_path):
    out = tmp_path/'scores'
    process = start(*BOTH, untrained, tiny, '--out', out, '--workers', 1, '--batch-size', 1)
    workers = []
    try:
        written(out, 12, process)
        workers = [int(pid) for pid in open(f'/proc/{process.pid}/task/{process.pid}/children').read().split()]
    finally:
        for pid in (process.pid, *workers): os.kill(pid, signal.SIGKILL)
        process.wait()
    kept = [path.read_bytes().rpartition(b'\n')[0] for path in sorted(out.glob('predictions-*.jsonl'))]
    assert 12 <= sum(len(text.splitlines()) for text in kept) < 70
    status, said = command(untrained, tiny, '--out', out)
    assert status == 0, said
    assert same(by_path(out), alone)
    assert all(path.read_bytes().startswith(text) for path, text in zip(sorted(out.glob('predictions-*.jsonl')), kept))


def test_a_torn_line_is_cut_off_and_its_video_done_again_and_other_values_are_refused(untrained, tiny, alone, tmp_path):
    out = tmp_path/'scores'
    assert command(untrained, tiny/'val', '--out', out)[0] == 0
    file = out/'predictions-00000.jsonl'
    whole = file.read_text().splitlines(keepends=True)
    file.write_text(''.join(whole[:-3]) + whole[-3][:50])
    status, said = command(untrained, tiny/'val', '--out', out, '--thresholds', .5, .5, .5, .5)
    assert status == 2 and 'was begun with thresholds' in said and len(said.splitlines()) == 1, said
    assert file.read_text().endswith(whole[-3][:50])                                              # and nothing was touched
    status, said = command(untrained, tiny/'val', '--out', out)
    assert status == 0 and len(lines(out)) == 20 and file.read_text().startswith(''.join(whole[:-3])), said
    assert same(by_path(out), {path: row for path, row in alone.items() if '/val/' in path})


@pytest.mark.slow
def test_a_second_launch_is_refused_while_the_first_one_runs(untrained, tiny, tmp_path):
    out = tmp_path/'scores'
    reader, writer = os.pipe()                                                                    # of which nothing comes, so that it waits
    first = subprocess.Popen([sys.executable, *COMMAND, untrained, '-', '--out', out], cwd=ROOT, env={**os.environ, **CPU}, stdin=reader, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while not (out/'archive.json').exists():
            assert first.poll() is None
            time.sleep(.05)
        status, said = command(untrained, tiny/'val', '--out', out)
        assert status == 2 and f'process {first.pid} on' in said, said
    finally:
        first.kill()
        first.wait()
        for end in (reader, writer): os.close(end)
    assert command(untrained, tiny/'val', '--out', out)[0] == 0                                   # the dead one's lock is free
    assert len(by_path(out)) == 20


def test_a_broken_video_is_one_line_with_its_error(untrained, tiny, tmp_path):
    (tmp_path/'broken.mp4').write_bytes(b'none')
    videos = *sorted((tiny/'val').rglob('*.mp4'))[:3], tmp_path/'broken.mp4'
    out = tmp_path/'scores'
    status, said = command(untrained, *videos, '--out', out)
    assert status == 1 and 'holds 4 videos, of which 1 could not be read' in said, said
    assert ['error' in by_path(out)[str(video)] for video in videos] == [False]*3 + [True]


def test_what_cannot_be_is_refused_in_a_sentence(untrained, tiny, tmp_path):
    (tmp_path/'mine.txt').touch()
    for args, words in ((('--out', tmp_path), 'holds no archive.json'), (('--out', tmp_path/'a', '--json'), 'json is given with out'),
                        (('--out', tmp_path/'a', '--draw', tmp_path/'b'), 'draw is given with out'), (('--out', tmp_path/'a', '--budget', 1), 'exit.json')):
        status, said = command(untrained, tiny/'val', *args)
        assert status == 2 and words in said and len(said.splitlines()) == 1, said
    assert sorted(p.name for p in tmp_path.iterdir()) in (['mine.txt'], ['a', 'mine.txt']) and not list(tmp_path.glob('a/predictions*'))
