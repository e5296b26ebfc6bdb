"Does the gradient through the crop teach the policy to look? Without files, in seconds."
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from squares import PATCH, SIGN, SIZE, STEPS, videos

from adafocus.data.records import Video, VideoData
from adafocus.method.losses import adafocus_loss
from adafocus.method.model import AdaFocus, ModelConfig
from adafocus.run.metrics import box_in_patch
from adafocus.run.presets import preset
from adafocus.trainer import loop, steps
from adafocus.trainer.progress import Training
from adafocus.trainer.signals import StopSignals
from adafocus.trainer.steps import parameter_groups


def train(stop_gradient=True, frozen_policy=False, steps=150):
    "How often the patch holds the square's centre before and after training."
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = AdaFocus(ModelConfig(num_classes=2, num_frames=STEPS, frame_size=SIZE, patch_size=PATCH, global_encoder='small_global', local_encoder='small_local', policy_channels=16,
                                 policy_hidden=32, classifier_hidden=32, feature_reuse=False, stop_gradient=stop_gradient))
    if frozen_policy: model.policy.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=.05, momentum=.9)
    frames, labels, boxes = videos(200, torch.Generator().manual_seed(1))
    def patch_hits():
        with torch.no_grad(): out = model.eval()(frames)
        return box_in_patch(out.positions, boxes, SIZE, PATCH)[0].float().mean().item(), (out.logits[:, 0].argmax(-1) == labels).float().mean().item()
    before = patch_hits()
    for _ in range(steps):
        x, y, _ = videos(24, generator)
        loss, _ = adafocus_loss(model.train()(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return before, patch_hits()


def test_the_policy_learns_to_look():
    (before, _), (after, accuracy) = train()
    assert before < .5 and after > .85 and accuracy > .9, (before, after, accuracy)


@pytest.mark.slow
def test_without_the_crops_gradient_it_does_not():
    "The control: the same training with a policy that cannot learn."
    (before, _), (after, _) = train(frozen_policy=True)
    assert after < .5, (before, after)


def moving(count, generator):
    "A bright square that walks to the right (class 0) or to the left (class 1) and comes in again at the other side: no frame alone tells which."
    labels = torch.randint(2, (count,), generator=generator)
    start, row = torch.randint(SIZE, (count,), generator=generator), torch.randint(SIZE - 6, (count,), generator=generator)
    frames = .1*torch.randn(count, STEPS, 3, SIZE, SIZE, generator=generator)
    for n in range(count):
        for t in range(STEPS):
            columns = (start[n] + (3*t if labels[n] == 0 else -3*t) + torch.arange(6)) % SIZE
            frames[n, t, :, row[n]:row[n] + 6, columns] += 2
    return frames, labels


def sees_motion(temporal_shift, steps=120):
    "Accuracy on new videos after training with or without a temporal shift, all else equal."
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = AdaFocus(ModelConfig(num_classes=2, num_frames=STEPS, frame_size=SIZE, patch_size=SIZE, global_encoder='small_global', local_encoder='small_local', policy='central',
                                 classifier='average', classifier_detached=True, dropout=0., temporal_shift=temporal_shift))
    optimizer = torch.optim.SGD(model.parameters(), lr=.05, momentum=.9)
    for _ in range(steps):
        x, y = moving(24, generator)
        loss, _ = adafocus_loss(model.train()(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = moving(200, torch.Generator().manual_seed(1))
    with torch.no_grad(): return (model.eval()(x).logits[:, 0].argmax(-1) == y).float().mean().item()


@pytest.mark.slow
def test_a_temporal_shift_sees_motion(): assert sees_motion(True) > .9


@pytest.mark.slow
def test_without_it_nobody_can(): assert sees_motion(False) < .65


LOSSES = Path(__file__).parent.parent/'reference'/'losses.json'     # of each minor version of torch; PYTHONPATH=tests/helpers python tests/trainer/test_learning.py adds this one's


def hundred_losses(monkeypatch):
    "The first hundred steps of a training, as `fit` takes them, from a seed alone; in double precision, so that other machines and versions agree."
    monkeypatch.setattr(steps, 'model_inputs', lambda batch, size: (batch['frames'], None))
    threads, config = torch.get_num_threads(), preset('needle')
    config = replace(config, model=replace(config.model, num_classes=2, num_frames=STEPS, frame_size=SIZE, patch_size=PATCH, policy_hidden=32, classifier_hidden=32),
                     train=replace(config.train, batch_size=8, accumulate=2, epochs=10, lr=.02, clip_norm=5.), log_steps=1)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    accelerator, draw = Accelerator(cpu=True), np.random.default_rng(0)          # the same on all machines, which torch's normal numbers are not
    model = AdaFocus(config.model).double()
    for p in model.parameters():
        p.data = torch.from_numpy(draw.standard_normal(p.shape)/np.sqrt(p[0].numel())) if p.ndim > 1 else p.data.round()
    optimizer = torch.optim.SGD(parameter_groups(model, config.train), lr=.02, momentum=.9, weight_decay=1e-4)
    model, optimizer = accelerator.prepare(model, optimizer)
    def batches():
        while True:
            labels, frames = draw.integers(2, size=4), draw.random((4, STEPS, 3, SIZE, SIZE))
            for n, t in np.ndindex(4, STEPS):
                x, y = draw.integers(SIZE - SIGN + 1, size=2)
                square = frames[n, t, :, y:y + SIGN, x:x + SIGN]
                (square if labels[n] else square.swapaxes(1, 2))[:, ::2] += 3
            yield dict(frames=torch.from_numpy(frames), label=torch.from_numpy(labels), number=torch.arange(4), failures=[],
                       random_positions=torch.from_numpy(draw.random((4, STEPS, 2))))
    endless, losses, videos = batches(), [], [Video('none.mp4', (0,))]
    loader = SimpleNamespace(steps=10, shard_layout=None, epoch=lambda epoch, step: endless)
    training = Training(config, VideoData(['a', 'b'], videos, videos), accelerator, model, optimizer, loader, loader)
    for name, stand_in in dict(log_step=lambda run, result: losses.append(result.means['loss']), score_epoch=lambda run, stop: (None, 0.),
                               end_epoch=lambda run, *_: run.progress.next_epoch(0., True)).items(): monkeypatch.setattr(loop, name, stand_in)
    monkeypatch.setattr(Training, 'save', lambda run: None)
    with loop.progress_bar(training): loop.fit(training, StopSignals())
    torch.set_num_threads(threads)
    return losses


def test_a_hundred_losses_are_as_they_were(monkeypatch):
    "Nothing that changes the mathematics of a step goes unseen."
    recorded, ours = json.loads(LOSSES.read_text()), hundred_losses(monkeypatch)
    assert hundred_losses(monkeypatch) == ours                              # to the last bit on the same machine
    assert ours[0] > 2 and sum(ours[-10:]) < .8*sum(ours[:10])                   # it learns
    version = '.'.join(torch.__version__.split('.')[:2])
    for other, theirs in recorded.items():
        far = max(abs(a - b)/b for a, b in zip(ours, theirs, strict=True))
        assert far < 1e-6, f'recorded with torch {other}, now {version}: {far:.1e}'


if __name__ == '__main__':
    known = json.loads(LOSSES.read_text()) if LOSSES.exists() else {}
    LOSSES.write_text(json.dumps({**known, '.'.join(torch.__version__.split('.')[:2]): hundred_losses(pytest.MonkeyPatch())}, indent=0) + '\n')
