"Batches of a run: from any step, in parts, and closed."
import multiprocessing
from dataclasses import replace

import pytest
from accelerate import Accelerator

from adafocus.data.datasets.opening import open_data
from adafocus.run.feed import RunLoader
from adafocus.run.presets import preset


@pytest.fixture(scope='module')
def data(tiny): return open_data(f'needle:{tiny}')


def config(batch_size=2, workers=0, **train):
    values = preset('needle')
    return replace(values, data=replace(values.data, workers=workers), train=replace(values.train, batch_size=batch_size, **train))


def numbers(batches): return [batch['number'].tolist() for batch in batches]


def test_an_epoch_from_any_step(data):
    videos = data.train[:8]
    loader = RunLoader(videos, config(), Accelerator(cpu=True), training=True)
    whole = numbers(loader.epoch(1))
    assert numbers(loader.epoch(1, start=2)) == whole[2:] and numbers(loader.epoch(1)) == whole != numbers(loader.epoch(2))
    three = RunLoader(videos, config(3), Accelerator(cpu=True), training=True)
    assert (three.steps, len(list(three.epoch(0))), len(list(three.epoch(0, 1)))) == (2, 2, 1)


def test_evaluation_takes_every_video_in_order(data):
    assert sum(numbers(RunLoader(data.val, config(3), Accelerator(cpu=True))), []) == list(range(20))


def test_closed_loaders_leave_no_process_and_can_be_used_again(data):
    before = multiprocessing.active_children()
    loader = RunLoader(data.val[:4], config(workers=1), Accelerator(cpu=True))
    first = numbers(loader)
    assert len(multiprocessing.active_children()) == len(before) + 1
    loader.close()
    assert multiprocessing.active_children() == before
    assert numbers(loader) == first
    loader.close()
