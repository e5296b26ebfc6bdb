"Confidence, exits by thresholds, and scores of exits."
import numpy as np
import pytest
import torch

from adafocus.early_exit.thresholds import (
    NEVER,
    ExitScore,
    check_outputs,
    checked_costs,
    confidence,
    exit_steps,
    geometric_thresholds,
    made_up_videos,
    merge_ties,
    midpoints,
)

CONFIDENCES = torch.tensor([[.9, .95, .99, .99], [.4, .75, .9, .95], [.3, .4, .6, .7], [.2, .3, .3, .4]])


def test_the_last_step_takes_all_and_thresholds_that_all_reach_let_all_go():
    assert exit_steps(CONFIDENCES, torch.full((4,), 2.)).tolist() == [3]*4
    assert exit_steps(CONFIDENCES, torch.zeros(4)).tolist() == [0]*4
    assert exit_steps(CONFIDENCES[:, :1], torch.tensor([2.])).tolist() == [0]*4
    with pytest.raises(ValueError, match='one for each step'): exit_steps(CONFIDENCES, torch.zeros(3))


def test_geometric_shares():
    sure = confidence(made_up_videos(600)[0])
    left = exit_steps(sure, geometric_thresholds(sure, .5)).bincount(minlength=16)
    assert left.sum() == 600 and left[0] == 300
    assert exit_steps(sure, geometric_thresholds(sure, 1e-15)).max() == 0
    assert exit_steps(sure, geometric_thresholds(sure, 1e9)).min() == 15


def test_midpoints_let_the_same_videos_go():
    odds = np.random.default_rng(0).normal(size=(50, 6))
    thresholds = np.array([1., .5, .2, 0, -.5, -NEVER])
    steps = lambda x: exit_steps(torch.from_numpy(odds), torch.from_numpy(x)).tolist()
    moved = midpoints(odds, thresholds)
    assert steps(moved) == steps(thresholds) and (moved[:-1] != thresholds[:-1]).any()
    assert np.array_equal(merge_ties(odds), odds)                                    # nothing is as close as rounding


def test_every_video_once_is_the_score_itself():
    logits, labels = made_up_videos(600, seed=1)
    both = torch.stack([labels, torch.where(torch.arange(600) % 3 == 0, (labels + 1) % 10, -1)], 1)
    exits = np.arange(600) % 16
    for labels in (labels, both):
        score = ExitScore(logits, labels)
        assert np.isclose(score.resampled(exits, np.ones((1, 600)))[0], score(exits), atol=1e-6)
    assert score.metric == 'mAP'


@pytest.mark.parametrize('outputs, labels, says', [
    (torch.zeros(0, 4, 3), None, 'at least one video'), (torch.zeros(5, 1, 1, 1), None, 'must be logits'),
    (torch.zeros(5, 4), torch.zeros(5), 'do not tell classes'), (torch.zeros(5, 4, 3), torch.zeros(4), 'for 5 videos'),
    (torch.full((2, 2), float('nan')), None, 'not finite')])
def test_outputs_that_do_not_fit(outputs, labels, says):
    with pytest.raises(ValueError, match=says): check_outputs(outputs, labels)


def test_costs_that_cannot_be():
    for costs in ([1., 2.], [2., 1., 3.], [0., 1., 2.]):
        with pytest.raises(ValueError, match='3 rising numbers'): checked_costs(costs, 3)
