"What tests share: small datasets made here, a small trained run, and real clips where they lie beside the repository."
import inspect
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from adafocus.data import needle  # noqa: E402
from adafocus.system.arguments import read_arguments  # noqa: E402
from adafocus.system.ending import command as ending  # noqa: E402

ROOT = Path(__file__).parent.parent
BESIDE = ROOT.parent/'shared'
HELPERS = ROOT/'tests'/'helpers'


@pytest.fixture(scope='session')
def tiny(tmp_path_factory):
    "Seventy needle videos in a folder: 50 to train on, 20 to evaluate on."
    return needle.write_dataset(tmp_path_factory.mktemp('data')/'tiny', needle.NeedleConfig(videos=70, val_share=2/7), workers=1, progress=False)


@pytest.fixture
def beside():
    "A function from a name to a path beside the repository; the test is skipped where it is absent."
    def find(name):
        if not (BESIDE/name).exists(): pytest.skip(f'there is no {name} beside this repository')
        return BESIDE/name
    return find


def run(*args, timeout=300, **env):
    "A command of this environment: the finished process with its output as text."
    command = [str(a) for a in args]
    if command[0] == 'python': command[0] = sys.executable
    elif command[0] == 'accelerate': command[:1] = [sys.executable, '-m', 'accelerate.commands.accelerate_cli']
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env={**os.environ, **env})


def command(main, *args, stdin=''):
    "A command in this process, as a person types it: its status, and what it prints on standard output and on standard error."
    from accelerate.state import AcceleratorState
    out, err, status, keyboard = io.StringIO(), io.StringIO(), 0, sys.stdin
    words, sys.stdin = [str(a) for a in args], io.StringIO(stdin)
    reads_itself = list(inspect.signature(main).parameters) == ['args']
    AcceleratorState._reset_state(True)
    try:
        with redirect_stdout(out), redirect_stderr(err), ending(main.__module__):
            if reads_itself: main(words)
            else: read_arguments(main, words)()
    except SystemExit as e: status = e.code or 0
    finally:
        sys.stdin = keyboard
        AcceleratorState._reset_state(True)
    return status, out.getvalue(), err.getvalue()


@pytest.fixture(scope='session')
def eight(tiny, tmp_path_factory):
    "Fifty videos to train on in eight shards, twenty to evaluate on in four."
    out = tmp_path_factory.mktemp('shards')/'shards'
    done = run('python', '-m', 'adafocus.data.shards', tiny, out, '--shards', 8)
    assert done.returncode == 0 and f"--data 'wds:{out}/train-{{000000..000007}}.tar'" in done.stdout, done.stderr
    return out


ONE_PROCESS = '--num_processes', '1', '--num_machines', '1', '--mixed_precision', 'no', '--dynamo_backend', 'no', '--cpu'
TWO_PROCESSES = 'torch.distributed.run', '--nproc_per_node', '2', '--standalone', '-m'     # accelerate launch --cpu starts one, whatever it is told
CPU = dict(ACCELERATE_USE_CPU='true')
SMALL = '--preset', 'needle', '--policy-hidden', '32', '--classifier-hidden', '64', '--batch-size', '10', '--workers', '1', '--mixed-precision', 'no'


@dataclass(frozen=True)
class Trained:
    "A trained run, never changed in place: copy the folder to change it."
    run: Path
    data: Path                   # a needle dataset: 800 videos to train on, 200 to evaluate on
    budgets: tuple[float, ...]   # GFLOPs a video, solved; the largest is about half of all frames
    printed: str                 # by the evaluation of these budgets


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    "A run on small needle videos, learned in half a minute, with thresholds for three budgets; one for all workers of xdist."
    step = .005327                                                  # GFLOPs that a step of the network below costs
    budgets = 1.5*step, 2.5*step, 4*step
    own = tmp_path_factory.getbasetemp()
    here = (own.parent if 'PYTEST_XDIST_WORKER' in os.environ else own)/'trained'
    with FileLock(f'{here}.lock'):
        if not (here/'printed.txt').exists(): _train(here, budgets)
    return Trained(here/'run', here/'needle', budgets, (here/'printed.txt').read_text())


def _train(here, budgets):
    data = needle.write_dataset(here/'needle', needle.NeedleConfig(videos=1000, val_share=.2, size=64, distractors=0), workers=1, progress=False)
    done = run('python', '-m', 'adafocus.train', '--data', data, '--out', here/'run', '--epochs', 8, '--batch-size', 16, '--workers', 1,
               '--frame-size', 64, '--resize', 64, '--patch-size', 32, **CPU)
    assert done.returncode == 0, done.stderr
    done = run('python', '-m', 'adafocus.evaluate', here/'run', '--budgets', *budgets, '--timed-videos', 8)
    assert done.returncode == 0, done.stderr
    (here/'printed.txt').write_text(done.stdout)


class Forking:
    "Starts functions of forking.py, or those of ranks.py in several processes that belong together, without importing anything anew."
    def __init__(self, folder):
        self.folder, self.ended, self.count = folder, {}, 0
        self.process = subprocess.Popen([sys.executable, HELPERS/'forking.py'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                                        env={**os.environ, 'PYTHONPATH': f'{ROOT}:{HELPERS}', 'OMP_NUM_THREADS': '1', 'TQDM_DISABLE': '1', **CPU})

    def _order(self, do, args, env):
        self.count += 1
        log = self.folder/f'log{self.count}'
        self.process.stdin.write(json.dumps(dict(do=do, args=args, log=str(log), env=env)) + '\n')
        self.process.stdin.flush()
        while 'status' in (answer := json.loads(self.process.stdout.readline())): self.ended[answer['pid']] = answer['status']
        return answer['pid'], log

    def start(self, do, **args): return self._order(do, args, {})

    def wait(self, started, patience=200):
        pid, log = started
        def end():
            with suppress(ProcessLookupError): os.kill(pid, signal.SIGKILL)
        alarm = threading.Timer(patience, end)
        alarm.start()
        while pid not in self.ended:
            answer = json.loads(self.process.stdout.readline())
            self.ended[answer['pid']] = answer['status']
        alarm.cancel()
        return self.ended.pop(pid), log.read_text()

    def __call__(self, do, **args): return self.wait(self.start(do, **args))

    def ranks(self, count, do, *args):
        "Statuses, and all that was said."
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = s.getsockname()[1]
        env = dict(WORLD_SIZE=count, LOCAL_WORLD_SIZE=count, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        started = [self._order(do, [str(a) for a in args], {k: str(v) for k, v in dict(env, RANK=n, LOCAL_RANK=n).items()}) for n in range(count)]
        statuses, said = zip(*map(self.wait, started))
        return list(statuses), '\n'.join(said)


@pytest.fixture(scope='session')
def forking(tmp_path_factory):
    server = Forking(tmp_path_factory.mktemp('logs'))
    yield server
    server.process.stdin.close()
    server.process.kill()
    server.process.wait()


@pytest.fixture(scope='session')
def typed(forking):
    "A function like `run` for `python -m MODULE ...`, without importing anything; what is said on either output stands in both."
    def call(module, *args):
        status, said = forking('run_main', module=module, args=[str(a) for a in args])
        return subprocess.CompletedProcess((module, *args), status, said, said)
    return call
