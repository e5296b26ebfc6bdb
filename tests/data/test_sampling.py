"Which frames are taken, and in which order, for any number of them."
import json

import numpy as np
from hypothesis import given, settings, strategies as st

from adafocus.data.sampling import frame_order, segment_indices

FRAMES, COUNT, SEED = st.integers(1, 200_000), st.integers(1, 300), st.integers(0, 2**32 - 1)


@settings(max_examples=500, deadline=None)
@given(FRAMES, COUNT, st.none() | SEED, st.sampled_from(['last', 'first']))
def test_indices_are_in_range_and_sorted_and_a_permutation_of_them_is_processed(frames, count, seed, short):
    indices = segment_indices(frames, count, None if seed is None else np.random.default_rng(seed), short)
    assert indices.shape == (count,) and indices.dtype == np.int64 and indices.min() >= 0 and indices.max() < frames
    assert (np.diff(indices) >= 0).all()
    order = frame_order(count)
    assert sorted(order) == list(range(count)) and sorted(indices[order]) == indices.tolist()
    if frames >= count and short == 'last':                              # one frame from each segment
        edges = np.arange(count + 1)*frames/count
        assert (indices >= np.floor(edges[:-1])).all() and (indices <= edges[1:]).all()
        if seed is None: assert len(set(indices)) == count
    if frames < count and short == 'last': assert set(indices) == set(range(frames))


@settings(max_examples=200, deadline=None)
@given(st.integers(8, 300), COUNT.filter(lambda n: n < 60))
def test_every_frame_can_be_drawn_and_none_is_preferred_by_the_ends(frames, count):
    drawn = np.stack([segment_indices(frames, count, np.random.default_rng(seed)) for seed in range(400)])
    if frames > 2*count:
        assert drawn[:, 0].min() == 0 or frames/count > 60
        assert drawn[:, -1].max() == frames - 1 or frames/count > 60
        assert len(np.unique(drawn[:, 0])) > 1


def test_the_released_code_takes_the_same(beside):
    facts = json.loads((beside('reference')/'facts.json').read_text())
    for key, name in (('segment_indices_eval', 'last'), ('segment_indices_eval_tsm', 'first')):
        for case, indices in facts[key].items(): assert segment_indices(*map(int, case.split(',')), short=name).tolist() == indices, (key, case)
    for count, order in facts['frame_order'].items():
        if int(count) > 2: assert frame_order(int(count)) == order
