"The built-in benchmark, from the command line and through interruptions."
import json
import os
import signal
import subprocess
import sys
import time

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
    writer.send_signal(signal.SIGKILL); writer.wait()
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
