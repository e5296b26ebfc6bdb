"What tests share: small datasets made here, and real clips where they lie beside the repository."
import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault('OMP_NUM_THREADS', '1')

from adafocus.data import needle   # noqa: E402

ROOT = Path(__file__).parent.parent
BESIDE = ROOT.parent/'shared'


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


ONE_PROCESS = '--num_processes', '1', '--num_machines', '1', '--mixed_precision', 'no', '--dynamo_backend', 'no', '--cpu'
TWO_PROCESSES = 'torch.distributed.run', '--nproc_per_node', '2', '--standalone', '-m'     # accelerate launch --cpu starts one, whatever it is told
CPU = dict(ACCELERATE_USE_CPU='true')
SMALL = '--preset', 'needle', '--policy-hidden', '32', '--classifier-hidden', '64', '--batch-size', '10', '--workers', '1', '--mixed-precision', 'no'
