"Compares the model with the authors' numbers in `reference/`, in double precision, to 1e-6."
import parity
import pytest
import torch

from adafocus.method.official import load_official, released_names
from adafocus.system.processes import usable_cores

NEAR = 1e-6


@pytest.fixture(scope='module', autouse=True)
def fast():
    threads = torch.get_num_threads()
    torch.set_num_threads(usable_cores())
    yield
    torch.set_num_threads(threads)


def assert_near(far): assert all(x < NEAR for x in far.values()), far


def test_crop_and_its_gradient():
    far = parity.crop_case()
    assert len(far) == 4
    assert_near(far)


ARCHITECTURES = ['mn2rn', *(pytest.param(arch, marks=pytest.mark.slow) for arch in ('rn', 'tsm'))]     # one quickly


@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_evaluation(arch):
    far = parity.evaluation_case(arch)
    assert len(far) == 4
    assert_near(far)


@pytest.mark.slow
@pytest.mark.parametrize('arch, parameters', [('mn2rn', 368), ('tsm', 336)])
def test_training(arch, parameters):
    "The loss, its terms, stored gradients, and the gradient norm of every parameter; none where theirs has none."
    far, norms, left = parity.training_case(arch)
    assert len(far) >= 7
    assert_near(far)
    assert len(norms) == parameters
    largest = max(theirs for _, _, theirs in norms)
    for name, ours, theirs in norms: assert ours is not None and abs(ours - theirs) < NEAR*max(theirs, NEAR*largest), (name, ours, theirs)
    if arch == 'mn2rn':                                   # of ours none is left without a gradient; of theirs those of the classifiers that nothing uses
        assert left == {f'{part}.{kind}': None for part in ('global_CNN.classifier', 'local_CNN.fc') for kind in ('weight', 'bias')}
    else: assert left == {}


@pytest.mark.parametrize('arch', parity.LAYOUTS)
def test_every_name_of_a_released_file_is_accounted_for(arch):
    model = load_official(parity.checkpoint(arch))
    ours = [released for name in model.state_dict() for released in released_names(name, model.config)]
    unused = {'mn2rn': {'global_CNN.classifier', 'local_CNN.fc'}, 'rn': {'global_CNN.fc', 'local_CNN.fc'}, 'tsm': set()}[arch]
    assert len(ours) == len(set(ours))
    assert set(parity.shapes(arch)) - set(ours) == {f'{name}.{kind}' for name in unused for kind in ('weight', 'bias')}


@pytest.mark.slow
def test_a_wrong_reading_is_noticed():
    "The comparison can fail: with positions in the released order, or without the shift, it is far off."
    stored, state = parity.stored(), parity.checkpoint('tsm')
    state['policy_stn.10.weight'], state['policy_stn.10.bias'] = state['policy_stn.10.weight'].flip(0), state['policy_stn.10.bias'].flip(0)
    model, name = load_official(state), 'tsm_p128'
    inputs = parity.videos(f'{name}/glance', 2, 8), parity.videos(f'{name}/focus', 2, 12)
    with torch.no_grad(): swapped = model(*inputs)
    assert parity.apart(swapped.logits, stored[f'{name}/logits']) > 1e-3
    model = load_official(parity.checkpoint('tsm'))
    for m in model.modules():
        if hasattr(m, 'share'): m.share = 10**9           # nothing moves
    with torch.no_grad(): still = model(*inputs)
    assert parity.apart(still.logits, stored[f'{name}/logits']) > 1e-3
