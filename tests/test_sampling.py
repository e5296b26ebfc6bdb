"Which frames are taken, for any number of them; and that nothing else decides what a sample is."
import hashlib
import json
import multiprocessing
from dataclasses import replace

import numpy as np
from hypothesis import given, settings, strategies as st
from torch.utils.data import DataLoader

from adafocus.data.datasets.opening import open_data
from adafocus.data.loading import SampleConfig, VideoDataset, build_loader, collate
from adafocus.data.sampling import frame_order, segment_indices
from adafocus.data.transforms import View, crop_sizes, evaluation_view, training_view
from adafocus.data.video.readers import shown_size

FRAMES, COUNT, SEED = st.integers(1, 200_000), st.integers(1, 300), st.integers(0, 2**32 - 1)


@settings(max_examples=500, deadline=None)
@given(FRAMES, COUNT, st.none() | SEED, st.sampled_from(['last', 'first']))
def test_indices_are_in_range_and_sorted_and_a_permutation_of_them_is_processed(frames, count, seed, short):
    found = segment_indices(frames, count, None if seed is None else np.random.default_rng(seed), short)
    assert found.shape == (count,) and found.dtype == np.int64 and found.min() >= 0 and found.max() < frames
    assert (np.diff(found) >= 0).all()
    order = frame_order(count)
    assert sorted(order) == list(range(count)) and sorted(found[order]) == found.tolist()
    if frames >= count and short == 'last':                              # one frame from each segment
        edges = np.arange(count + 1)*frames/count
        assert (found >= np.floor(edges[:-1])).all() and (found <= edges[1:]).all()
        if seed is None: assert len(set(found)) == count
    if frames < count and short == 'last': assert set(found) == set(range(frames))


@settings(max_examples=200, deadline=None)
@given(st.integers(8, 300), COUNT.filter(lambda n: n < 60))
def test_every_frame_can_be_drawn_and_none_is_preferred_by_the_ends(frames, count):
    drawn = np.stack([segment_indices(frames, count, np.random.default_rng(seed)) for seed in range(400)])
    if frames > 2*count:
        assert drawn[:, 0].min() == 0 or frames/count > 60
        assert drawn[:, -1].max() == frames - 1 or frames/count > 60
        assert len(np.unique(drawn[:, 0])) > 1


@settings(max_examples=300, deadline=None)
@given(st.integers(8, 4000), st.integers(8, 4000), SEED, st.booleans(), st.integers(1, 512))
def test_a_view_lies_in_the_frame(height, width, seed, flip, size):
    training, evaluation = training_view((height, width), np.random.default_rng(seed), flip), evaluation_view((height, width), max(256, size), size)
    for view in (training, evaluation):
        assert view.left >= 0 and view.top >= 0 and view.left + view.width <= view.resized[1] and view.top + view.height <= view.resized[0]
        assert View.of(view.as_tensor()) == view
    assert (training.width, training.height) in crop_sizes((height, width)) and not (training.flip and not flip) and not evaluation.flip
    assert min(evaluation.resized) == max(256, size) and (evaluation.width, evaluation.height) == (size, size)


def test_the_released_code_takes_the_same(beside):
    facts = json.loads((beside('reference')/'facts.json').read_text())
    for key, name in (('segment_indices_eval', 'last'), ('segment_indices_eval_tsm', 'first')):
        for case, indices in facts[key].items(): assert segment_indices(*map(int, case.split(',')), short=name).tolist() == indices, (key, case)
    for count, order in facts['frame_order'].items():
        if int(count) > 2: assert frame_order(int(count)) == order
    for case, sizes in facts['multiscale_crop_sizes'].items():
        width, height = map(int, case.split('x'))
        assert sorted(crop_sizes((height, width))) == sorted(map(tuple, sizes))


@settings(max_examples=300, deadline=None)
@given(st.integers(256, 4000), st.integers(256, 4000))
def test_what_a_decoder_has_made_smaller_is_not_resized_again(height, width):
    size = shown_size(height, width, 256)
    assert evaluation_view(size).resized == size == evaluation_view((height, width)).resized


def hashes(loader, epochs=2):
    "SHA-256 over pixels, labels, positions and numbers of all batches of some epochs, in order."
    found = hashlib.sha256()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            for name in ('frames', 'label', 'random_positions', 'number', 'frame_numbers'): found.update(batch[name].numpy().tobytes())
    return found.hexdigest()


def test_how_many_processes_load_changes_nothing(tiny):
    "None to four, kept or not, with more or less in advance, forked or spawned."
    data, config = open_data(str(tiny)), SampleConfig(num_frames=4, frame_size=96, resize=112)
    first = hashes(build_loader(data.train, config, True, 5))
    for workers in (1, 2, 4): assert hashes(build_loader(data.train, config, True, 5, workers)) == first
    for more in (dict(prefetch_factor=4), dict(prefetch_factor=2, multiprocessing_context='spawn')):
        loader = build_loader(data.train, config, True, 5)
        assert hashes(DataLoader(loader.dataset, 5, sampler=loader.sampler, collate_fn=collate, drop_last=True, num_workers=2, **more)) == first
    other = build_loader(data.train, replace(config, seed=1), True, 5)
    assert hashes(other) != first


def _load(path):
    data = open_data(path)
    loader = build_loader(data.train, SampleConfig(num_frames=2, frame_size=96, resize=112), True, 5, 2)
    next(iter(loader)); keep.append(loader)


keep = []                            # so that nothing but the process's end ends the loading processes


def test_a_process_that_loads_ends_and_its_loading_processes_with_it(tiny):
    "Also one that is itself a child of multiprocessing, whose end is another one than Python's."
    process = multiprocessing.get_context('fork').Process(target=_load, args=(str(tiny),))
    process.start(); process.join(60)
    try: assert process.exitcode == 0
    finally: process.kill()


def test_crops_and_positions_differ_from_video_to_video_and_from_epoch_to_epoch(tiny):
    data, config = open_data(str(tiny)), SampleConfig(num_frames=4, frame_size=96, resize=112)
    dataset = VideoDataset(data.train, config, True)
    drawn = {(tuple(s['frame_numbers'].tolist()), tuple(s['random_positions'].flatten().tolist())) for s in (dataset[epoch, n] for epoch in range(4) for n in range(50))}
    assert len(drawn) >= 190
