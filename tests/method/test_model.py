"The model: positions, combinations, and values that cannot be."
from dataclasses import replace

import pytest
import torch

from adafocus.method.model import AdaFocus, ModelConfig

SMALL = ModelConfig(num_classes=10, num_frames=8, frame_size=64, patch_size=28, global_size=32, global_encoder='small_global',
                    local_encoder='small_local', policy_channels=16, policy_hidden=64, classifier_hidden=128)
SHIFTING = replace(SMALL, num_frames=4, focus_frames=6, temporal_shift=True, policy='mlp', classifier='average', classifier_detached=True)


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return AdaFocus(SHIFTING).eval()


@pytest.fixture(scope='module')
def inputs():
    torch.manual_seed(1)
    return torch.randn(2, 4, 3, 64, 64), torch.randn(2, 6, 3, 64, 64)


def test_one_random_position_for_a_video(inputs):
    positions = torch.rand(2, 6, 2)
    _, random = AdaFocus(SHIFTING).train()(*inputs, random_positions=positions)
    assert torch.equal(random.positions, positions[:, :1].expand(2, 6, 2))


def test_folded_batch_norms_change_nothing(model, inputs):
    with torch.no_grad(): folded, out = model.for_inference()(*inputs), model(*inputs)
    torch.testing.assert_close(folded.logits, out.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(folded.positions, out.positions, atol=1e-4, rtol=1e-4)


def test_positions_are_given_for_all_frames_or_one_for_all(model, inputs):
    positions = torch.rand(2, 6, 2)
    with torch.no_grad(): assert torch.equal(model(*inputs, positions=positions[:, :1]).positions, positions[:, :1].expand(2, 6, 2))
    with pytest.raises(ValueError, match='positions for 5 frames; there must be 6, or 1 for all'): model(*inputs, positions=positions[:, :5])


@pytest.mark.parametrize('changes, says', [(dict(global_size=0), 'global_size is 0; it must be at least 1, or None'), (dict(global_weights=''), 'global_weights'),
                                           (dict(focus_frames=0), 'focus_frames is 0'), (dict(auxiliary_supervision=False), 'nothing would train the encoders'),
                                           (dict(patch_size=65), 'from 1 to frame_size, 64'), (dict(dropout=1.), 'dropout is 1.0'), (dict(num_classes=0), 'num_classes is 0')])
def test_values_that_cannot_be(changes, says):
    with pytest.raises(ValueError, match=says): replace(SHIFTING, **changes)


@pytest.mark.parametrize('changes, says', [(dict(policy='gru'), 'focus_frames is 6'), (dict(classifier='max_pool'), 'it may be average')])
def test_parts_that_do_not_go_together(changes, says):
    with pytest.raises(ValueError, match=says): AdaFocus(replace(SHIFTING, **changes))


def test_a_number_of_frames_that_the_shift_does_not_take(model, inputs):
    with pytest.raises(ValueError, match='5 frames a video; this encoder shifts channels over 6'): model(inputs[0], inputs[1][:, :5])


def test_whole_frames(inputs):
    central = AdaFocus(replace(SHIFTING, policy='central', patch_size=64)).eval()
    with torch.no_grad(): assert torch.equal(central(*inputs).positions, torch.full((2, 6, 2), .5))
