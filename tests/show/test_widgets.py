"The widgets in Python: what they send, what they refuse, and files of visitors, of which every bad one is a sentence."
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import traitlets
from shown_run import shown_run

from adafocus.data.video.writing import write_video
from adafocus.early_exit.predictor import Predictor
from adafocus.run.config import save_config
from adafocus.show.widgets import BudgetCurve, CropPlayground, PatchExplorer, TrainingMonitor


@pytest.fixture(scope='module')
def made_run(tmp_path_factory, tiny): return shown_run(tmp_path_factory.mktemp('shown')/'run', tiny)


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    "Files that a visitor may bring: good.mp4, one of a single frame, and bad ones."
    folder = tmp_path_factory.mktemp('clips')
    pixels = np.random.default_rng(0).integers(0, 255, (40, 64, 80, 3), dtype=np.uint8)
    write_video(folder/'good.mp4', pixels)
    write_video(folder/'one_frame.mp4', pixels[:1])
    good = (folder/'good.mp4').read_bytes()
    bad = {'empty': b'', 'byte': b'x', 'text': b'not a video\n'*80, 'playlist': b'ffconcat version 1.0\nfile /etc/passwd',
           'half': good[:len(good)//3], 'zeros': bytes(5000), 'header': good[:2000]}
    for name, content in bad.items(): (folder/f'{name}.mp4').write_bytes(content)
    return folder


@pytest.fixture(scope='module')
def explorer(made_run, clips):
    e = PatchExplorer(made_run[0], [clips/'good.mp4'])
    e.told = []
    e.send = lambda content, buffers=None: e.told.append(content)
    yield e
    e.close()


def upload(e, name, content, piece=1 << 20):
    "What the page is told in the end."
    at = 0
    while True:
        e._hear(None, dict(kind='upload', id='x', name=name, size=len(content), at=at), [memoryview(content[at:at + piece])])
        if e.told[-1].get('error') or e.told[-1].get('done'): return e.told[-1]
        at = e.told[-1]['next']


def still_usable(e, clips):
    assert list(e._uploads.folder.iterdir()) == []
    assert upload(e, 'good.mp4', (clips/'good.mp4').read_bytes())['done'] and e.trace.name == 'good.mp4' and e.message == ''


def bomb(path, sizes):
    "An H.264 transport stream of two frames of each size, (height, width)."
    import av
    for k, (height, width) in enumerate(sizes):
        part = path.with_name(f'part{k}.ts')
        with av.open(str(part), 'w') as container:
            stream = container.add_stream('libx264', rate=5, options=dict(preset='ultrafast', threads='1', crf='40'))
            stream.height, stream.width, stream.pix_fmt = height, width, 'yuv420p'
            frame = av.VideoFrame(width, height, 'yuv420p')
            for plane in frame.planes: plane.update(bytes(plane.buffer_size))
            for n in range(2):
                frame.pts = n
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        with path.open('ab') as f: f.write(part.read_bytes())


@pytest.mark.parametrize('sizes', [[(8192, 8192)], [(64, 64), (8192, 8192)]], ids=['large', 'grows'])
def test_an_upload_that_unfolds_into_gigabytes(explorer, clips, tmp_path, sizes):
    bomb(tmp_path/'bomb.ts', sizes)
    answer = upload(explorer, 'holiday.mp4', (tmp_path/'bomb.ts').read_bytes())
    assert 'million pixels' in answer.get('error', '') and answer['error'].startswith('holiday.mp4: '), answer
    still_usable(explorer, clips)


def test_an_upload_that_is_cut_lies_or_is_something_else(explorer, clips):
    for file in sorted(clips.iterdir()):
        answer = upload(explorer, file.name, file.read_bytes())
        error = answer.get('error', '')
        assert bool(answer.get('done')) == (file.stem in ('good', 'one_frame')), (file, answer)
        assert answer.get('done') or file.name in error and str(explorer._uploads.folder) not in error and '\n' not in error and 'upload-' not in error
    still_usable(explorer, clips)


def test_the_shared_broken_clips_as_uploads(explorer, clips, beside):
    bad = {f.name: upload(explorer, f.name, f.read_bytes()) for f in sorted(beside('clips_bad').glob('*.mp4'))}
    for name in ('audio_only.mp4', 'empty.mp4', 'text.mp4'): assert bad[name].get('error', '').startswith(name), bad[name]
    assert bad['one_frame.mp4'].get('done') and bad['tiny.mp4'].get('done')
    still_usable(explorer, clips)
    good = sorted(beside('clips').rglob('*.mp4'))[0]
    assert upload(explorer, good.name, good.read_bytes())['done'] and Path(explorer.trace.name).name == good.name and explorer.trace.frames.shape == (8, 112, 112, 3)


def test_messages_that_make_no_sense_and_bugs_are_answered(explorer, monkeypatch):
    explorer._hear(None, dict(kind='upload', id=3, name=None, size='x', at=-1), [])
    assert 'no sense' in explorer.told[-1]['error']
    explorer._hear(None, dict(kind='upload', id='y', name='big.mp4', size=1 << 40, at=0), [b'x'])
    assert 'at most 64 MB' in explorer.told[-1]['error']
    count = len(explorer.told)
    explorer._hear(None, dict(kind='other'), [])
    assert len(explorer.told) == count
    def fails(*args): raise RuntimeError('a secret')
    monkeypatch.setattr(explorer._uploads, 'take', fails)
    assert upload(explorer, 'a.mp4', b'x')['error'] == 'a.mp4 could not be looked at (RuntimeError)'


def test_an_upload_gives_what_the_file_gives(made_run):
    run, data, _ = made_run
    e = PatchExplorer(run, data.val[:2])
    e.told, file = [], data.val[0].path
    e.send = lambda content, buffers=None: e.told.append(content)
    assert upload(e, '../../<img src=x>.mp4', file.read_bytes(), piece=10_000)['done'] and len(e.told) > 1
    assert (e.videos[-1], e.sample) == ('yours: ../../<img src=x>.mp4', 2)
    shares = lambda x: np.array(x.data['video']['looks']['learned']['top'])[..., 1]
    assert np.allclose(shares(e), shares(PatchExplorer(run, [file])), atol=1e-4)
    folder = e._uploads.folder
    e.close()
    assert not folder.exists()


def test_only_the_last_traces_are_kept(made_run, clips):
    e, good = PatchExplorer(made_run[0], [clips/'good.mp4'], keep=4), (clips/'good.mp4').read_bytes()
    e.told = []
    e.send = lambda content, buffers=None: e.told.append(content)
    for k in range(8): assert upload(e, f'{k}.mp4', good)['done']
    assert len(e._shelf.traces) == 4 and e.sample == 8
    e.sample = 2
    assert 'not kept any more' in e.message and e.sample == 8
    e.sample = 7
    assert e.message == '' and e.shown == 7
    assert upload(e, 'again.mp4', good)['done'] and e.sample == 9


def test_choosing_a_video_and_what_cannot_be(made_run, tmp_path):
    run, data, config = made_run
    e = PatchExplorer(run, data.val[:5], sample=2)
    e.sample = 4
    assert (e.shown, e.trace.labels, e.message) == (4, (data.classes[data.val[4].labels[0]],), '')
    e.budget = .0312
    assert e.budget in [s['budget'] for s in e.budget_stops['stops']]
    for name, value in dict(budget=-1., policy='best', order='backwards').items():
        with pytest.raises(traitlets.TraitError): setattr(e, name, value)
    e.sample = 77
    assert 'videos 0 to 4' in e.message and e.shown == e.sample == 4
    e.sample = 1
    assert e.message == ''
    (tmp_path/'broken.mp4').write_bytes(b'no video')
    other = PatchExplorer(run, [tmp_path/'broken.mp4', data.val[0].path])
    assert 'broken.mp4: not a video' in other.message and other.trace is None
    with pytest.raises(ValueError, match='nothing to show: .*broken.mp4'): other.static()
    other.sample = 1
    assert other.trace.labels == () and other.message == '' and e.sample == 1          # neither knows of the other
    assert 'no video to show' in PatchExplorer(run, []).message
    assert 'nothing-here' in PatchExplorer(run, tmp_path/'nothing-here').message
    assert 'limit_kb is 3' in PatchExplorer(run, data.val[:1], limit_kb=3).message
    with pytest.raises(ValueError): PatchExplorer(tmp_path)
    lost = tmp_path/'lost'
    shutil.copytree(run, lost)
    save_config(replace(config, data=replace(config.data, data='nowhere')), lost/'config.yaml')
    assert 'nowhere' in PatchExplorer(lost).message and 'upload one' in PatchExplorer(lost).message


def test_which_videos_and_a_page_of_its_own(made_run, tiny, tmp_path):
    run, data, _ = made_run
    assert len(PatchExplorer(run).videos) == 20
    assert PatchExplorer(Predictor(run), str(tiny/'val'/'dot')).videos[0][-4:] == '.mp4'
    html = PatchExplorer(run, data.val[:1]).html(tmp_path/'page.html').read_text()
    assert '<script type="module">' in html and len(html) < 250_000 and str(tmp_path) not in html and str(tiny) not in html


def test_a_curve_needs_budgets_and_links(made_run, tmp_path):
    run, data, _ = made_run
    bare = tmp_path/'bare'
    shutil.copytree(run, bare)
    (bare/'budgets.json').unlink()
    with pytest.raises(ValueError, match='has no budgets; python -m adafocus.evaluate'): BudgetCurve(bare)
    alone = PatchExplorer(bare, data.val[:1])
    alone.budget = .03
    assert (alone.budget, alone.budget_stops) == (None, None) and alone.static()
    assert BudgetCurve(run).group == ''
    explorer = PatchExplorer(run, data.val[:1], budget=.03)
    curve = BudgetCurve(explorer, others=[run])
    assert curve.budget == explorer.budget and curve.group == explorer.group != ''
    assert '"kind": "curve"' in curve.html(tmp_path/'curve.html').read_text()


def test_a_monitor_waits_for_its_run_and_ends(tmp_path):
    line = dict(epoch=0, train=dict(classifier=2.), val=dict(accuracy=[.2]*8), train_seconds=40., val_seconds=5.)
    monitor = TrainingMonitor(tmp_path/'later', every=.02)
    assert monitor.data['text'] == 'later: no epoch is finished yet'
    with pytest.raises(ValueError): monitor.static()
    (tmp_path/'later').mkdir()
    (tmp_path/'later'/'metrics.jsonl').write_text(json.dumps(line) + '\n{"a": 1}\n{"epoch": 3, "train"')
    for _ in range(500):
        if monitor.data['epochs']: break
        time.sleep(.02)
    assert monitor.data['epochs'] == [1] and json.dumps(monitor.data, allow_nan=False)
    assert '"kind": "monitor"' in monitor.html(tmp_path/'m.html').read_text()
    monitor.close()
    monitor._thread.join(5)
    assert not monitor._thread.is_alive()


@pytest.mark.parametrize('wrong, says', [(dict(image=np.zeros((4, 4))), 'image is float64'), (dict(patch_size=48), 'patch_size is 48'), (dict(target=(2, 0)), 'target is')])
def test_a_playground_says_what_is_wrong(wrong, says):
    with pytest.raises(ValueError, match=says): CropPlayground(**wrong)
    with pytest.raises(traitlets.TraitError, match='x is 1.5'): CropPlayground().x = 1.5
