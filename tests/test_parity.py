"The same function as the authors' model: against the numbers in `reference/`, in double precision, to 1e-6."
import numpy as np
import parity
import pytest
import torch

from adafocus.data.sampling import frame_order, segment_indices
from adafocus.data.transforms import crop_sizes
from adafocus.early_exit.thresholds import confidence, exit_steps, geometric_thresholds
from adafocus.method.official import load_official, released_names
from adafocus.run.metrics import mean_average_precision
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


@pytest.mark.parametrize('arch', parity.LAYOUTS)
def test_evaluation(arch):
    far = parity.evaluation_case(arch)
    assert len(far) == 4
    assert_near(far)


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


def test_a_wrong_reading_is_noticed():
    "The comparison can fail: with positions in the released order, or without the shift, it is far off."
    found, state = parity.stored(), parity.checkpoint('tsm')
    state['policy_stn.10.weight'], state['policy_stn.10.bias'] = state['policy_stn.10.weight'].flip(0), state['policy_stn.10.bias'].flip(0)
    model, name = load_official(state), 'tsm_p128'
    inputs = parity.videos(f'{name}/glance', 2, 8), parity.videos(f'{name}/focus', 2, 12)
    with torch.no_grad(): swapped = model(*inputs)
    assert parity.apart(swapped.logits, found[f'{name}/logits']) > 1e-3
    model = load_official(parity.checkpoint('tsm'))
    for m in model.modules():
        if hasattr(m, 'share'): m.share = 10**9           # nothing moves
    with torch.no_grad(): still = model(*inputs)
    assert parity.apart(still.logits, found[f'{name}/logits']) > 1e-3


def test_mean_average_precision():
    found = parity.stored()
    mean, each = mean_average_precision(found['map/logits'], found['map/labels'])
    assert abs(100*mean/found['map/map_percent'].item() - 1) < NEAR
    assert np.abs(100*each/found['map/ap_percent'].numpy() - 1).max() < NEAR


def test_frame_order():
    theirs = parity.facts()['frame_order']
    assert len(theirs) >= 12
    for count, order in theirs.items():
        if int(count) >= 3: assert frame_order(int(count)) == order
    assert frame_order(2) == [0, 1] and theirs['2'] == [0, 0, 1]        # where theirs shows a frame twice


@pytest.mark.parametrize('key, short', [('segment_indices_eval', 'last'), ('segment_indices_eval_tsm', 'first')])
def test_segment_indices(key, short):
    theirs = parity.facts()[key]
    assert len(theirs) >= 14
    for case, indices in theirs.items():
        frames, count = map(int, case.split(','))
        assert segment_indices(frames, count, short=short).tolist() == indices, case


def test_crop_sizes():
    theirs = parity.facts()['multiscale_crop_sizes']
    assert len(theirs) >= 5
    for source, sizes in theirs.items():
        width, height = map(int, source.split('x'))
        assert sorted(map(list, crop_sizes((height, width)))) == sizes, source


@pytest.mark.parametrize('criterion', ['softmax', 'logit'])
def test_exit_curves(criterion):
    "With thresholds by the rule of the reference, as many videos leave at each step as there."
    kept = parity.stored('early_exit')
    training, sure = confidence(kept['train_logits'], criterion), confidence(kept['val_logits'], criterion)
    for row, stored in zip(kept[f'{criterion}_curve'], kept['softmax_thresholds']):
        thresholds = geometric_thresholds(training, float(row[0]))
        if criterion == 'softmax': assert torch.allclose(thresholds.float(), stored, rtol=1e-6)
        left = exit_steps(sure, thresholds)
        assert left.bincount(minlength=16).tolist() == row[3:].long().tolist()
        right = kept['val_logits'][torch.arange(len(left)), left].argmax(-1) == kept['val_labels']
        assert abs(100*right.float().mean() - row[2]) < 1e-3 and abs(left.float().mean() + 1 - row[1]) < 1e-3
