"Nothing but (seed, epoch, number) decides what a sample is; a file that cannot be read stops nothing."
import gc
import hashlib
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import torch
from fastcore.test import test_eq as equal
from torch.utils.data import DataLoader

from adafocus.data.datasets.opening import open_data
from adafocus.data.loading import SampleConfig, VideoDataset, build_loader, collate
from adafocus.data.records import Video
from adafocus.data.sampling import segment_indices
from adafocus.data.transforms import model_inputs
from adafocus.data.video.files import VideoError

CONFIG = SampleConfig(num_frames=8, frame_size=112, resize=112, augment=False)
SMALL_FRAMES = SampleConfig(num_frames=4, frame_size=64, resize=112)


def hashes(loader, epochs=2):
    "SHA-256 over pixels, labels, positions and numbers of all batches of some epochs, in order."
    digest = hashlib.sha256()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            for name in ('frames', 'label', 'random_positions', 'number', 'frame_numbers'): digest.update(batch[name].numpy().tobytes())
    return digest.hexdigest()


TWO_FRAMES = SampleConfig(num_frames=2, frame_size=96, resize=112)


@pytest.mark.filterwarnings('ignore:This DataLoader will create')       # more processes than this machine has cores
def test_how_many_processes_load_changes_nothing(tiny):
    "None, one, two or four, with more or less in advance."
    data = open_data(str(tiny))
    plain = build_loader(data.train, TWO_FRAMES, True, 5)
    first = hashes(plain)
    for workers in (1, 2, 4): assert hashes(build_loader(data.train, TWO_FRAMES, True, 5, workers)) == first
    more = DataLoader(plain.dataset, 5, sampler=plain.sampler, collate_fn=collate, drop_last=True, num_workers=2, prefetch_factor=4)
    assert hashes(more) == first
    assert hashes(build_loader(data.train, replace(TWO_FRAMES, seed=1), True, 5)) != first


@pytest.mark.slow
def test_spawned_processes_load_the_same(tiny):
    plain = build_loader(open_data(str(tiny)).train, TWO_FRAMES, True, 5)
    first = hashes(plain)
    spawned = DataLoader(plain.dataset, 5, sampler=plain.sampler, collate_fn=collate, drop_last=True, num_workers=2, multiprocessing_context='spawn')
    assert hashes(spawned) == first


def _load(path):
    data = open_data(path)
    loader = build_loader(data.train, TWO_FRAMES, True, 5, 2)
    next(iter(loader))
    keep.append(loader)


keep = []                            # so that nothing but the process's end ends the loading processes


def test_a_process_that_loads_ends_and_its_loading_processes_with_it(tiny):
    "Also one that is itself a child of multiprocessing, whose end is another one than Python's."
    process = multiprocessing.get_context('fork').Process(target=_load, args=(str(tiny),))
    process.start()
    process.join(60)
    try: assert process.exitcode == 0
    finally: process.kill()


def test_crops_and_positions_differ_from_video_to_video_and_from_epoch_to_epoch(tiny):
    data, config = open_data(str(tiny)), SampleConfig(num_frames=4, frame_size=96, resize=112)
    dataset = VideoDataset(data.train, config, True)
    drawn = {(tuple(s['frame_numbers'].tolist()), tuple(s['random_positions'].flatten().tolist())) for s in (dataset[epoch, n] for epoch in range(4) for n in range(50))}
    assert len(drawn) >= 190


def test_each_set_of_frames_is_as_if_it_were_alone(tiny):
    "Glances as without other frames to cut patches from; patches, and the boxes that are known, as without other glances."
    videos, both = open_data(str(tiny)).val, replace(CONFIG, num_frames=4, focus_frames=6, reorder=False)
    sample, glances, patches = (VideoDataset(videos, c, training=False)[0, 3] for c in (both, replace(both, focus_frames=None), replace(both, num_frames=6, focus_frames=None)))
    equal(sample['frames'], glances['frames'])
    equal(glances['frame_numbers'], torch.tensor(segment_indices(16, 4)))
    for name, alone in (('focus', 'frames'), ('boxes', 'boxes'), ('visible', 'visible')): equal(sample[name], patches[alone])


def test_slots_of_the_pool_come_back(tiny):
    loader = build_loader(open_data(str(tiny)).train, replace(SMALL_FRAMES, views_on_device=True), True, 8, workers=2)
    taken = False
    for batch in loader: taken = taken or loader.dataset.pool._taken.any()
    assert taken
    del batch
    gc.collect()
    assert not loader.dataset.pool._taken.any()
    held = list(loader)                                              # more than there are slots for
    assert sum(len(batch['frames']) for batch in held) == 48


def test_frames_cut_on_the_device_are_the_same(tiny):
    "Also with other frames to cut patches from than to glance at."
    videos, config = open_data(str(tiny)).train, replace(SMALL_FRAMES, focus_frames=6, reorder=False)
    late, early = build_loader(videos, replace(config, views_on_device=True), True, 8, workers=2), build_loader(videos, config, True, 8)
    for one, other in zip(late, early):
        for x, y in zip(model_inputs(one, 64), model_inputs(other)): equal(x, y)


def test_a_sign_that_the_view_cuts_away_is_not_visible(tiny):
    "Of the middle 40 pixels of 112, and of all."
    videos = open_data(str(tiny)).val
    cut, whole = (VideoDataset(videos, replace(CONFIG, frame_size=size), training=False) for size in (40, 112))
    away = [(w['visible'] & ~c['visible']).float().mean() for w, c in ((whole[0, n], cut[0, n]) for n in range(20))]
    assert np.mean(away) > .2


def test_videos_that_cannot_be_read(tiny, tmp_path):
    "Ten in a row are an error in training; in evaluation each is a place that does not count."
    broken = tmp_path/'broken.mp4'
    broken.write_bytes(b'no video')
    with pytest.raises(VideoError, match='ten videos in a row'): VideoDataset([Video(broken, (0,))], CONFIG, training=True)[0, 0]
    train = open_data(str(tiny)).train
    mixed = VideoDataset([replace(train[0], path=broken), *train[1:3]], CONFIG, training=False)
    equal(collate([mixed[0, k] for k in range(3)])['valid'], torch.tensor([False, True, True]))
