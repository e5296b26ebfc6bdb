"Frame by frame gives what one pass over the whole video gives."
from dataclasses import replace

import pytest
import torch

from adafocus.early_exit.stepwise import StepState, Stepwise, why_not_stepwise
from adafocus.method.model import AdaFocus
from adafocus.method.policy import POLICIES, GRUPolicy
from adafocus.run.presets import preset

SMALL = replace(preset('needle').model, num_frames=8)
FRAMES = torch.randn(3, 8, 3, 112, 112, generator=torch.Generator().manual_seed(0))


class LSTMPolicy(GRUPolicy):                                            # a policy whose state is a pair
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gru = torch.nn.LSTM(self.gru.input_size, self.gru.hidden_size, num_layers=2, batch_first=True)


def agree(model, frames, tolerance):
    "Step through frames (B, T, 3, H, W), with states split and joined at each step."
    with torch.no_grad(): whole = model(frames)
    steps = Stepwise(model)
    state = steps.start(len(frames))
    for t in range(frames.shape[1]):
        logits, positions, state = steps(frames[:, t], StepState.join(state.split()))
        torch.testing.assert_close(logits, whole.logits[:, t], atol=tolerance, rtol=0)
        torch.testing.assert_close(positions, whole.positions[:, t], atol=1e-5, rtol=0)


@pytest.mark.parametrize('policy', ['lstm', 'central', 'gru'])
@pytest.mark.parametrize('reuse', [True, False])
def test_policies_and_feature_reuse(policy, reuse, monkeypatch):
    monkeypatch.setitem(POLICIES, 'lstm', LSTMPolicy)
    model = AdaFocus(replace(SMALL, policy=policy, feature_reuse=reuse)).eval()
    for net in (model, model.for_inference()): agree(net, FRAMES, 1e-5)


def test_double_precision_stays():
    agree(AdaFocus(SMALL).double().eval(), FRAMES.double(), 1e-12)


@pytest.mark.slow
def test_the_papers_size():
    model = AdaFocus(replace(preset('mn2rn-p128').model, num_frames=3)).eval().for_inference()
    agree(model, torch.randn(1, 3, 3, 224, 224, generator=torch.Generator().manual_seed(0)), 1e-4)


def test_models_that_cannot_go_frame_by_frame():
    assert why_not_stepwise(AdaFocus(SMALL)) is None and why_not_stepwise(AdaFocus(replace(SMALL, policy='central'))) is None
    assert 'mlp' in why_not_stepwise(AdaFocus(replace(SMALL, policy='mlp')))
    assert 'average' in why_not_stepwise(AdaFocus(replace(SMALL, temporal_shift=True, classifier='average', policy='mlp')))
    with pytest.raises(ValueError, match='cannot go frame by frame: its policy, mlp'): Stepwise(AdaFocus(replace(SMALL, policy='mlp')))
