"What one of several processes does in test_processes.py: forked by forking.py, or `torchrun tests/helpers/ranks.py TASK ARGUMENTS`."
import json
import os
import signal
import sys
from pathlib import Path

import torch
from forking import Trip, before

from adafocus import train
from adafocus.method.losses import LOSSES
from adafocus.run.feed import RunLoader
from adafocus.trainer import loop, prepare
from adafocus.trainer.progress import Training

RANK = int(os.environ['RANK'])
FINISH = train.finish
train.finish = lambda *a: None


def whole(*args):
    "The command as it is typed, with the evaluation at its end."
    train.finish = FINISH
    train.main(list(args))


def fail_at(place, *args):
    "Process 1 raises in one of five places."
    def boom(*_): raise KeyError('the thing that is not there')
    if RANK == 1:
        owner, name, times = dict(init=(prepare, 'set_seed', 1), data=(RunLoader, 'epoch', 2), step=(loop, 'forward', 3),
                                  save=(Training, 'save', 1), evaluation=(loop, 'evaluate', 1))[place]
        before(owner, name, Trip(times, boom))
    train.main(list(args))


def signal_at(step, *args):
    "Process 1 alone is told to stop while it takes a step."
    if RANK == 1: before(loop, 'forward', Trip(int(step), lambda: os.kill(os.getpid(), signal.SIGUSR1)))
    train.main(list(args))


def not_finite(where, *args):
    "Process 1 alone sees a loss that is no number, or has a gradient that is none, in its third step."
    if RANK == 1:
        real, count = LOSSES['adafocus'], [0]
        def spoilt(*a, **options):
            loss, terms = real(*a, **options)
            count[0] += 1
            if count[0] == 3: loss = loss + float('nan') if where == 'loss' else loss*float('inf')
            return loss, terms
        LOSSES['adafocus'] = spoilt
    train.main(list(args))


def score(out, data, *sizes):
    "Which videos are counted, and the mean average precision, for several numbers of videos and batch sizes."
    from dataclasses import replace

    from accelerate import Accelerator

    from adafocus.data.datasets.opening import open_data
    from adafocus.method.model import AdaFocus
    from adafocus.run.feed import RunLoader
    from adafocus.run.presets import preset
    from adafocus.run.scoring import evaluate
    torch.set_num_threads(1)
    accelerator, videos, scores_by_size = Accelerator(cpu=True), open_data(data).train, {}
    config = preset('needle')
    config = replace(config, data=replace(config.data, workers=0, resize=64, decode_timeout=0.), model=replace(config.model, num_frames=2, frame_size=64, patch_size=32, policy_hidden=16, classifier_hidden=16))
    torch.manual_seed(0)
    model = AdaFocus(config.model).eval()
    for n in (1, 2, 3, 7, 82, 97, 99):
        for batch in map(int, sizes):
            some = replace(config, train=replace(config.train, batch_size=batch*accelerator.num_processes))
            scores, _ = evaluate(model, RunLoader(videos[:n], some, accelerator), accelerator, multi_label=True)
            s = scores['learned']
            scores_by_size[f'{n}'] = scores_by_size.get(f'{n}', []) + [[s.numbers.tolist(), s.top1.mean(0).tolist(), s.metric_values.tolist()]]
    if RANK == 0: Path(out).write_text(json.dumps(scores_by_size))
    accelerator.end_training()


if __name__ == '__main__': globals()[sys.argv[1]](*sys.argv[2:])
