"The check of a dataset: what it writes, that it goes on, that training heeds it, and that it replaces nothing else."
import json
import os
import shutil

import numpy as np
import pytest
import tyro
from conftest import SMALL, command, run
from filelock import FileLock
from layouts import CLASSES, folder, text

from adafocus import check, evaluate, train
from adafocus.check import check_data
from adafocus.data import needle
from adafocus.data.datasets import open_data
from adafocus.data.video.guard import DecodeProcess
from adafocus.data.video.writing import drop_pictures, write_video


def checked(*args): return command(lambda args: tyro.cli(check.main, prog='python -m adafocus.check', args=args), *args)


@pytest.fixture
def clips(tmp_path, monkeypatch):
    "Forty clips in the folder clips, one of them damaged and one no video; the damaged one comes second in training."
    monkeypatch.chdir(tmp_path)
    needle.write_dataset(tmp_path/'clips', needle.NeedleConfig(videos=40, val_share=.25, frames=24), workers=1, progress=False)
    videos = open_data('clips').train
    drop_pictures(videos[1].path, videos[1].path, good=16)
    videos[2].path.write_text('cats')
    return videos


@pytest.fixture
def probed(monkeypatch):
    "The paths that a check looks at, as they are looked at."
    paths = []
    class Counting(DecodeProcess):
        def ask(self, request, path, *args):
            if request == 'probe': paths.append(str(path))
            return super().ask(request, path, *args)
    monkeypatch.setattr(check, 'DecodeProcess', Counting)
    return paths


def test_a_check_that_was_stopped_goes_on(clips, probed, monkeypatch):
    "With a line cut off; and files that have changed are looked at again."
    out, rows, _ = check_data('clips', progress=False)
    lines = out.read_text().splitlines(True)
    assert len(rows) == len(lines) == 40
    out.write_text(''.join(lines[:10]) + lines[10][:25])
    def stopped(*args): raise KeyboardInterrupt
    with monkeypatch.context() as patched:
        patched.setattr(check, 'check_video', stopped)
        with pytest.raises(KeyboardInterrupt): check_data('clips', workers=1, progress=False)
        status, _, errors = checked('clips', '--workers', 1)
        assert status == 130 and 'the same command goes on where this one was' in errors
    assert out.read_text() == ''.join(lines[:10])                      # what was cut off is gone, complete lines stay
    probed.clear()
    assert check_data('clips', progress=False)[1] == rows and len(probed) == 30
    check_data('clips', progress=False)
    assert len(probed) == 30
    os.utime(clips[0].path, (1, 1))
    check_data('clips', progress=False)
    assert len(probed) == 31 and open_data('clips').unchecked == 0
    os.utime(clips[0].path, (2, 2))
    assert open_data('clips').unchecked == 1


def test_what_was_found_is_what_training_uses(clips):
    _, rows, _ = check_data('clips', progress=False)
    data, by_manifest = open_data('clips'), open_data('clips/manifest.jsonl')
    assert [r['frames_good'] for r in sorted(rows, key=lambda r: r['error'] or '')].count(24) == 38
    assert (len(rows), len(data.train), len(data.val), data.train[1].frames) == (40, 29, 10, 16)
    assert {(v.path, v.labels, v.frames) for v in data.train} == {(v.path, v.labels, v.frames) for v in by_manifest.train}


def test_two_checks_do_not_write_one_manifest(clips):
    with FileLock('clips/.manifest.jsonl.lock'):
        with pytest.raises(ValueError, match='is being written by another check'): check_data('clips', progress=False)
    with pytest.raises(ValueError, match='cannot be written'): check_data('clips', out='nowhere/m.jsonl', progress=False)


def test_any_folder_with_videos_is_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'loose').mkdir()
    write_video('loose/a.mp4', np.zeros((3, 32, 32, 3), np.uint8))
    (tmp_path/'loose'/'b.mp4').touch()
    _, rows, _ = check_data('loose', progress=False)
    assert [row['error'] is None for row in rows] == [True, False] and 'label' not in rows[0]
    with pytest.raises(ValueError, match='is not a folder'): check_data('nowhere', progress=False)


def test_folder_table_and_manifest_give_equal_records(tmp_path):
    _equal_records(folder(tmp_path/'data'), tmp_path)


@pytest.mark.slow
def test_real_clips_as_folder_table_and_manifest(beside, tmp_path):
    shutil.copytree(beside('clips'), tmp_path/'clips')
    (tmp_path/'clips'/'README.md').unlink()
    data = _equal_records(str(tmp_path/'clips'), tmp_path)
    assert (len(data.train), len(data.val), data.classes) == (48, 12, ['fight', 'normal'])
    for spec in (tmp_path/'all.csv', tmp_path/'clips'/'manifest.jsonl'):
        status, _, errors = command(train.main, '--preset', 'needle', '--data', spec, '--out', tmp_path/f'run{spec.suffix}', '--epochs', 1, '--num-frames', 4, '--policy-hidden', 16, '--classifier-hidden', 32, '--batch-size', 8)
        assert status == 0, errors
    one, two = ([json.loads(line)['val'] for line in (tmp_path/f'run{suffix}'/'metrics.jsonl').open()] for suffix in ('.csv', '.jsonl'))
    assert one == two


def _equal_records(spec, tmp_path):
    "The records of a folder, the same of a CSV of it, and of the manifest of a check."
    one = open_data(spec)
    rows = [(v, split) for part, split in ((one.val, 'val'), (one.train, 'train')) for v in part]
    text(tmp_path/'all.csv', 'path,label' + ',split'*one.own_split + '\n' + ''.join(f'{v.path},{one.classes[v.labels[0]]}' + f',{split}'*one.own_split + '\n' for v, split in rows))
    two = open_data(str(tmp_path/'all.csv'))
    manifest, _, _ = check_data(spec, progress=False)
    three, four = open_data(str(manifest)), open_data(spec)
    plain = lambda data: (data.classes, [[(str(v.path), v.labels) for v in part] for part in (data.train, data.val)])
    assert plain(one) == plain(two) == plain(three) == plain(four)
    assert three.train == four.train and three.val == four.val and all(v.frames for v in four.train + four.val) and not one.train[0].frames
    return one


def test_a_check_is_heeded(tmp_path):
    "After a check, what cannot be read is left out before training starts, and is no error in evaluation."
    spec = folder(tmp_path/'data')
    bad = sorted((tmp_path/'data'/'val').rglob('*.mp4'))[0]
    bad.write_bytes(b'cats'*99)
    arguments = '--data', spec, '--frame-size', 48, '--resize', 48, '--patch-size', 24, '--num-frames', 4, *SMALL, '--epochs', 1, '--max-bad-share', '0.1'
    typed = run('python', '-m', 'adafocus.check', spec)
    assert typed.returncode == 1 and '18 videos, 17 in order; every frame was decoded' in typed.stdout and bad.name in typed.stdout
    status, _, errors = command(train.main, *arguments, '--out', tmp_path/'run')
    assert status == 0, errors
    assert '1 of 18 videos cannot be read, as a check found' in errors and json.loads((tmp_path/'run'/'evaluation.json').read_text())['videos'] == 5
    (tmp_path/'data'/'manifest.jsonl').unlink()
    status, _, errors = command(train.main, *arguments, '--out', tmp_path/'blind')
    assert status == 1 and '--skip-bad leaves them out' in errors and bad.name in errors and 'Traceback' not in errors
    assert (tmp_path/'blind'/'model.safetensors').exists() and not (tmp_path/'blind'/'evaluation.json').exists()
    status, said, _ = command(lambda args: tyro.cli(evaluate.main, args=args), tmp_path/'blind', '--skip-bad')
    assert status == 0 and '5 videos; 1 could not be read' in said


def test_a_fault_ends_the_command_with_status_two(tmp_path):
    (tmp_path/'all.csv').write_text('path,label\na.mp4\n')
    for status, _, errors in (command(train.main, '--out', tmp_path/'run', '--data', tmp_path/'all.csv'), checked(tmp_path/'all.csv')):
        assert status == 2 and 'all.csv:2: has no label' in errors and 'Traceback' not in errors
    assert not (tmp_path/'run').exists()


def test_a_check_replaces_nothing_but_a_manifest(tmp_path):
    spec = folder(tmp_path/'data')
    for out in ('/dev/null', tmp_path/'data'/'new.mp4', tmp_path/'data'):
        with pytest.raises(ValueError, match='no file for a manifest|cannot be written'): check_data(spec, out=out, progress=False)
    (tmp_path/'real.jsonl').touch()
    (tmp_path/'data'/'manifest.jsonl').symlink_to(tmp_path/'real.jsonl')
    check_data(spec, progress=False)
    assert (tmp_path/'data'/'manifest.jsonl').is_symlink() and (tmp_path/'real.jsonl').read_text().count('\n') == 18


@pytest.mark.parametrize('change', [dict(frames_good='20'), dict(frames_good=-3), dict(frames_good=True), dict(error=5), dict(mode=None), dict(bytes=None)])
def test_a_manifest_with_a_wrong_value_is_refused_by_line(tmp_path, change):
    spec = folder(tmp_path/'data')
    manifest, rows, _ = check_data(spec, mode='probe', progress=False)
    lines = manifest.read_text().splitlines()
    text(manifest, '\n'.join([*lines[:4], json.dumps({**json.loads(lines[4]), **change}), *lines[5:]]) + '\n')
    with pytest.raises(ValueError, match='manifest.jsonl:5: is not a line of a manifest'): open_data(spec)
    for tail in (b'{"path": "\xc3', b'\0\0\0\0', b'12'):                    # what a crash may leave of the last line
        manifest.write_bytes('\n'.join(lines).encode() + b'\n' + tail)
        assert open_data(spec).unchecked == 0


def test_a_name_that_is_no_text_stops_nothing(tmp_path):
    "No decoder opens a file whose name is not UTF-8; it is one bad file among good ones."
    spec = folder(tmp_path/'data')
    odd = os.fsencode(tmp_path/'data'/'train'/CLASSES[0]) + b'/odd \xff.mp4'
    shutil.copy(sorted((tmp_path/'data').rglob('*.mp4'))[0], odd)
    status, said, errors = checked(spec)
    assert status == 1 and '19 videos, 18 in order' in said and 'Traceback' not in errors, errors
    data = open_data(spec)
    assert len(data.train) == 12 and len(data.bad) == 1 and data.unchecked == 0
