"Frames that come one at a time."
import numpy as np
import pytest
from untrained import untrained_run

from adafocus.data.datasets.opening import open_data
from adafocus.data.video.readers import open_video
from adafocus.early_exit.predictor import Predictor
from adafocus.early_exit.stream import Stream


@pytest.fixture(scope='module')
def run(tmp_path_factory): return untrained_run(tmp_path_factory.mktemp('stream')/'run')[0]


@pytest.fixture(scope='module')
def frames(run, tiny):
    "The frames of a video that a predictor uses, and its prediction from all of them."
    path = open_data(f'needle:{tiny}').val[0].path
    full = Predictor(run)(path)
    with open_video(path) as reader: return reader.read(full.numbers), full


def test_a_stream_says_what_a_predictor_says(run, frames):
    frames, full = frames
    stream = Stream(run)
    steps = [stream.push(frame) for frame in frames]
    assert np.abs(np.stack([s.probabilities for s in steps]) - full.probabilities).max() < 1e-5
    assert [s.final for s in steps] == [False]*7 + [True] and np.isclose(steps[-1].gflops, full.gflops)
    assert np.allclose([s.box for s in steps], full.boxes, atol=1e-3)
    with pytest.raises(ValueError, match='reset begins a new video'): stream.push(frames[0])


def test_what_is_remembered_does_not_grow(run, frames):
    stream = Stream(run)
    size = lambda: sum(x.numel() for x in (stream._state.policy, stream._state.pooled))
    before = size()
    for frame in frames[0]:
        stream.push(frame)
        assert size() == before


def test_things_that_are_no_frame_and_models_that_need_all(run, frames, tmp_path):
    first = frames[0][0]
    for wrong in (first.astype(np.float32), first[..., :2], frames[0]):
        with pytest.raises(ValueError, match='must be uint8'): Stream(run).push(wrong)
    tsm = untrained_run(tmp_path/'tsm', temporal_shift=True, classifier='average', policy='mlp', focus_frames=12)[0]
    with pytest.raises(ValueError, match='cannot go frame by frame'): Stream(tsm)


def test_boxes_are_in_pixels_of_the_frame(run, frames):
    "A frame twice as large, and wider."
    wide = np.repeat(np.repeat(frames[0][0], 2, 0), 2, 1)
    wide = np.concatenate([wide[:, :40], wide, wide[:, :40]], 1)
    a, b = Stream(run).push(wide), Stream(run).push(frames[0][0])
    assert (a.box >= [40, 0, 40, 0]).all() and (a.box <= [264.5, 224.5, 264.5, 224.5]).all()
    assert abs(a.box[2] - a.box[0] - 96) < .1 and b.frames == 1
