"Datasets in their publishers' layouts, each of twelve videos to train on and six to evaluate on."
import json

import numpy as np
import torch
from torchvision.io import write_jpeg

from adafocus.data.video.writing import write_video

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
    text(root/'fcvid_train.txt', '\n'.join(map(line, TRAIN)))
    text(root/'fcvid_test.txt', '\n'.join(map(line, VAL)) + '\n')
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
    text(root/'mini_train_videofolder.txt', '\n'.join(map(line, TRAIN)))
    text(root/'mini_val_videofolder.txt', '\n'.join(map(line, VAL)))
    text(root/'mini_classes.txt', '\n'.join(CLASSES))
    for k in (*TRAIN, *VAL): frames(root/'frames'/CLASSES[k % 3]/f'yt_{k}_000001_000011', k, 'image_{:05d}.jpg')
    return f'minikinetics:{root}'


def by_number(name, folder):
    def write(root):
        for part, which in ((TRAIN, 'train'), (VAL, 'validation')): text(root/f'{name}-{which}.csv', '\n'.join(f'{1000 + k};{CLASSES[k % 3]}' for k in part))
        text(root/f'{name}-labels.csv', '\n'.join(CLASSES))
        text(root/f'{name}-test.csv', '1\n2\n')
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
