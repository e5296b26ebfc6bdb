"Thresholds for a budget: what a plan says, is."
import numpy as np
import parity
import pytest
import torch

from adafocus.early_exit.curve import exit_curve
from adafocus.early_exit.solver import SOLVERS, solve_thresholds
from adafocus.early_exit.thresholds import confidence, made_up_videos
from adafocus.method.costs import count
from adafocus.run.presets import preset

COSTS = count(preset('mn2rn-p128').model).per_step()


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('criterion', ['softmax', 'logit'])
def test_what_a_plan_says_is_so(seed, criterion):
    "Whatever the criterion, the data and the budget; and rounding changes nothing."
    logits, labels = made_up_videos(97 + seed, seed=seed)
    if seed == 5: logits = (logits*20).clamp(-40, 40)                                  # very sure: many confidences are 1
    noise = 1e-6*torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    for budget in (COSTS[0], 3., 7.7, 20., COSTS[-1], 99.):
        for method in SOLVERS:
            plan = solve_thresholds(logits, COSTS, budget, labels, method, criterion)
            left = plan.steps(logits)
            assert left.tolist() == plan.steps(logits + noise).tolist()
            assert plan.cost <= budget*(1 + 1e-9) and np.isclose(COSTS[left].mean(), plan.cost)
            right = logits[torch.arange(len(left)), left].argmax(-1) == labels
            assert np.isclose(right.double().mean(), plan.score) and len(plan.thresholds) == 16


def test_several_labels():
    logits, labels = made_up_videos(600)
    both = torch.stack([labels, torch.where(torch.arange(600) % 3 == 0, (labels + 1) % 10, -1)], 1)
    for budget in (4., 12.):
        geometric, search = (solve_thresholds(logits, COSTS, budget, both, method) for method in SOLVERS)
        assert geometric.metric == 'mAP' and search.score >= geometric.score and max(geometric.cost, search.cost) <= budget


LOGITS, LABELS = made_up_videos(600)


@pytest.mark.parametrize('wrong, says', [
    (dict(costs=COSTS[:3]), '16 rising numbers'), (dict(method='best'), 'geometric or search'), (dict(method='search'), 'needs labels'), (dict(criterion='x'), 'softmax or logit'),
    (dict(outputs=LOGITS[:0]), 'at least one video'), (dict(labels=LABELS[:5]), 'for 600 videos'), (dict(outputs=confidence(LOGITS), labels=LABELS), 'do not tell classes'),
    (dict(budget=1.), 'must be at least 1.684'), (dict(budget=float('nan')), 'must be at least 1.684')])
def test_what_cannot_be_solved(wrong, says):
    with pytest.raises(ValueError, match=says): solve_thresholds(**{**dict(outputs=LOGITS, costs=COSTS, budget=9.), **wrong})


def test_reference_search_is_better_where_it_looks_and_not_elsewhere():
    "The measure by which the geometric scheme is the default: held-out accuracy over ten budgets."
    kept, costs = parity.stored('early_exit'), np.arange(1, 17.)
    solve = lambda method, budgets: [solve_thresholds(kept['train_logits'], costs, b, kept['train_labels'], method) for b in budgets]
    held_out = lambda plans: exit_curve(kept['val_logits'], kept['val_labels'], costs, plans, samples=20)
    budgets = np.linspace(1.5, 15, 10)
    geometric, search = (solve(method, budgets) for method in SOLVERS)
    for plans in (geometric, search): assert all(p.cost <= p.budget for p in plans)
    seen = np.array([s.score - g.score for s, g in zip(search, geometric)])
    assert (seen >= 0).all() and seen.mean() > .03
    curve, dense = held_out(search), held_out(solve('geometric', np.linspace(1.05, 15.9, 60)))
    order = np.argsort(dense.cost)
    elsewhere = curve.score - np.interp(curve.cost, dense.cost[order], dense.score[order])        # at the same cost there
    assert abs(elsewhere.mean()) < .02 < seen.mean()
