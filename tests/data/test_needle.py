"The built-in benchmark, from the command line and through interruptions."
import json
import os
import platform
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, run

from adafocus.data import needle


def contents(folder): return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}


def test_processes_do_not_matter(tmp_path):
    config = needle.NeedleConfig(videos=40, val_share=.25, seed=3)
    done = run('python', '-m', 'adafocus.data.needle', tmp_path/'two', '--videos', 40, '--val-share', .25, '--seed', 3, '--workers', 2)
    assert done.returncode == 0, done.stderr
    one = needle.write_dataset(tmp_path/'one', config, workers=1, progress=False)
    assert contents(one) == contents(tmp_path/'two') and needle.is_dataset(one, config)
    assert len(list((one/'train').glob('*/*.mp4'))) == 30


def test_a_killed_writer_leaves_nothing_that_is_trusted(tmp_path):
    out = tmp_path/'data'
    writer = subprocess.Popen([sys.executable, '-m', 'adafocus.data.needle', str(out), '--videos', '3000', '--workers', '1'], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(tmp_path.glob('.data.*.partial/*/*/*.mp4'))) < 20: time.sleep(.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert list(tmp_path.glob('.data.*.partial')) and not out.exists()
    needle.write_dataset(out, needle.NeedleConfig(videos=12), workers=1, progress=False)
    assert sorted(os.listdir(tmp_path)) == ['data'] and len(list(out.glob('*/*/*.mp4'))) == 12


def test_the_default_is_written_once_into_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('ADAFOCUS_CACHE', str(tmp_path))
    config = needle.NeedleConfig(videos=12)
    first = needle.cached_dataset(config, workers=1)
    stamp = (first/'needle.json').stat().st_mtime_ns
    assert needle.cached_dataset(config, workers=1) == first and (first/'needle.json').stat().st_mtime_ns == stamp
    assert needle.cached_dataset(needle.NeedleConfig(videos=13), workers=1) != first
    lines = [json.loads(line) for line in (first/'annotations.jsonl').open()]
    assert len(lines) == 12 and {len(line['boxes']) for line in lines} == {16}


TINY = needle.NeedleConfig(videos=30, val_share=1/3)


def test_the_same_configuration_gives_the_same_bytes(tmp_path):
    one, other = (needle.write_dataset(tmp_path/name, TINY, workers=1, progress=False) for name in ('one', 'other'))
    assert contents(one) == contents(other)
    for line in map(json.loads, (one/'annotations.jsonl').open()):
        boxes = np.array(line['boxes'])
        assert boxes.min() >= 0 and boxes.max() <= 112 and (boxes[:, 2:] - boxes[:, :2] == needle.TILE).all()


def test_an_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    calls = iter(['{}']*7)
    def write_one(*args):
        for line in calls: return line
        raise KeyboardInterrupt
    monkeypatch.setattr(needle, '_write_one', write_one)
    with pytest.raises(KeyboardInterrupt): needle.write_dataset(tmp_path/'stopped', TINY, workers=1, progress=False)
    assert not list(tmp_path.iterdir())


def test_what_killed_processes_have_left_is_removed(tmp_path):
    (tmp_path/f'.data.{platform.node()}-99999999.partial'/'train').mkdir(parents=True)
    needle.write_dataset(tmp_path/'data', needle.NeedleConfig(videos=12), workers=1, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ['data']


def test_signs_are_hidden_in_the_share_that_was_drawn():
    shares = [needle._visible(np.random.default_rng(k), 16, .8).mean() for k in range(400)]
    assert .55 < np.mean(shares) < .65 and min(shares) < .25 and max(shares) == 1
    first = [needle._visible(np.random.default_rng(k), 16, .8)[7] for k in range(400)]            # the frame that is processed first
    assert .62 < np.mean(first) < .76


@pytest.mark.parametrize('wrong', [dict(size=111), dict(size=20), dict(videos=5, val_share=1.), dict(max_hidden=1.), dict(frames=0), dict(task='smell')])
def test_a_wrong_configuration_is_refused(wrong):
    with pytest.raises(ValueError, match=f'{list(wrong)[-1]} is '): needle.NeedleConfig(**wrong)
