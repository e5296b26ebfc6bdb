"Files of visitors, as a widget takes them: every bad one is a sentence, and the widget goes on."
from pathlib import Path

import pytest
import torch
from hostile import encode, make_files

from adafocus.data import needle
from adafocus.method.model import AdaFocus
from adafocus.run.config import save_config
from adafocus.run.folder import save_weights
from adafocus.run.presets import preset
from adafocus.show.widgets import PatchExplorer


@pytest.fixture(scope='module')
def made(tmp_path_factory): return make_files(tmp_path_factory.mktemp('made'))


@pytest.fixture(scope='module')
def explorer(tmp_path_factory, made):
    run, config = tmp_path_factory.mktemp('run'), preset('needle')
    config.classes = list(needle.GLYPHS)
    torch.manual_seed(0); save_config(config, run/'config.yaml'); save_weights(AdaFocus(config.model), run/'model.safetensors')
    e = PatchExplorer(run, [made/'good.mp4'])
    e.said = []; e.send = lambda content, buffers=None: e.said.append(content)
    yield e
    e.close()


def upload(e, name, content, piece=1 << 20):
    "What the page is told in the end."
    at = 0
    while True:
        e._heard(None, dict(kind='upload', id='x', name=name, size=len(content), at=at), [content[at:at + piece]])
        if e.said[-1].get('error') or e.said[-1].get('done'): return e.said[-1]
        at = e.said[-1]['next']


def still_usable(e, made):
    assert list(e._uploads.folder.iterdir()) == []
    assert upload(e, 'good.mp4', (made/'good.mp4').read_bytes())['done'] and e.trace.name == 'good.mp4' and e.message == ''


@pytest.mark.parametrize('sizes', [[(8192, 8192)], [(64, 64), (8192, 8192)]], ids=['large', 'grows'])
def test_an_upload_that_unfolds_into_gigabytes(explorer, made, tmp_path, sizes):
    encode(tmp_path/'bomb.ts', sizes, 2)
    found = upload(explorer, 'holiday.mp4', (tmp_path/'bomb.ts').read_bytes())
    assert 'million pixels' in found.get('error', '') and found['error'].startswith('holiday.mp4: '), found
    still_usable(explorer, made)


def test_an_upload_that_is_cut_lies_or_is_something_else(explorer, made):
    files = sorted(f for f in made.iterdir() if f.is_file())
    assert len(files) > 5
    for file in files:
        found = upload(explorer, file.name, file.read_bytes())
        assert found.get('done') or found['error'].startswith(file.name) and str(explorer._uploads.folder) not in found['error'] and '\n' not in found['error'], (file, found)
    assert any('done' not in upload(explorer, f.name, f.read_bytes()) for f in files if f.name != 'good.mp4')
    still_usable(explorer, made)


def test_the_shared_broken_clips_as_uploads(explorer, made, beside):
    bad = {f.name: upload(explorer, f.name, f.read_bytes()) for f in sorted(beside('clips_bad').glob('*.mp4'))}
    for name in ('audio_only.mp4', 'empty.mp4', 'text.mp4'): assert bad[name].get('error', '').startswith(name), bad[name]
    assert bad['one_frame.mp4'].get('done') and bad['tiny.mp4'].get('done')
    still_usable(explorer, made)
    good = sorted(beside('clips').rglob('*.mp4'))[0]
    assert upload(explorer, good.name, good.read_bytes())['done'] and Path(explorer.trace.name).name == good.name and explorer.trace.frames.shape == (8, 112, 112, 3)
