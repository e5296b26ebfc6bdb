"Each dataset in its publisher's layout: read, and trained on for an epoch; and what is no dataset, refused in one line."
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from accelerate import Accelerator
from conftest import SMALL, command
from hypothesis import HealthCheck, given, settings, strategies as st
from layouts import CLASSES, FORMATS, SEVERAL, activitynet, folder, frames, text

from adafocus import train as train_job
from adafocus.data import needle
from adafocus.data.datasets import open_data, open_dataset
from adafocus.data.records import DATASETS
from adafocus.data.video import open_video
from adafocus.run.config import load_config
from adafocus.run.presets import preset
from adafocus.run.scoring import evaluate_run
from adafocus.trainer.loop import train


@pytest.mark.parametrize('name', FORMATS)
def test_a_format_is_read_and_trained_on(name, tmp_path):
    spec = FORMATS[name](tmp_path/'data')
    data = open_data(spec)
    assert (len(data.train), len(data.val), data.missing, data.multi_label) == (12, 6, [], name in SEVERAL)
    assert data.mirror is (name not in ('somethingv1', 'somethingv2', 'jester')) and len(data.classes) == 3
    for v in data.train + data.val:                                     # what is in the file says which class it must be
        with open_video(v.path) as reader: brightness = reader.read([0]).mean()
        k = int(np.abs(brightness - np.array([60, 120, 180])).argmin())
        names = [data.classes[label] for label in v.labels]
        assert names[0] in (CLASSES[k], str(k), CLASSES[k].replace('a door', 'something')), (v.path, names, k)
    small = preset('needle')
    config = replace(small, out=str(tmp_path/'run'), model=replace(small.model, num_frames=4, frame_size=48, patch_size=24, policy_hidden=16, classifier_hidden=32),
                     data=replace(small.data, data=spec, resize=48, workers=0, augment=True, flip=None), train=replace(small.train, epochs=1, batch_size=6))
    done = train(config, accelerator=Accelerator(cpu=True))
    line = json.loads((done/'metrics.jsonl').read_text())
    assert line['videos'] == 6 and np.isfinite(line['train']['loss']) and load_config(done/'config.yaml').data.flip is data.mirror
    scores, _, _ = evaluate_run(done, Accelerator(cpu=True), ('learned',))
    learned = json.loads((done/'evaluation.json').read_text())['policies']['learned']
    assert ('mAP' in learned) == data.multi_label and len(learned['top5']) == 4
    score = learned['mAP' if data.multi_label else 'accuracy'][-1]
    assert score == pytest.approx(line['val']['mAP' if data.multi_label else 'accuracy'][-1], abs=1e-5) and scores['learned'].metric == ('mAP' if data.multi_label else 'accuracy')
    if not data.multi_label: assert score == pytest.approx(scores['learned'].top1[:, -1].mean())


def test_every_registered_format_is_covered_here():
    assert {'activitynet', 'fcvid', 'minikinetics', 'kinetics', 'somethingv1', 'somethingv2', 'jester', 'list', 'folder', 'table', 'needle'} == set(DATASETS)


def test_missing_files_are_counted_before_training_starts(tmp_path, typed):
    spec = activitynet(tmp_path/'data')
    gone = sorted((tmp_path/'data').rglob('v_*'))[:2]
    for path in gone: path.unlink()
    arguments = '--data', spec, '--frame-size', 48, '--resize', 48, '--patch-size', 24, '--num-frames', 4, *SMALL, '--epochs', 1
    status, _, errors = command(train_job.main, *arguments, '--out', tmp_path/'strict')
    assert status == 2 and '2 of 18 videos are missing' in errors and not (tmp_path/'strict').exists() and 'Traceback' not in errors
    done = typed('adafocus.train', *arguments, '--out', tmp_path/'run', '--max-bad-share', '0.2')
    assert done.returncode == 0, done.stderr
    assert '2 of 18 videos are not there and are left out' in done.stderr and all(path.stem in done.stderr for path in gone)
    assert all(path.stem in (tmp_path/'run'/'left_out.txt').read_text() for path in gone)
    assert json.loads((tmp_path/'run'/'evaluation.json').read_text())['missing'] == 2 and 'mAP' in done.stdout


SOUP = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode('utf-8', 'replace')),
                 st.lists(st.sampled_from(['a.mp4', 'v_a', ' ', ',', ';', '12', '-1', '0', '3', '\n', '\r\n', '"', '[something]', 'label', 'path', 'split', 'train', '{', '}', '[', ']', ':', '"path"', '"database"', '"annotations"',
                                           '"subset"', '"training"', '"template"', '"id"', '"label"', 'null', 'NaN', '1e999', '9'*30, '\ufeff', '\0', '../x', '/etc/passwd', 'youtube_id', 'time_start', 'time_end'])).map(lambda p: ''.join(p).encode()))
FILES = dict(activitynet=['activity.json'], fcvid=['train.txt', 'test.txt', 'classes.txt'], list=['train_videofolder.txt', 'val_videofolder.txt', 'category.txt'], kinetics=['train.csv', 'val.csv'],
             minikinetics=['kinetics.csv', 'classes.txt'], somethingv1=['x-train.csv', 'x-validation.csv', 'x-labels.csv'], jester=['x-train.csv', 'x-validation.csv', 'x-labels.csv'],
             somethingv2=['x-train.json', 'x-validation.json', 'x-labels.json'], table=['all.csv'], jsonl=['all.jsonl'])
HEADS = dict(kinetics=b'label,youtube_id,time_start,time_end,split\n', minikinetics=b'label,youtube_id,time_start,time_end,split\n', table=b'path,label,split\n')


@pytest.mark.parametrize('examples', [100, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize('name', FILES)
def test_what_is_no_annotation_is_refused_in_one_line(name, examples, tmp_path):
    (tmp_path/'a.mp4').touch()
    (tmp_path/'v_a.mp4').touch()

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.lists(SOUP, min_size=3, max_size=3), st.booleans())
    def soup(contents, with_head):
        for file, content in zip(FILES[name], contents): (tmp_path/file).write_bytes((HEADS.get(name, b'') if with_head else b'') + content)
        root = tmp_path/FILES[name][0] if name in ('table', 'jsonl') else tmp_path
        try: open_dataset('table' if name == 'jsonl' else name, root)
        except ValueError as e: assert str(tmp_path) in str(e) and '\n' not in str(e).replace(str(tmp_path), '')[:40], e
    soup()


def test_links_that_lead_back_end(tmp_path):
    spec = FORMATS['jester'](tmp_path/'data')
    (tmp_path/'data'/'20bn-jester-v1'/'loop').symlink_to(tmp_path/'data')
    (tmp_path/'data'/'again').symlink_to(tmp_path/'data')
    assert len(open_data(spec).train) == 12


def test_a_link_that_leads_back_gives_no_video_twice(tmp_path):
    spec = folder(tmp_path/'data')
    plain = open_data(spec)
    (tmp_path/'data'/'train'/CLASSES[0]/'loop').symlink_to(tmp_path/'data'/'train')
    (tmp_path/'data'/'train'/CLASSES[0]/'self').symlink_to(tmp_path/'data'/'train'/CLASSES[0])
    assert [v.path for v in open_data(spec).train] == [v.path for v in plain.train]


def test_frames_with_mixed_suffixes_are_one_video_and_a_folder_without_is_none(tmp_path):
    frames(tmp_path/'mixed', 0)
    for f in (3, 7): (tmp_path/'mixed'/f'{f:05d}.jpg').rename(tmp_path/'mixed'/f'{f:05d}.{"JPG" if f == 3 else "jpeg"}')
    with open_video(tmp_path/'mixed') as reader: assert len(reader) == 12 and reader.names[2] == '00003.JPG' and reader.read(range(12)).shape == (12, 48, 64, 3)
    (tmp_path/'bare').mkdir()
    text(tmp_path/'all.csv', 'path,label\nmixed,x\nbare,y\n')
    with pytest.raises(ValueError, match="all.csv:3: path is 'bare', a folder without frames"): open_data(str(tmp_path/'all.csv'))


def test_needle_without_its_mark_is_folders_of_classes(tmp_path):
    root = needle.write_dataset(tmp_path/'tiny', needle.NeedleConfig(videos=30, val_share=1/3), workers=1, progress=False)
    data = open_data(str(root))
    assert (len(data.train), len(data.val), data.train[0].boxes.shape) == (20, 10, (16, 4))
    (root/'needle.json').unlink()
    assert open_data(str(root)).train[0].boxes is None and len(open_data(str(root)).val) == 10
    with pytest.raises(ValueError, match='is not a needle dataset'): open_data(f'needle:{root}')
    for name in ('valid', 'validation', 'test'):
        (root/'val').rename(root/name)
        assert (len(open_data(str(root)).train), len(open_data(str(root)).val)) == (20, 10)
        (root/name).rename(root/'val')
    shutil.rmtree(root/'val')
    everything = open_data(str(root), val_share=1.)
    assert len(everything.val) == 20 and everything.train == []
