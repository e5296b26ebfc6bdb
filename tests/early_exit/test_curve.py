"Early exit beside random exit and fixed length."
import numpy as np
import torch

from adafocus.early_exit.curve import exit_curve
from adafocus.early_exit.solver import solve_thresholds
from adafocus.early_exit.thresholds import confidence, made_up_videos
from adafocus.method.costs import count
from adafocus.run.presets import preset

COSTS = count(preset('mn2rn-p128').model).per_step()
PLANS = [solve_thresholds(made_up_videos(600)[0], COSTS, b) for b in np.linspace(2.5, 26, 12)]
LOGITS, LABELS = made_up_videos(600, seed=1)


def test_early_exit_lies_above_the_others():
    curve = exit_curve(LOGITS, LABELS, COSTS, PLANS)
    middle = (curve.cost > 5) & (curve.cost < 20)
    fixed = np.interp(curve.cost[middle], curve.fixed_cost, curve.fixed)
    assert (curve.score[middle] > curve.random[middle]).all() and (curve.score[middle] > fixed).all()
    shares = np.array([np.bincount(s, minlength=16)/600 for s in curve.steps])
    assert np.allclose(curve.random, shares @ curve.fixed, atol=.03)
    assert (curve.band[:, 0] <= curve.score).all() and (curve.score <= curve.band[:, 1]).all()


def test_confidences_and_what_is_right_say_as_much_as_logits():
    from_logits = exit_curve(LOGITS, LABELS, COSTS, PLANS)
    same = exit_curve(confidence(LOGITS), LOGITS.argmax(-1) == LABELS[:, None], COSTS, PLANS)
    assert np.allclose(same.score, from_logits.score) and np.array_equal(same.steps, from_logits.steps)


def test_several_labels_are_scored_by_mean_average_precision():
    both = torch.stack([LABELS, torch.where(torch.arange(600) % 3 == 0, (LABELS + 1) % 10, -1)], 1)
    curve = exit_curve(LOGITS, both, COSTS, PLANS[::4], samples=20)
    assert curve.metric == 'mAP'
    assert (curve.band[:, 0] < curve.score + .02).all() and (curve.score - .02 < curve.band[:, 1]).all()
