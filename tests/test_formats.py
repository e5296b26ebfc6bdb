"Each dataset in its publisher's layout: read, and trained on for an epoch; and what is no dataset, refused in one line."
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import SMALL, run
from hypothesis import HealthCheck, given, settings, strategies as st
from torchvision.io import write_jpeg

from adafocus.check import check_data
from adafocus.data.datasets.opening import open_data, open_dataset
from adafocus.data.records import DATASETS
from adafocus.data.video.writing import write_video
from adafocus.data.video.readers import open_video
from adafocus.run.config import load_config
from adafocus.run.presets import preset
from adafocus.run.scoring import evaluate_run
from adafocus.trainer.loop import train

CLASSES = 'opening a door', 'closing a door', 'doing other things'


def clip(number, frames=12, height=48, width=64):
    rng = np.random.default_rng(number)
    return np.clip(rng.normal(60 + 60*(number % 3), 20, (1, height, width, 3)) + 3*np.arange(frames)[:, None, None, None], 0, 255).astype(np.uint8)


def video(path, number):
    "A small video in the container that the suffix says; .webm is VP9 as publishers have it."
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != '.webm': return write_video(path, clip(number))
    import av
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libvpx-vp9', rate=8, options=dict(deadline='realtime', **{'cpu-used': '8'}))
        stream.height, stream.width, stream.pix_fmt = 48, 64, 'yuv420p'
        for frame in clip(number): container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())


def frames(folder, number, pattern='{:05d}.jpg'):
    folder.mkdir(parents=True, exist_ok=True)
    for f, frame in enumerate(clip(number), 1): write_jpeg(torch.from_numpy(frame.copy()).permute(2, 0, 1), str(folder/pattern.format(f)))


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


# Each writes twelve videos to train on and six to evaluate on, by the number modulo three of one of three classes, and returns what --data takes.
TRAIN, VAL = range(12), range(12, 18)


def activitynet(root):
    names = {k: f'ID{k:09d}' for k in (*TRAIN, *VAL)}
    annotations = lambda k: [dict(label=CLASSES[j % 3], segment=[1.5*i, 1.5*i + 1]) for i, j in enumerate((k, k + 1, k) if k % 4 == 0 else (k,))]
    text(root/'activity_net.v1-3.min.json', dict(version='VERSION 1.3', taxonomy=[], database={
        name: dict(duration=1.5, subset='training' if k in TRAIN else 'validation', resolution='64x48', url='', annotations=annotations(k)) for k, name in names.items()}
        | {'TESTVIDEO01': dict(duration=2., subset='testing', resolution='64x48', url='', annotations=[])}))
    for k, name in names.items(): video(root/('train_val' if k % 2 else 'more')/f'v_{name}{(".mp4", ".mkv", ".webm")[k % 3]}', k)
    return f'activitynet:{root}'


def fcvid(root):
    line = lambda k: f'videos/{k}.mp4,12,{k % 3}' + (f',{(k + 1) % 3}' if k % 4 == 0 else '')
    text(root/'fcvid_train.txt', '\n'.join(map(line, TRAIN))); text(root/'fcvid_test.txt', '\n'.join(map(line, VAL)) + '\n')
    for k in (*TRAIN, *VAL): video(root/'videos'/f'{k}.mp4', k)
    return f'fcvid:{root}'


def minikinetics(root):
    "The CSV files, with classes that are not of the two hundred."
    row = lambda k, split: f'{CLASSES[k % 3]},-yt_{k:07d},{3*k},{3*k + 10},{split},0'
    for name, part, split in (('kinetics_train', TRAIN, 'train'), ('kinetics_val', VAL, 'validate')):
        text(root/f'{name}.csv', 'label,youtube_id,time_start,time_end,split,is_cc\n' + '\n'.join([*(row(k, split) for k in part), f'"abseiling, high",zzzzzzzzzzz,1,11,{split},0']))
    text(root/'mini_kinetics_classes.txt', '\n'.join(CLASSES))
    for k in (*TRAIN, *VAL): video(root/('train' if k in TRAIN else 'val')/CLASSES[k % 3]/f'-yt_{k:07d}_{3*k:06d}_{3*k + 10:06d}.mp4', k)
    return f'minikinetics:{root}'


def kinetics(root):
    "All classes, the validation part in a file named as the publisher names it."
    spec = minikinetics(root).replace('minikinetics:', 'kinetics:')
    (root/'mini_kinetics_classes.txt').unlink()
    for path in root.glob('kinetics_*.csv'): path.write_text('\n'.join(line for line in path.read_text().splitlines() if 'zzzz' not in line))
    (root/'kinetics_val.csv').rename(root/'validate.csv')
    return spec


def minikinetics_lists(root):
    line = lambda k: f'{CLASSES[k % 3]}/yt_{k}_000001_000011 12 {k % 3}'
    text(root/'mini_train_videofolder.txt', '\n'.join(map(line, TRAIN))); text(root/'mini_val_videofolder.txt', '\n'.join(map(line, VAL)))
    text(root/'mini_classes.txt', '\n'.join(CLASSES))
    for k in (*TRAIN, *VAL): frames(root/'frames'/CLASSES[k % 3]/f'yt_{k}_000001_000011', k, 'image_{:05d}.jpg')
    return f'minikinetics:{root}'


def by_number(name, folder):
    def write(root):
        for part, which in ((TRAIN, 'train'), (VAL, 'validation')): text(root/f'{name}-{which}.csv', '\n'.join(f'{1000 + k};{CLASSES[k % 3]}' for k in part))
        text(root/f'{name}-labels.csv', '\n'.join(CLASSES)); text(root/f'{name}-test.csv', '1\n2\n')
        for k in (*TRAIN, *VAL): frames(root/folder/f'{1000 + k}', k)
        return f'{"jester" if "jester" in name else "somethingv1"}:{root}'
    return write


def somethingv2(root):
    template = lambda k: CLASSES[k % 3].replace('a door', '[something]')
    for part, which in ((TRAIN, 'train'), (VAL, 'validation')):
        text(root/f'something-something-v2-{which}.json', [dict(id=str(k), label=CLASSES[k % 3], template=template(k), placeholders=['a door']) for k in part])
    text(root/'something-something-v2-labels.json', {CLASSES[k].replace('a door', 'something'): str(n) for n, k in enumerate((1, 2, 0))})
    text(root/'something-something-v2-test.json', [dict(id='99')])
    for k in (*TRAIN, *VAL): video(root/'20bn-something-something-v2'/f'{k}.webm', k)
    return f'somethingv2:{root}'


def lists(root):
    "As TSM has them: folders of frames with img_00001.jpg, beside optical flow."
    for part, which in ((TRAIN, 'train'), (VAL, 'val')): text(root/f'{which}_videofolder.txt', '\n'.join(f'{k} 12 {k % 3}' for k in part))
    for k in (*TRAIN, *VAL):
        frames(root/'rgb'/str(k), k, 'img_{:05d}.jpg')
        for f in range(1, 13): (root/'rgb'/str(k)/f'flow_x_{f:05d}.jpg').touch()
    return f'list:{root}'


def lists_of_three(root):
    "As AR-Net has them: up to three labels, padded with -1."
    for part, which in ((TRAIN, 'train'), (VAL, 'val')): text(root/f'{which}_split.txt', '\n'.join(f'v_{k},12,{k % 3},{(k + 1) % 3 if k % 4 == 0 else -1},-1' for k in part))
    for k in (*TRAIN, *VAL): video(root/'videos'/f'v_{k}.mp4', k)
    return f'list:{root}'


def folder(root):
    for k in (*TRAIN, *VAL): video(root/('train' if k in TRAIN else 'val')/CLASSES[k % 3]/f'clip {k}.mp4', k)
    return str(root)


def table(root):
    text(root/'all.csv', 'path,label,split\n' + ''.join(f'videos/{k}.avi,{CLASSES[k % 3]},{"train" if k in TRAIN else "validation"}\n' for k in (*VAL, *TRAIN)))
    for k in (*TRAIN, *VAL): video(root/'videos'/f'{k}.avi', k)
    return str(root/'all.csv')


def json_lines(root):
    rows = [dict(path=f'{k}.mkv', label=[CLASSES[k % 3], CLASSES[(k + 1) % 3]] if k % 4 == 0 else CLASSES[k % 3], split='train' if k in TRAIN else 'val') for k in (*TRAIN, *VAL)]
    text(root/'all.jsonl', '\n'.join(map(json.dumps, rows)))
    for k in (*TRAIN, *VAL): video(root/f'{k}.mkv', k)
    return str(root/'all.jsonl')


FORMATS = dict(activitynet=activitynet, fcvid=fcvid, kinetics=kinetics, minikinetics=minikinetics, minikinetics_lists=minikinetics_lists, somethingv1=by_number('something-something-v1', '20bn-something-something-v1'),
               jester=by_number('jester-v1', '20bn-jester-v1'), somethingv2=somethingv2, lists=lists, lists_of_three=lists_of_three, folder=folder, table=table, json_lines=json_lines)
SEVERAL = 'activitynet', 'fcvid', 'lists_of_three', 'json_lines'


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
    found = json.loads((done/'evaluation.json').read_text())['policies']['learned']
    assert ('mAP' in found) == data.multi_label and len(found['top5']) == 4
    score = found['mAP' if data.multi_label else 'accuracy'][-1]
    assert score == pytest.approx(line['val']['mAP' if data.multi_label else 'accuracy'][-1], abs=1e-5) and scores['learned'].metric == ('mAP' if data.multi_label else 'accuracy')
    if not data.multi_label: assert score == pytest.approx(scores['learned'].top1[:, -1].mean())


def test_every_registered_format_is_covered_here():
    assert {'activitynet', 'fcvid', 'minikinetics', 'kinetics', 'somethingv1', 'somethingv2', 'jester', 'list', 'folder', 'table', 'needle'} == set(DATASETS)


def test_missing_files_are_counted_before_training_starts(tmp_path):
    spec = activitynet(tmp_path/'data')
    gone = sorted((tmp_path/'data').rglob('v_*'))[:2]
    for path in gone: path.unlink()
    command = 'python', '-m', 'adafocus.train', '--data', spec, '--frame-size', 48, '--resize', 48, '--patch-size', 24, '--num-frames', 4, *SMALL, '--epochs', 1
    refused = run(*command, '--out', tmp_path/'strict')
    assert refused.returncode == 2 and '2 of 18 videos are missing' in refused.stderr and not (tmp_path/'strict').exists() and 'Traceback' not in refused.stderr
    done = run(*command, '--out', tmp_path/'run', '--max-bad-share', '0.2')
    assert done.returncode == 0, done.stderr
    assert '2 of 18 videos are not there and are left out' in done.stderr and all(path.stem in done.stderr for path in gone)
    assert all(path.stem in (tmp_path/'run'/'left_out.txt').read_text() for path in gone)
    assert json.loads((tmp_path/'run'/'evaluation.json').read_text())['missing'] == 2 and 'mAP' in done.stdout


def test_folder_table_and_manifest_give_equal_records(tmp_path):
    _equal_records(folder(tmp_path/'data'), tmp_path)


def test_real_clips_as_folder_table_and_manifest(beside, tmp_path):
    shutil.copytree(beside('clips'), tmp_path/'clips')
    (tmp_path/'clips'/'README.md').unlink()
    data = _equal_records(str(tmp_path/'clips'), tmp_path)
    assert (len(data.train), len(data.val), data.classes) == (48, 12, ['fight', 'normal'])
    for spec in (tmp_path/'all.csv', tmp_path/'clips'/'manifest.jsonl'):
        done = run('python', '-m', 'adafocus.train', '--preset', 'needle', '--data', spec, '--out', tmp_path/f'run{spec.suffix}', '--epochs', 1, '--num-frames', 4, '--policy-hidden', 16, '--classifier-hidden', 32, '--batch-size', 8)
        assert done.returncode == 0, done.stderr
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
    command = 'python', '-m', 'adafocus.train', '--data', spec, '--frame-size', 48, '--resize', 48, '--patch-size', 24, '--num-frames', 4, *SMALL, '--epochs', 1, '--max-bad-share', '0.1'
    checked = run('python', '-m', 'adafocus.check', spec)
    assert checked.returncode == 1 and '18 videos, 17 in order; every frame was decoded' in checked.stdout and bad.name in checked.stdout
    done = run(*command, '--out', tmp_path/'run')
    assert done.returncode == 0, done.stderr
    assert '1 of 18 videos cannot be read, as a check found' in done.stderr and json.loads((tmp_path/'run'/'evaluation.json').read_text())['videos'] == 5
    (tmp_path/'data'/'manifest.jsonl').unlink()
    blind = run(*command, '--out', tmp_path/'blind')
    assert blind.returncode == 1 and 'python -m adafocus.evaluate' in blind.stderr and bad.name in blind.stderr and 'Traceback' not in blind.stderr
    assert (tmp_path/'blind'/'model.safetensors').exists() and not (tmp_path/'blind'/'evaluation.json').exists()
    left_out = run('python', '-m', 'adafocus.evaluate', tmp_path/'blind', '--skip-bad')
    assert left_out.returncode == 0 and '5 videos; 1 could not be read' in left_out.stdout


SOUP = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode('utf-8', 'replace')),
                 st.lists(st.sampled_from(['a.mp4', 'v_a', ' ', ',', ';', '12', '-1', '0', '3', '\n', '\r\n', '"', '[something]', 'label', 'path', 'split', 'train', '{', '}', '[', ']', ':', '"path"', '"database"', '"annotations"',
                                           '"subset"', '"training"', '"template"', '"id"', '"label"', 'null', 'NaN', '1e999', '9'*30, '\ufeff', '\0', '../x', '/etc/passwd', 'youtube_id', 'time_start', 'time_end'])).map(lambda p: ''.join(p).encode()))
FILES = dict(activitynet=['activity.json'], fcvid=['train.txt', 'test.txt', 'classes.txt'], list=['train_videofolder.txt', 'val_videofolder.txt', 'category.txt'], kinetics=['train.csv', 'val.csv'],
             minikinetics=['kinetics.csv', 'classes.txt'], somethingv1=['x-train.csv', 'x-validation.csv', 'x-labels.csv'], jester=['x-train.csv', 'x-validation.csv', 'x-labels.csv'],
             somethingv2=['x-train.json', 'x-validation.json', 'x-labels.json'], table=['all.csv'], jsonl=['all.jsonl'])
HEADS = dict(kinetics=b'label,youtube_id,time_start,time_end,split\n', minikinetics=b'label,youtube_id,time_start,time_end,split\n', table=b'path,label,split\n')


@pytest.mark.parametrize('name', FILES)
def test_what_is_no_annotation_is_refused_in_one_line(name, tmp_path):
    (tmp_path/'a.mp4').touch(); (tmp_path/'v_a.mp4').touch()

    @settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.lists(SOUP, min_size=3, max_size=3), st.booleans())
    def soup(contents, with_head):
        for file, content in zip(FILES[name], contents): (tmp_path/file).write_bytes((HEADS.get(name, b'') if with_head else b'') + content)
        root = tmp_path/FILES[name][0] if name in ('table', 'jsonl') else tmp_path
        try: open_dataset('table' if name == 'jsonl' else name, root)
        except ValueError as e: assert str(tmp_path) in str(e) and '\n' not in str(e).replace(str(tmp_path), '')[:40], e
    soup()


BY_HAND = {
    'bytes.csv': (b'\xff\xfep\0a\0', 'zero byte'), 'latin.csv': ('path,label\nä.mp4,x\n'.encode('latin-1'), 'is not UTF-8'), 'empty.csv': (b'', 'has no column path'), 'header.csv': (b'path,label\n', 'names no videos'),
    'headless.csv': (b'a.mp4,x\nb.mp4,y\n', ':1: has no column path'), 'cells.csv': (b'path,label\na.mp4,x,y\n', ':2: has 3 cells'), 'long.csv': (b'path,label\n' + b'a'*10_000_000 + b',x\n', 'csv:2: is not CSV'),
    'split.csv': (b'path,label,split\na.mp4,x,trian\n', ":2: split is 'trian'"), 'twice.csv': (b'path,label,split\na.mp4,x,train\na.mp4,x,val\n', 'comes twice'), 'some.csv': (b'path,label,split\na.mp4,x,train\nb.mp4,x,\n', 'has no split'),
    'deep.jsonl': (b'['*100_000 + b'\n', 'is not JSON'), 'digits.jsonl': (b'9'*5000, 'is not JSON'), 'nan.jsonl': (b'{"path": "a.mp4", "label": NaN}', 'label is nan'), 'list.jsonl': (b'[]', 'must be an object'),
    'path.jsonl': (b'{"path": 3, "label": "x"}', 'path is 3; it must be text'), 'none.jsonl': (b'{"path": "a.mp4", "label": []}', 'has no label'), 'gone.csv': (b'path,label\n../../x.mp4,x\n', 'none of the 1 videos is there')}


@pytest.mark.parametrize('name', BY_HAND)
def test_tables_with_one_fault(name, tmp_path):
    content, says = BY_HAND[name]
    for video_name in 'ab': (tmp_path/f'{video_name}.mp4').touch()
    (tmp_path/name).write_bytes(content)
    with pytest.raises(ValueError) as e: open_data(str(tmp_path/name))
    assert says in str(e.value) and name in str(e.value) and len(str(e.value)) < 600


def test_a_fault_ends_the_command_with_status_two(tmp_path):
    (tmp_path/'all.csv').write_text('path,label\na.mp4\n')
    for command in (('adafocus.train', '--out', tmp_path/'run', '--data'), ('adafocus.check',)):
        done = run('python', '-m', *command, tmp_path/'all.csv')
        assert done.returncode == 2 and 'all.csv:2: has no label' in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path/'run').exists()


def test_links_that_lead_back_end(tmp_path):
    spec = FORMATS['jester'](tmp_path/'data')
    (tmp_path/'data'/'20bn-jester-v1'/'loop').symlink_to(tmp_path/'data'); (tmp_path/'data'/'again').symlink_to(tmp_path/'data')
    assert len(open_data(spec).train) == 12


def test_a_link_that_leads_back_gives_no_video_twice(tmp_path):
    spec = folder(tmp_path/'data')
    plain = open_data(spec)
    (tmp_path/'data'/'train'/CLASSES[0]/'loop').symlink_to(tmp_path/'data'/'train'); (tmp_path/'data'/'train'/CLASSES[0]/'self').symlink_to(tmp_path/'data'/'train'/CLASSES[0])
    assert [v.path for v in open_data(spec).train] == [v.path for v in plain.train]


def test_one_file_under_two_spellings_is_one_video(tmp_path):
    for name in 'abcd': (tmp_path/f'{name}.mp4').touch()
    rows = 'path,label\na.mp4,x\nb.mp4,x\nc.mp4,y\nd.mp4,y\n'
    text(tmp_path/'same.csv', rows + './a.mp4,x\n'); text(tmp_path/'other.csv', rows + f'{tmp_path}/a.mp4,y\n')
    assert len(open_data(str(tmp_path/'same.csv')).train + open_data(str(tmp_path/'same.csv')).val) == 4
    with pytest.raises(ValueError, match=r'other.csv:6: .*a.mp4 comes twice, first in .*other.csv:2'): open_data(str(tmp_path/'other.csv'))


def test_frames_with_mixed_suffixes_are_one_video_and_a_folder_without_is_none(tmp_path):
    frames(tmp_path/'mixed', 0)
    for f in (3, 7): (tmp_path/'mixed'/f'{f:05d}.jpg').rename(tmp_path/'mixed'/f'{f:05d}.{"JPG" if f == 3 else "jpeg"}')
    with open_video(tmp_path/'mixed') as reader: assert len(reader) == 12 and reader.names[2] == '00003.JPG' and reader.read(range(12)).shape == (12, 48, 64, 3)
    (tmp_path/'bare').mkdir(); text(tmp_path/'all.csv', 'path,label\nmixed,x\nbare,y\n')
    with pytest.raises(ValueError, match="all.csv:3: path is 'bare', a folder without frames"): open_data(str(tmp_path/'all.csv'))


def test_a_check_replaces_nothing_but_a_manifest(tmp_path):
    spec = folder(tmp_path/'data')
    for out in ('/dev/null', tmp_path/'data'/'new.mp4', tmp_path/'data'):
        with pytest.raises(ValueError, match='no file for a manifest|cannot be written'): check_data(spec, out=out, progress=False)
    (tmp_path/'real.jsonl').touch(); (tmp_path/'data'/'manifest.jsonl').symlink_to(tmp_path/'real.jsonl')
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
    done = run('python', '-m', 'adafocus.check', spec)
    assert done.returncode == 1 and '19 videos, 18 in order' in done.stdout and 'Traceback' not in done.stderr, done.stderr
    data = open_data(spec)
    assert len(data.train) == 12 and len(data.bad) == 1 and data.unchecked == 0


def test_a_drawn_split_stays_when_a_file_goes(tmp_path):
    for name in ('cat', 'dog'):
        (tmp_path/name).mkdir()
        for k in range(50): (tmp_path/name/f'{k}.mp4').touch()
    before = open_data(str(tmp_path))
    for k in (3, 17): (tmp_path/'cat'/f'{k}.mp4').unlink()
    after = open_data(str(tmp_path))
    trained = {v.path for v in before.train}
    assert sum(v.path in trained for v in after.val) <= 2 and len(after.val) >= 19
