"What a dry run says is what a run does."
from dataclasses import replace

import pytest

from adafocus.run.presets import preset
from adafocus.trainer.plan import activation_bytes, memory_line, steps_line


@pytest.mark.parametrize('precision', ['no', 'bf16'])
def test_memory_is_counted_without_computing(precision):
    real, guess = (activation_bytes(preset('needle').model, 2, precision, fake) for fake in (False, True))
    assert abs(real - guess) < .01*real


def test_too_little_memory_is_said():
    sizes = dict(weights=1_000_000_000, gradients=2_000_000_000, activations=1_000_000_000)
    assert 'about 5 GB a process' in memory_line(sizes, None) and 'there are' not in memory_line(sizes, None)
    assert memory_line(sizes, 6e9).endswith('there are 6.0 GB') and 'too little' in memory_line(sizes, 4e9)


def test_videos_that_fill_no_batch_are_counted():
    config = preset('needle')
    config = replace(config, train=replace(config.train, batch_size=16, epochs=3))
    assert '3 an epoch, 9 in 3 epochs' in steps_line(config, 50, 1) and 'leaves out 2 videos' in steps_line(config, 50, 1)
    assert 'leaves out' not in steps_line(config, 48, 1)
