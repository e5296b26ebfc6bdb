"The scripts and configurations in nbs/launch, as far as a machine without GPUs and without SLURM can try them."
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, SMALL

from adafocus.trainer.checkpoints import checkpoints

LAUNCH = ROOT/'nbs'/'launch'

SRUN = '''#!{python}
import os, signal, subprocess, sys
args = sys.argv[1:]
assert args.pop(0) == '--kill-on-bad-exit=1'
both = [subprocess.Popen(args, env=dict(os.environ, SLURM_PROCID=str(k), SLURM_LOCALID=str(k), SLURM_NTASKS='2', SLURM_NTASKS_PER_NODE='2')) for k in range(2)]
signal.signal(signal.SIGUSR1, lambda *_: [p.send_signal(signal.SIGUSR1) for p in both])
open('{folder}/srun.pid', 'w').write(str(os.getpid()))
sys.exit(max(p.wait() for p in both))
'''
SCONTROL = '#!/bin/sh\n[ "$1" = show ] && echo localhost || echo "$@" >> {folder}/requeued\n'


@pytest.fixture
def slurm(tmp_path):
    "An environment with an srun that starts two processes here, and an scontrol that notes what it is told."
    for name, text in (('srun', SRUN), ('scontrol', SCONTROL)):
        (tmp_path/name).write_text(text.format(python=sys.executable, folder=tmp_path))
        (tmp_path/name).chmod(0o755)
    return dict(os.environ, PATH=f'{tmp_path}:{os.path.dirname(sys.executable)}:{os.environ["PATH"]}', SLURM_JOB_NODELIST='n[1-4]', SLURM_JOB_ID='4711', ACCELERATE_USE_CPU='true', TQDM_DISABLE='1', PYTHONPATH=str(ROOT))


@pytest.mark.slow
def test_a_job_whose_time_is_over_is_put_back_and_goes_on(tiny, tmp_path, slurm):
    out = tmp_path/'run'
    command = ['bash', LAUNCH/'slurm.sh', *map(str, ('--data', tiny, '--out', out, *SMALL, '--epochs', 40, '--log-with', 'none', '--log-steps', 1))]
    job = subprocess.Popen(command, env=slurm, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 120
    while not (out/'steps.jsonl').exists() and job.poll() is None and time.time() < deadline: time.sleep(.1)
    os.kill(int((tmp_path/'srun.pid').read_text()), signal.SIGUSR1)
    _, said = job.communicate(timeout=120)
    assert job.returncode == 138 and 'stopped after' in said, said
    assert (tmp_path/'requeued').read_text() == 'requeue 4711\n'
    done = len((out/'steps.jsonl').read_text().splitlines())
    assert checkpoints(out)[-1].name == f'epoch-{done//5:04d}-step-{done % 5:06d}'
    again = subprocess.run(['bash', LAUNCH/'slurm.sh', '--out', str(out), '--epochs', str(done//5 + 1)], env=slurm, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert again.returncode == 0 and 'going on after' in again.stdout, again.stderr
    assert [json.loads(line)['step'] for line in (out/'steps.jsonl').open()] == list(range(1, 5*(done//5 + 1) + 1))
    assert (tmp_path/'requeued').read_text() == 'requeue 4711\n'


@pytest.mark.slow
def test_torchrun_script_and_accelerate_take_what_is_there(tiny, tmp_path, slurm):
    done = subprocess.run(['sh', LAUNCH/'torchrun.sh', '--data', str(tiny), '--batch-size', '10', '--dry-run'], env=dict(slurm, GPUS='2'), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and '2 processes' in done.stdout and 'precision bf16' in done.stdout, done.stderr
    done = subprocess.run([sys.executable, '-m', 'accelerate.commands.accelerate_cli', 'launch', '--config_file', LAUNCH/'one_gpu.yaml', '-m', 'adafocus.train', '--data', str(tiny), '--batch-size', '10', '--dry-run'],
                          env=slurm, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and '1 process on' in done.stdout.replace('for each of 1 process', '1 process on') and 'precision bf16' in done.stdout, done.stderr


@pytest.mark.slow
def test_a_launcher_that_is_told_to_stop_passes_it_on(tiny, tmp_path):
    "SIGTERM to `accelerate launch` alone: what it launched saves and stops."
    out = tmp_path/'run'
    job = subprocess.Popen([sys.executable, '-m', 'accelerate.commands.accelerate_cli', 'launch', '--num_processes', '1', '--num_machines', '1', '--mixed_precision', 'no', '--dynamo_backend', 'no', '--cpu',
                            '-m', 'adafocus.train', *map(str, ('--data', tiny, '--out', out, *SMALL, '--epochs', 500, '--log-with', 'none', '--log-steps', 1))],
                           cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, TQDM_DISABLE='1'))
    deadline = time.time() + 120
    while not (out/'steps.jsonl').exists() and time.time() < deadline: time.sleep(.1)
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=60)[0]                           # ends when all have closed it
    assert 'stopped after' in said and checkpoints(out), said
