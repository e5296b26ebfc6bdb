"""A process that has imported everything, and forks a new one for each training: `python tests/helpers/forking.py`, an order a line.

An order is {"do": the name of a function below, "args": {...}, "env": {}, "log": a file for what it prints}, or one of ranks.py's with what torchrun
would have said in the environment; the answer is {"pid": ...},
and when the process has ended {"pid": ..., "status": ...}, negative for a signal.
"""
import importlib
import inspect
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import zlib
from pathlib import Path

import torch

from adafocus import evaluate, export, predict, train  # noqa: F401 - children of this process have them
from adafocus.run.feed import RunLoader
from adafocus.system.arguments import read_arguments
from adafocus.system.ending import command
from adafocus.system.processes import end_children
from adafocus.trainer import checkpoints, loop
from adafocus.trainer.signals import StopSignals


def die(number=signal.SIGKILL, group=False):
    (os.killpg if group else os.kill)(os.getpgid(0) if group else os.getpid(), number)
    time.sleep(.2 if number == signal.SIGKILL else 0)


class Trip:
    "Calls `action` when it has been passed `at` times."
    def __init__(self, at, action): self.left, self.action = at, action

    def __call__(self, *_):
        self.left -= 1
        if self.left == 0: self.action()


def before(owner, name, fn):
    "Have `fn` called before a function, or method, is."
    real = getattr(owner, name)
    def both(*args, **kwargs):
        fn(*args)
        return real(*args, **kwargs)
    setattr(owner, name, both)


def note_samples(path):
    "A line for every batch that is trained on: which, in which order, and a sum over pixels and positions."
    def note(model, batch, *_):
        crc = zlib.crc32(batch['random_positions'].numpy().tobytes(), zlib.crc32(batch['frames'].numpy().tobytes()))
        with open(path, 'a') as f: f.write(json.dumps([batch['number'].tolist(), batch['label'].tolist(), crc]) + '\n')
    before(loop, 'forward', note)


def files_of_a_save(action):
    "Have `action` called before and after everything a save does to the disk."
    class Disk:
        def __getattr__(self, name):
            x = getattr(os, name)
            return around(x) if name == 'rename' else x
    def around(x):
        def both(*args):
            action()
            out = x(*args)
            action()
            return out
        return both
    checkpoints.os = Disk()
    checkpoints.flush_to_disk = around(checkpoints.flush_to_disk)
    for name in ('save_file', '_write_manifest', '_sweep', '_rotate'): before(checkpoints, name, lambda *_: action())
    before(checkpoints.shutil, 'rmtree', lambda *_: action())


PHASES = dict(
    start=lambda act: before(loop, 'open_run_data', act),
    first_batch=lambda act: before(RunLoader, 'epoch', act),
    data_wait=lambda act: before(loop, 'set_learning_rates', Trip(4, lambda: threading.Timer(.05, act).start() or slow_data())),
    forward=lambda act: before(loop, 'forward', Trip(7, act)),
    backward=lambda act: before(loop, 'gradient_is_finite', Trip(4, act)),
    evaluation=lambda act: before(loop, 'evaluate', act),
    saving=lambda act: before(checkpoints, '_write_manifest', act),
    epoch_end=lambda act: before(loop, 'end_epoch', act),
    saving_often=lambda act: [before(checkpoints, name, act) for name in ('_write', '_write_manifest', 'flush_to_disk', '_rotate', '_sweep')],
)
_slow = [False]


def slow_data(): _slow[0] = True


def train_run(args, samples=None, kill_at=None, kill_in_save=None, phase=None, number=None, group=False, whole=False, worker=None):
    "Train by a command line. kill_at: before that many-th batch; kill_in_save: at that many-th moment of a save; phase: a signal there; worker: what a loading process gets before the third batch."
    if samples: note_samples(samples)
    if kill_at: before(loop, 'forward', Trip(kill_at, die))
    if kill_in_save: files_of_a_save(Trip(kill_in_save, die))
    if worker: before(loop, 'forward', Trip(3, lambda: (os.kill(multiprocessing.active_children()[0].pid, worker), time.sleep(5))))
    if phase:
        done = []
        def act(*_):
            if not done or phase == 'saving_often':
                done.append(1)
                die(number, group)
        PHASES[phase](act)
        real = StopSignals.iterate
        def iterate(self, batches, allowed=True):
            def slowly():
                for batch in batches:
                    if _slow[0]: time.sleep(30)
                    yield batch
            return real(self, slowly(), allowed)
        StopSignals.iterate = iterate
    torch.set_num_threads(1)
    loop.prepare_cpu = lambda: None
    if whole: return train.main(args)
    train.finish = lambda *a: None
    train.main(args)


def run_main(module, args):
    "Call a command's main, as its command line does."
    loop.prepare_cpu = lambda: None
    main = importlib.import_module(module).main
    if list(inspect.signature(main).parameters) == ['args']: return main(args)
    with command(module): read_arguments(main, args, prog=f'python -m {module}')()


def save_over_and_over(run, kill_at, keep, slow=0.):
    "Save checkpoints of a small model, the first of them undisturbed."
    from accelerate import Accelerator
    accelerator, model = Accelerator(cpu=True), torch.nn.Linear(40, 40)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=.1, momentum=.9))
    model(torch.ones(1, 40)).sum().backward()
    optimizer.step()
    for epoch in range(6):
        if epoch == 3:
            trip = Trip(kill_at, die)
            files_of_a_save(lambda: (time.sleep(slow), trip()))
            Path(run, 'disturbed').touch()
        checkpoints.save_checkpoint(accelerator, model, optimizer, Path(run), dict(epoch=epoch, step=0), keep)


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    lock = threading.Lock()
    def answer(**message):
        with lock: print(json.dumps(message), flush=True)
    def wait(pid):
        _, status = os.waitpid(pid, 0)
        answer(pid=pid, status=os.waitstatus_to_exitcode(status))
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            os.setpgid(0, 0)
            out = os.open(order['log'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for k in (1, 2): os.dup2(out, k)
            sys.stdin = open(os.devnull)
            status = 1
            try:
                os.environ.update(order['env'])
                if order['env']:
                    import ranks
                    getattr(ranks, order['do'])(*order['args'])
                else: globals()[order['do']](**order['args'])
                status = 0
            except SystemExit as e: status = e.code or 0
            except BaseException:
                import traceback
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            end_children()
            os._exit(status)
        answer(pid=pid)
        threading.Thread(target=wait, args=(pid,), daemon=True).start()


if __name__ == '__main__': main()
