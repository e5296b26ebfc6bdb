"Scores: batch sizes do not matter, ties and odd numbers are decided, unreadable videos are an error."
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from adafocus.data.datasets.opening import open_data
from adafocus.data.loading import build_loader
from adafocus.data.records import Video
from adafocus.method.model import AdaFocus
from adafocus.run.folder import OpenRun, VideosUnreadable
from adafocus.run.metrics import ScoreKeeper, mean_average_precision
from adafocus.run.presets import preset
from adafocus.run.scoring import POLICY_NAMES, evaluate, score_videos, shown_steps


@pytest.fixture(scope='module')
def data(tiny): return open_data(f'needle:{tiny}')


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return AdaFocus(preset('needle').model)


def test_scores_do_not_depend_on_the_batch_size(data, model):
    one, other = (evaluate(model, build_loader(data.val, preset('needle').samples(), False, size), Accelerator(cpu=True), POLICY_NAMES)[0] for size in (8, 7))
    for name in POLICY_NAMES:
        assert (one[name].top1 == other[name].top1).all() and np.allclose(one[name].positions, other[name].positions, atol=1e-6)
    assert shown_steps(8) == [1, 2, 4, 8] and shown_steps(1) == [1]


def test_unreadable_videos_are_an_error_unless_left_out(data, model, tmp_path, capsys):
    (tmp_path/'bad.mp4').write_bytes(b'no video')
    config = replace(preset('needle'), data=replace(preset('needle').data, workers=0))
    run, videos = OpenRun(tmp_path, model, config, data, Accelerator(cpu=True)), [*(replace(v, boxes=None, visible=None) for v in data.val[:3]), Video(tmp_path/'bad.mp4', (0,))]
    with pytest.raises(VideosUnreadable, match='1 of 4 videos.*--skip-bad.*bad.mp4'): score_videos(run, videos)
    scores, failures = score_videos(run, videos, skip_bad=True)
    assert len(scores['learned'].numbers) == 3 and len(failures) == 1 and 'left out' in capsys.readouterr().err
    with pytest.raises(VideosUnreadable, match='no video to evaluate on could be read'): score_videos(run, videos[3:])


def test_mean_average_precision():
    logits, labels = torch.tensor([[3., 0], [2, 0], [1, 0], [0, 3], [0, 1]]), torch.tensor([[0, -1], [0, 1], [1, -1], [1, -1], [0, -1]])
    mean, each = mean_average_precision(torch.cat([logits, torch.full((5, 1), -9.)], 1), labels)     # a class that no video has
    assert np.isnan(each[2]) and mean == pytest.approx(each[:2].mean())
    with pytest.raises(ValueError, match='labels has no label'): mean_average_precision(logits, -torch.ones_like(labels))
    with pytest.raises(ValueError, match='labels has class 2; logits has 2 classes'): mean_average_precision(logits, labels + 1)
    with pytest.raises(ValueError, match='no video'): ScoreKeeper(112, 48).scores()
