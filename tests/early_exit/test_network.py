"A network and its exit rule."
import pytest
import torch
from untrained import untrained_run

from adafocus.early_exit.network import EarlyExitModel


@pytest.fixture(scope='module')
def network(tmp_path_factory): return EarlyExitModel(untrained_run(tmp_path_factory.mktemp('network')/'run')[0], thresholds=[.13]*8, device='cpu')


def test_without_thresholds_all_frames_are_used(network):
    network.use()
    state = network.zeros
    for t, frame in enumerate(torch.randint(0, 256, (8, 112, 112, 3), dtype=torch.uint8)):
        *_, stop, state = network.step(frame[None], state)
        assert stop == [t == 7]


@pytest.mark.parametrize('kwargs, says', [
    (dict(budget=1.0), 'holds no exit.json'), (dict(budget=1.0, thresholds=[0]*8), 'can be one of them'), (dict(thresholds=[0.0]*3), 'there must be 8'),
    (dict(thresholds=[float('nan')]*8), 'there must be 8'), (dict(criterion='entropy'), 'softmax or logit')])
def test_rules_that_cannot_be_leave_the_old_one(network, kwargs, says):
    network.use(thresholds=[.5]*8)
    with pytest.raises(ValueError, match=says): network.use(**kwargs)
    assert network.thresholds.tolist() == [.5]*8 and network.plan is None


@pytest.mark.parametrize('kwargs, says', [(dict(device='toaster'), 'cannot be used here'), (dict(mixed_precision='int3'), 'no, bf16, fp16')])
def test_devices_and_precisions_that_cannot_be(network, kwargs, says):
    with pytest.raises(ValueError, match=says): EarlyExitModel(network.run, **kwargs)
