"One step at a time, on noise: what it changes, and that it changes nothing when it fails."
import math
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from adafocus.data.records import Video, VideoData
from adafocus.method.losses import LOSSES
from adafocus.method.model import AdaFocus
from adafocus.run.config import TrainConfig
from adafocus.run.presets import preset
from adafocus.trainer import loop
from adafocus.trainer.progress import Training
from adafocus.trainer.signals import Stopped, StopSignals
from adafocus.trainer.steps import MAX_SKIPPED, LossNotFinite, cosine, freeze_batch_norms, parameter_groups

CONFIG = preset('needle')
CONFIG = replace(CONFIG, model=replace(CONFIG.model, num_frames=2, frame_size=64, patch_size=32, policy_hidden=16, classifier_hidden=16),
                 train=replace(CONFIG.train, batch_size=4))


def noise(size=4, seed=0):
    draw, c = torch.Generator().manual_seed(seed), CONFIG.model
    frames = torch.randint(256, (size, c.num_frames, c.frame_size, c.frame_size, 3), generator=draw, dtype=torch.uint8)
    return dict(frames=frames, label=torch.arange(size) % 10, number=torch.arange(size), failures=[],
                random_positions=torch.rand(size, c.num_frames, 2, generator=draw))


@pytest.fixture
def stepper(monkeypatch):
    "A function that makes a run, and one that takes a single step of it from given batches."
    results = []
    monkeypatch.setattr(loop, 'log_step', lambda run, result: results.append(result))
    monkeypatch.setattr(Training, 'save', lambda run: None)
    torch.set_num_threads(1)

    def make(config=CONFIG):
        accelerator, videos = Accelerator(cpu=True), [Video(f'clip{n}.mp4', (0,)) for n in range(4)]
        torch.manual_seed(0)
        model = AdaFocus(config.model)
        frozen = freeze_batch_norms(model, config.train.freeze_batch_norm)
        optimizer = torch.optim.SGD(parameter_groups(model, config.train), lr=config.train.lr, momentum=.9)
        model, optimizer = accelerator.prepare(model, optimizer)
        loader = SimpleNamespace(steps=10, shard_layout=None)
        return Training(config, VideoData(['a'], videos, videos), accelerator, model, optimizer, loader, loader, frozen)

    def take(run, batches, epoch=0, step=0):
        stop = StopSignals()
        stop.received = 15                                          # as if a signal came during the step
        stop.iterate = lambda batches, allowed: iter(batches)       # (it would break off the wait for the first batch)
        run.progress.epoch, run.progress.step = epoch, step
        run.loader.epoch = lambda *_: batches
        with suppress(Stopped), loop.progress_bar(run): loop.fit(run, stop)
        return results.pop()

    return SimpleNamespace(make=make, take=take)


def state(run):
    momenta = {f'{k} momentum': s['momentum_buffer'] for k, s in enumerate(run.optimizer.state.values())}
    return {name: x.clone() for name, x in (run.model.state_dict() | momenta).items()}


def same(a, b): return all(torch.equal(a[name], b[name]) for name in a.keys() | b.keys())


def test_rates_and_groups():
    assert (cosine(0, 10), round(cosine(5, 10), 9), cosine(10, 10)) == (1, .5, 0)
    model = AdaFocus(CONFIG.model)
    groups = parameter_groups(model, TrainConfig())
    assert sum(p.numel() for group in groups for p in group['params']) == sum(p.numel() for p in model.parameters())


def test_a_batch_in_two_parts_is_the_same_step(stepper):
    still = replace(CONFIG, model=replace(CONFIG.model, dropout=0.), train=replace(CONFIG.train, freeze_batch_norm='all'))
    halves = [{name: x[k:k + 2] if torch.is_tensor(x) else x for name, x in noise().items()} for k in (0, 2)]
    one, two = stepper.make(still), stepper.make(replace(still, train=replace(still.train, accumulate=2)))
    a, b = stepper.take(one, [noise()]).means, stepper.take(two, halves).means
    assert abs(a['loss'] - b['loss']) < 1e-6
    assert all((p - q).abs().max() < 1e-6 for p, q in zip(one.model.parameters(), two.model.parameters()))
    assert all(not m.training for m in one.frozen) and len(one.frozen) > 4


def test_a_step_is_the_same_to_the_last_bit_and_another_one_drops_out_others(stepper):
    one, two = stepper.make(), stepper.make()
    torch.rand(7)
    first = stepper.take(one, [noise()], 3, 5).means
    assert first == stepper.take(two, [noise()], 3, 5).means
    assert first['loss'] != stepper.take(stepper.make(), [noise()], 3, 6).means['loss']


@pytest.mark.parametrize('mode', ['stop', 'skip'])
@pytest.mark.parametrize('how, value', [('positions', 'nan'), *((how, value) for how in ('loss', 'gradient') for value in ('nan', 'inf', '-inf'))])
def test_what_is_not_finite_changes_nothing(stepper, monkeypatch, how, value, mode):     # (a position is cut to the frame, frames are bytes)
    run, real = stepper.make(replace(CONFIG, train=replace(CONFIG.train, non_finite=mode, accumulate=2))), LOSSES['adafocus']
    fine = lambda: [noise(), noise(seed=3)]
    stepper.take(run, fine())
    before, batch = state(run), noise(seed=1)
    if how == 'loss': monkeypatch.setitem(LOSSES, 'adafocus', lambda *a, **o: (real(*a, **o)[0] + float(value), real(*a, **o)[1]))
    elif how == 'gradient': hook = next(run.model.policy.parameters()).register_hook(lambda g: torch.full_like(g, float(value)))
    else: batch['random_positions'][0, 0] = float(value)
    if mode == 'stop':
        with pytest.raises(LossNotFinite, match='in epoch 1, step 2; .*clip0.mp4, clip1.mp4'): stepper.take(run, [noise(seed=2), batch], 0, 1)
    else:
        assert not stepper.take(run, [noise(seed=2), batch], 0, 1).finite
        assert run.check.in_a_row == 1
    assert same(before, state(run))
    monkeypatch.setitem(LOSSES, 'adafocus', real)
    if how == 'gradient': hook.remove()
    assert math.isfinite(stepper.take(run, fine(), 0, 2).means['loss']) and run.check.in_a_row == 0     # and it goes on


def test_ten_skipped_steps_in_a_row_are_an_error(stepper, monkeypatch):
    run, real = stepper.make(replace(CONFIG, train=replace(CONFIG.train, non_finite='skip'))), LOSSES['adafocus']
    monkeypatch.setitem(LOSSES, 'adafocus', lambda *a, **o: (real(*a, **o)[0]*float('nan'), real(*a, **o)[1]))
    for k in range(MAX_SKIPPED - 1): assert not stepper.take(run, [noise()], 0, k).finite
    with pytest.raises(LossNotFinite, match='10th time in a row'): stepper.take(run, [noise()], 0, 9)


def test_interrupted_between_two_parts_it_is_as_if_the_first_had_not_been(stepper):
    run = stepper.make(replace(CONFIG, train=replace(CONFIG.train, accumulate=2)))
    before = state(run)
    def interrupted():
        yield noise()
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): stepper.take(run, interrupted())
    assert same(before, state(run)) and all(p.grad is None for p in run.model.parameters())


def test_clipping(stepper):
    run = stepper.make(replace(CONFIG, train=replace(CONFIG.train, clip_norm=1e-9)))
    before = state(run)
    stepper.take(run, [noise()])
    assert max((p - before[name]).abs().max() for name, p in run.model.named_parameters()) < 1e-9
