"Released checkpoints: what is recognised, loaded and written, and what is refused."
import re
from dataclasses import replace
from pathlib import Path

import parity
import pytest
import torch
from safetensors.torch import save_file

from adafocus.method.model import AdaFocus, ModelConfig
from adafocus.method.official import _UNUSED, OFFICIAL, load_official, start_from, to_official

OURS = ModelConfig(num_classes=5, num_frames=4, frame_size=64, patch_size=28, global_encoder='small_global', local_encoder='small_local',
                   policy_hidden=32, classifier_hidden=32)
FEW = dict(num_frames=2, policy_hidden=32, classifier_hidden=64)                     # full-size encoders, small heads


@pytest.fixture(scope='module')
def state(): return {name: x.float() for name, x in parity.checkpoint('mn2rn').items()}


@pytest.fixture(scope='module')
def model(state): return load_official(state)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    "A released file with two frames and seven classes."
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('released')/'mn2rn.pth.tar'
    torch.save(to_official(AdaFocus(replace(OFFICIAL['mn2rn'], num_classes=7, **FEW))), path)
    return path


class Touch:
    def __init__(self, path): self.path = path
    def __reduce__(self): return Path.touch, (self.path,)


def test_no_code_in_a_file_is_run(tmp_path):
    torch.save({'state_dict': Touch(tmp_path/'canary')}, tmp_path/'evil.pth')
    with pytest.raises(ValueError, match='which is not read since that could run code'): load_official(tmp_path/'evil.pth')
    assert not (tmp_path/'canary').exists()
    with pytest.raises(ValueError, match='does not exist'): load_official(tmp_path/'nowhere.pth')


@pytest.mark.parametrize('arch', OFFICIAL)
def test_one_tensor_short_one_too_many_one_cut(arch):
    shapes = {name: torch.empty(shape, device='meta') for name, shape in parity.shapes(arch).items()}
    for name in ('policy_stn.1.running_var' if arch == 'tsm' else 'policy_stn.encoder.1.running_var', list(shapes)[40]):
        lacking = {n: x for n, x in shapes.items() if n != name}
        with pytest.raises(ValueError, match=f'the nearest of them, {arch}, there are 1 missing: {re.escape(name)}$'): load_official(lacking)
        with pytest.raises(ValueError, match=f'1 of another shape: {re.escape(name)}'): load_official(lacking | {name: torch.empty(3, 5, device='meta')})
    with pytest.raises(ValueError, match='1 left over: more.weight$'): load_official(shapes | {'more.weight': torch.empty(1)})


def test_the_imagenet_classifiers_may_be_absent(state):
    assert any(name in _UNUSED for name in state)
    load_official({name: x for name, x in state.items() if name not in _UNUSED})


def test_old_half_and_wrapped_twice(state, model):
    odd = {f'module.module.{name}': x.half() if x.is_floating_point() else x for name, x in state.items() if not name.endswith('num_batches_tracked')}
    odd = load_official(odd)
    assert {x.dtype for x in odd.parameters()} == {torch.float32}
    assert torch.equal(odd.policy.head.bias, model.policy.head.bias.half().float())


@pytest.mark.parametrize('arch, sizes', [('mn2rn', dict(num_classes=239, patch_size=96)), pytest.param('tsm', dict(num_classes=27, patch_size=176), marks=pytest.mark.slow),
                                         ('tsm', dict(num_frames=6, focus_frames=9, frame_size=112, patch_size=48))])      # the last: not of the paper
def test_there_and_back_with_other_sizes(arch, sizes):
    torch.manual_seed(7)
    mine = AdaFocus(replace(OFFICIAL[arch], **sizes))
    copy = load_official(to_official(mine), patch_size=sizes['patch_size'], frame_size=sizes.get('frame_size'))
    assert copy.config == mine.config
    assert all(torch.equal(x, copy.state_dict()[name]) for name, x in mine.state_dict().items())


def test_models_without_a_released_layout(model):
    with pytest.raises(ValueError, match='the model is none of mn2rn, rn, tsm'): to_official(AdaFocus(replace(OURS, feature_reuse=False)))
    with torch.device('meta'): central = AdaFocus(replace(OFFICIAL['tsm'], policy='central'))
    with pytest.raises(ValueError, match='unlike tsm it has policy central$'): to_official(central)
    with pytest.raises(ValueError, match='not as it was built'): to_official(model.for_inference())


def test_wrappers_come_off(model):
    names = set(to_official(model)['state_dict'])
    for wrapped in (torch.nn.DataParallel(model), torch.compile(model)): assert set(to_official(wrapped)['state_dict']) == names


def test_a_start_from_a_checkpoint(checkpoint):
    base = replace(OFFICIAL['mn2rn'], **FEW)
    assert start_from(AdaFocus(replace(base, num_classes=7)), checkpoint) == []
    others = start_from(AdaFocus(replace(base, num_classes=10)), checkpoint)
    assert set(others) == {'classifier.weight', 'classifier.bias', *(f'{head}.1.{kind}' for head in ('global_head', 'local_head') for kind in ('weight', 'bias'))}
    assert start_from(AdaFocus(replace(base, num_classes=7)), checkpoint, same_classes=False) == others


@pytest.mark.parametrize('changes, says', [(dict(classifier_hidden=32), 'does not fit the model: .*of another shape: .*classifier.embed.0.weight'),
                                           (dict(global_encoder='resnet18'), 'does not fit the model: .*left over'), (dict(num_frames=8), 'num_frames must be 2')])
def test_a_start_that_does_not_fit(checkpoint, changes, says):
    with pytest.raises(ValueError, match=says): start_from(AdaFocus(replace(OFFICIAL['mn2rn'], **FEW | dict(num_classes=7) | changes)), checkpoint)


def test_a_start_from_a_run(tmp_path):
    one, two = AdaFocus(OURS), AdaFocus(OURS)
    save_file(one.state_dict(), tmp_path/'model.safetensors')
    assert start_from(two, tmp_path) == []
    assert all(torch.equal(x, two.state_dict()[name]) for name, x in one.state_dict().items())
