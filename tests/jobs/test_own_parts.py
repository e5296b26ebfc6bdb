"Parts of one's own: trained by name, found again by every command, and never run from a stranger's run."
import sys

import pytest
import yaml
from conftest import CPU, SMALL, command

from adafocus import evaluate as evaluation, export, flops, predict, train
from adafocus.early_exit.predictor import Predictor
from adafocus.run.folder import save_model
from adafocus.run.parts import REGISTRIES
from adafocus.system.bringing import is_trusted

PARTS = '''
import torch
from torch import nn
from adafocus import register_classifier, register_dataset, register_encoder, register_loss, register_policy, register_preset, register_sampler
from adafocus.data.datasets.opening import Needle
from adafocus.data.sampling import segment_indices
from adafocus.method.classifiers import MaxPoolClassifier
from adafocus.method.losses import adafocus_loss
from adafocus.run.presets import preset

@register_encoder('my_encoder')
def my_encoder(weights): return nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU()), 8

@register_policy('my_policy')
class MyPolicy(nn.Module):
    per_video, waits = False, False
    def __init__(self, in_channels, map_size, **kwargs):
        super().__init__()
        self.head = nn.Linear(in_channels, 2)
    def forward(self, maps, state=None): return self.head(maps.mean((3, 4))).float().sigmoid(), state

@register_classifier('my_classifier')
class MyClassifier(MaxPoolClassifier): "The same under another name."

@register_loss('my_loss')
def my_loss(outputs, labels, **options): return adafocus_loss(outputs, labels, **options)

@register_sampler('my_sampler')
def my_sampler(frames, count, rng=None, short='last'): return segment_indices(frames, count, rng, short)

@register_dataset('my_format')
class MyFormat(Needle): "The same under another name."

@register_preset('my_preset')
def my_preset(): return preset('needle')
'''
FLAGS = ('--local-encoder', 'my_encoder', '--policy', 'my_policy', '--classifier', 'my_classifier', '--loss', 'my_loss', '--sampler', 'my_sampler')


def forget():
    "Leave the tables as they are in a process that has brought nothing."
    for registry in REGISTRIES:
        for name in [name for name in registry if name.startswith('my_')]: del registry[name], registry.sources[name]
    sys.modules.pop('my_parts', None)


@pytest.fixture(scope='module')
def own(tiny, tmp_path_factory):
    "The folder of a run with six parts of its own, and of the file that registers them."
    folder = tmp_path_factory.mktemp('own')
    (folder/'my_parts.py').write_text(PARTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CONFIG_HOME', str(folder/'config'))
        for name, value in CPU.items(): patch.setenv(name, value)
        small = tuple(x for x in SMALL if x not in ('--preset', 'needle'))
        status, _, err = command(train.main, '--import', folder/'my_parts.py', '--preset', 'my_preset', '--data', f'my_format:{tiny}',
                                 '--out', folder/'run', '--epochs', 1, *small, *FLAGS)
        assert status == 0, err
        yield folder
    forget()


def test_the_run_notes_its_parts(own):
    noted = yaml.safe_load((own/'run'/'config.yaml').read_text())['parts']
    assert set(noted) == {'encoder my_encoder', 'policy my_policy', 'classifier my_classifier', 'loss my_loss', 'sampler my_sampler', 'dataset my_format'}
    assert all(part['file'] == str(own/'my_parts.py') and len(part['sha256']) == 64 for part in noted.values())
    assert is_trusted(own/'my_parts.py')


@pytest.mark.parametrize('calls', ['predict', pytest.param('others', marks=pytest.mark.slow)])
def test_every_command_finds_them(own, tiny, calls):
    video, run = next((tiny/'val').rglob('*.mp4')), own/'run'
    others = ((evaluation.main, run), (export.main, run, '--out', own/'onnx'), (evaluation.main, run, '--budgets', .01, '--timed-videos', 0),
              (predict.main, run, video, '--budget', .01))
    for main, *args in (((predict.main, run, video),) if calls == 'predict' else others):
        forget()
        status, out, err = command(main, *args)
        assert status == 0 and out, err


def test_training_goes_on_and_starts_from_it(own, tiny):
    forget()
    status, out, err = command(train.main, '--resume', own/'run', '--dry-run')
    assert status == 0 and 'my_encoder' in out, err
    for flag in ('--config', '--init'):
        forget()
        status, out, err = command(train.main, flag, own/'run', '--dry-run', '--data', tiny)
        assert status == 0 and 'my_encoder' in out, err


@pytest.mark.parametrize('main, args', [(predict.main, ('x.mp4',)), (evaluation.main, ()), (export.main, ())])
def test_a_file_that_was_never_brought_is_not_run(own, tmp_path, monkeypatch, main, args):
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path))
    forget()
    status, _, err = command(main, own/'run', *args)
    assert status == 2 and err.count('\n') == 1 and f'--import {own/"my_parts.py"}' in err and 'my_parts' not in sys.modules


def test_bringing_it_is_enough(own, tiny, tmp_path, monkeypatch): # the control of the test above
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path))
    forget()
    status, out, err = command(predict.main, own/'run', next((tiny/'val').rglob('*.mp4')), '--import', own/'my_parts.py')
    assert status == 0 and 'frames' in out, err


def test_a_changed_file_is_named(own, capsys):
    forget()
    text = (own/'my_parts.py').read_text()
    try:
        (own/'my_parts.py').write_text(text + '\n# changed\n')
        Predictor(own/'run').close()
        assert 'is not as it was when the run was trained' in capsys.readouterr().err
    finally: (own/'my_parts.py').write_text(text)
    forget()
    Predictor(own/'run').close()
    assert capsys.readouterr().err == ''


def test_a_published_model_names_no_path(own, tmp_path):
    forget()
    save_model(own/'run', tmp_path/'hub')
    text = (tmp_path/'hub'/'config.yaml').read_text()
    assert 'my_parts' in text and str(own) not in text
    forget()
    with pytest.raises(ValueError, match='of module my_parts: bring it with --import my_parts'): Predictor(tmp_path/'hub')


def test_names_nearest_and_absent(own, tiny):
    forget()
    status, _, err = command(flops.main, '--policy', 'grru')
    assert status == 2 and "did you mean gru? It may be" in err and '--import' in err
    status, _, err = command(flops.main, '--import', own/'no_such.py')
    assert status == 2 and 'no_such.py' in err and 'does not exist' in err
    status, _, err = command(train.main, '--data', f'your_format:{tiny}', '--dry-run')
    assert status == 2 and "there is no" not in err and "dataset is 'your_format'" in err
