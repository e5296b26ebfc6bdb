"What a view cuts from frames and where it shows boxes, for any size of frame."
import json

import numpy as np
import pytest
import torch
from fastcore.test import test_close as close, test_eq as equal
from hypothesis import given, settings, strategies as st

from adafocus.data.transforms import View, crop_sizes, evaluation_view, model_inputs, normalize, training_view
from adafocus.data.video.readers import shown_size

SEED = st.integers(0, 2**32 - 1)


@settings(max_examples=300, deadline=None)
@given(st.integers(8, 4000), st.integers(8, 4000), SEED, st.booleans(), st.integers(1, 512))
def test_a_view_lies_in_the_frame(height, width, seed, flip, size):
    training, evaluation = training_view((height, width), np.random.default_rng(seed), flip), evaluation_view((height, width), max(256, size), size)
    for view in (training, evaluation):
        assert view.left >= 0 and view.top >= 0 and view.left + view.width <= view.resized[1] and view.top + view.height <= view.resized[0]
        assert View.of(view.as_tensor()) == view
    assert (training.width, training.height) in crop_sizes((height, width)) and not (training.flip and not flip) and not evaluation.flip
    assert min(evaluation.resized) == max(256, size) and (evaluation.width, evaluation.height) == (size, size)


@settings(max_examples=300, deadline=None)
@given(st.integers(256, 4000), st.integers(256, 4000))
def test_what_a_decoder_has_made_smaller_is_not_resized_again(height, width):
    size = shown_size(height, width, 256)
    assert evaluation_view(size).resized == size == evaluation_view((height, width)).resized


def test_crops_have_the_released_code_s_sizes(beside):
    facts = json.loads((beside('reference')/'facts.json').read_text())
    for case, sizes in facts['multiscale_crop_sizes'].items():
        width, height = map(int, case.split('x'))
        assert sorted(crop_sizes((height, width))) == sorted(map(tuple, sizes))


def test_crops_have_ten_sizes_and_thirteen_places():
    assert sorted(crop_sizes((240, 320))) == [(158, 158), (158, 180), (180, 158), (180, 180), (180, 210), (210, 180), (210, 210), (210, 240), (240, 210), (240, 240)]
    views = [training_view((256, 256), np.random.default_rng(k)) for k in range(400)]
    assert len({(v.left, v.top) for v in views if v.width == v.height == 168}) == 13


VIEWS = [evaluation_view((120, 180), 128, 112), *(training_view((120, 180), np.random.default_rng(s)) for s in (1, 2, 3, 5))]


@pytest.mark.parametrize('view', VIEWS, ids=['evaluation', 'one', 'two', 'three', 'five'])
def test_boxes_go_with_the_pixels(view):
    "A disc's own pixels are inside the box, and reach its sides; the box goes back to where it was."
    yy, xx = np.mgrid[:120, :180]
    picture = np.stack([90 + .6*xx, 60 + yy, np.full(xx.shape, 120.)], -1) + 40*np.sin(xx/5)[..., None]
    picture[(xx - 110)**2 + (yy - 50)**2 < 18**2] = [250, 240, 210]
    plate, disc = torch.from_numpy(picture.clip(0, 255).astype(np.uint8))[None], np.array([[92, 32, 128, 68]])
    close(view.source_boxes(view.boxes(disc, 112), 112), disc, eps=1e-3)
    ys, xs = np.nonzero((view.apply(plate, 112)[0] > 205).all(-1).numpy())
    x0, y0, x1, y1 = view.boxes(disc, 112)[0].clip(0, 112)
    off = xs.min() - x0, xs.max() + 1 - x1, ys.min() - y0, ys.max() + 1 - y1
    assert max(map(abs, off)) < 2.5, (view, off)
    assert View.of(view.as_tensor()) == view


def test_the_second_input_is_that_of_the_focus():
    batch = dict(frames=torch.randint(256, (2, 4, 8, 8, 3), dtype=torch.uint8), focus=torch.randint(256, (2, 6, 8, 8, 3), dtype=torch.uint8))
    equal(model_inputs(batch)[1], normalize(batch['focus']))
    assert model_inputs(dict(frames=batch['frames']))[1] is None
