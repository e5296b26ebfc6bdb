"What skipping costs, and that V1+ is scored as it looks."
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from adafocus.experiments.measures import SkippingModel, skip_cost
from adafocus.method.costs import count
from adafocus.method.model import AdaFocus
from adafocus.method.v1 import skipping
from adafocus.run.presets import preset

CONFIG = replace(preset('needle').model, policy='grid', num_frames=4, frame_size=64, patch_size=24, policy_hidden=32)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return AdaFocus(CONFIG).eval()


def test_what_skipping_costs_is_counted_on_the_head(model):
    "All frames looked at cost what the model costs, and the head, which is 64 wide with two answers."
    costs, looks = count(CONFIG), np.array([4])
    head = 64*CONFIG.policy_hidden + 2*64
    assert skip_cost(model, costs, looks) == pytest.approx(costs.total() + 4*head/1e9, abs=1e-12)
    before = skip_cost(model, costs, looks)
    model.policy.skip_actor = nn.Sequential(nn.Linear(32, 100), nn.Tanh(), nn.Linear(100, 2))     # control
    wider = 100*CONFIG.policy_hidden + 2*100
    assert skip_cost(model, costs, looks) - before == pytest.approx(4*(wider - head)/1e9, abs=1e-12)


def test_frames_that_are_skipped_cost_a_glance(model):
    one, all_of_them = skip_cost(model, count(CONFIG), np.array([1, 4]))
    look = {part.part: part.each for part in count(CONFIG).parts}
    assert all_of_them - one == pytest.approx(3*sum(look[p] for p in ('crop', 'f_L', 'f_C'))/1e9, abs=1e-12)


@torch.no_grad()
def test_skipping_model_is_v1_plus(model):
    "The same logits and looks as `skipping`, by the steps that `evaluate` takes; some frames are skipped and some not."
    frames, wrapped = torch.rand(6, 4, 3, 64, 64), SkippingModel(model)
    answers, _ = model.policy.consider(model.policy.remember(model.glance(frames)[0])[0], skipping=True)
    model.policy.skip_actor[-1].bias[0] += (answers[..., 1] - answers[..., 0]).median()      # so that half are skipped
    logits, looked = skipping(model, frames)
    maps, e_G = wrapped.glance(frames)
    positions = wrapped.decide(maps, 4)
    out = wrapped.classify(e_G, wrapped.look(frames, positions), positions)
    assert torch.equal(out.positions.isfinite().all(-1), looked) and looked[:, 0].all()
    assert torch.equal(out.logits[:, -1], logits)
    assert 0 < (~looked).sum() < looked[:, 1:].numel(), 'the test needs frames of both kinds'
