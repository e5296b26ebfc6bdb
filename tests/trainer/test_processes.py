"Two and three processes on one machine: the same losses as one, every video counted once, and an end for all of them."
import json
import subprocess
import time

import numpy as np
import pytest
from conftest import CPU, HELPERS, ROOT, SMALL, run
from safetensors.torch import load_file

from adafocus.data import needle
from adafocus.trainer.checkpoints import checkpoints

# nothing that depends on which videos a process sees together: batch norms are frozen, nothing is dropped
TRAIN = *SMALL, '--freeze-batch-norm', 'all', '--dropout', '0', '--log-steps', '1', '--log-with', 'none', '--epochs', '4', '--num-frames', '4'


def launched(count, *args, timeout=120):
    return run('python', '-m', 'torch.distributed.run', '--nproc_per_node', count, '--standalone', HELPERS/'ranks.py', *args, timeout=timeout, **CPU,
               PYTHONPATH=f'{ROOT}:{HELPERS}', TQDM_DISABLE='1')


def steps(out): return [{k: v for k, v in json.loads(line).items() if not k.endswith('seconds')} for line in (out/'steps.jsonl').open()]
def weights(out): return load_file(checkpoints(out)[-1]/'model.safetensors')


@pytest.fixture(scope='module')
def two(forking, tiny, tmp_path_factory):
    "A run of two processes that nobody disturbed."
    out = tmp_path_factory.mktemp('two')/'run'
    statuses, said = forking.ranks(2, 'signal_at', 10**6, '--data', tiny, '--out', out, *TRAIN)
    assert statuses == [0, 0], said
    return out


def test_two_processes_have_the_losses_of_one(forking, two, tiny, tmp_path):
    status, said = forking('train_run', args=[str(a) for a in ('--data', tiny, '--out', tmp_path/'one', *TRAIN)])
    assert status == 0, said
    ones, twos = steps(tmp_path/'one'), steps(two)
    assert len(ones) == len(twos) == 20
    for one, other in zip(ones, twos):
        assert one['step'] == other['step'] and one['lr'] == other['lr'] and abs(one['loss'] - other['loss']) < 1e-5*max(1, one['loss'])
    a, b = weights(tmp_path/'one'), {name.removeprefix('module.'): x for name, x in weights(two).items()}
    assert a.keys() == b.keys() and max((a[name].double() - b[name].double()).abs().max() for name in a) < 1e-5
    assert not [p for p in two.rglob('*') if '.partial' in p.name]


@pytest.mark.slow
def test_told_to_stop_all_stop_at_the_same_step_and_go_on(forking, two, tiny, tmp_path):
    "Only one of them hears the signal. Then one process goes on from what two have saved, then two again."
    out = tmp_path/'run'
    done = launched(2, 'signal_at', 7, '--data', tiny, '--out', out, *TRAIN)
    assert done.returncode == 1 and 'stopped after 1 epochs and 2 of 5 steps' in done.stderr and 'exitcode  : 138' in done.stderr, done.stderr
    assert checkpoints(out)[-1].name == 'epoch-0001-step-000002' and len(steps(out)) == 7
    statuses, said = forking.ranks(2, 'signal_at', 10**6, '--resume', out)
    assert statuses == [0, 0] and steps(out) == steps(two), said
    a, b = weights(out), weights(two)
    assert all((a[name] == b[name]).all() for name in a)


@pytest.mark.parametrize('again', [0, *(pytest.param(k, marks=pytest.mark.thorough) for k in range(1, 5))])
@pytest.mark.parametrize('place', ['step', *(pytest.param(p, marks=pytest.mark.slow) for p in ('init', 'data', 'save', 'evaluation'))])
def test_an_error_in_one_ends_all(tiny, tmp_path, place, again):
    began = time.time()
    done = launched(2, 'fail_at', place, '--data', tiny, '--out', tmp_path/'run', *TRAIN)
    assert done.returncode != 0 and time.time() - began < 90
    assert done.stderr.count('Traceback (most recent call last)') - done.stderr.count('torch/distributed/run.py') <= 1, done.stderr
    assert done.stderr.count("KeyError: 'the thing that is not there'") == 1 and 'adafocus.train, process 1: Traceback' in done.stderr, done.stderr
    left = subprocess.run(['pgrep', '-f', str(tmp_path/'run')], capture_output=True, text=True).stdout.split()
    assert not left


@pytest.mark.parametrize('where', ['gradient', pytest.param('loss', marks=pytest.mark.slow)])
def test_what_one_sees_that_is_not_finite_stops_all_before_the_update(forking, tiny, tmp_path, where):
    statuses, log = forking.ranks(2, 'not_finite', where, '--data', tiny, '--out', tmp_path/'run', *TRAIN, '--save-steps', 1, '--save-minutes', 0)
    assert statuses == [1, 1] and 'in epoch 1, step 3' in log and 'Traceback' not in log, log
    said = next(line for line in log.splitlines() if 'in epoch 1, step 3' in line)
    assert said.count('.mp4') == 10 and str(tiny) in said                       # the whole batch, of both
    assert checkpoints(tmp_path/'run')[-1].name == 'epoch-0000-step-000002' and all(np.isfinite(x.numpy()).all() for x in weights(tmp_path/'run').values())


@pytest.mark.slow
def test_each_validation_video_counts_once(forking, tmp_path):
    "Numbers of videos that nothing divides, by one, two and three processes, in batches of 1, 4 and 16."
    data = needle.write_dataset(tmp_path/'data', needle.NeedleConfig(videos=100, val_share=.01, size=64, frames=4), workers=2, progress=False)
    by_count = {}
    for count in (1, 2, 3):
        statuses, said = forking.ranks(count, 'score', tmp_path/'scores', data, 1, 4, 16)
        assert statuses == [0]*count, said
        by_count[count] = json.loads((tmp_path/'scores').read_text())
    for n in (1, 2, 3, 7, 82, 97, 99):
        for count in by_count:
            for numbers, accuracy, mean_precision in by_count[count][str(n)]:
                assert numbers == list(range(n))
                assert accuracy == by_count[1][str(n)][0][1] and np.allclose(mean_precision, by_count[1][str(n)][0][2], rtol=0, atol=1e-9), (n, count)
