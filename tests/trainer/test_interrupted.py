"Runs that are killed, told to stop, or find the disk full; and what goes on from there."
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from conftest import ROOT, SMALL

from adafocus.trainer.checkpoints import checkpoints, damage, find_checkpoint

TRAIN = *SMALL, '--save-steps', '2', '--save-minutes', '0', '--log-steps', '1', '--log-with', 'none', '--epochs', '4', '--local-encoder', 'small_global', '--num-frames', '4'
STEPS, EPOCHS = 5, 4                # of 50 videos in batches of 10


def train(tiny, out, *more, resume=False):
    "A command line: a new run, or one that goes on."
    return [str(a) for a in (('--resume', out) if resume else ('--data', tiny, '--out', out, *TRAIN)) + more]


def contents(out):
    "SHA-256 of weights, optimiser and the rest of the state, and the lines of metrics and steps without seconds."
    last = checkpoints(out)[-1]
    state = json.loads((last/'state.json').read_text())
    state.pop('seconds')
    lines = [{k: v for k, v in json.loads(line).items() if not k.endswith('seconds')} for name in ('metrics', 'steps') for line in (out/f'{name}.jsonl').open()]
    return [hashlib.sha256((last/f'{name}.safetensors').read_bytes()).hexdigest() for name in ('model', 'optimizer')], state, lines, \
        hashlib.sha256((out/'model.safetensors').read_bytes()).hexdigest()


def samples(path): return [json.loads(line) for line in path.open()] if path.exists() else []


@pytest.fixture(scope='module')
def whole(forking, tiny, tmp_path_factory):
    "A run that nobody disturbed, and its samples in order."
    out = tmp_path_factory.mktemp('whole')
    status, said = forking('train_run', args=train(tiny, out/'run'), samples=str(out/'samples'))
    assert status == 0, said
    order = samples(out/'samples')
    assert len(order) == STEPS*EPOCHS and len({json.dumps(x) for x in order}) == STEPS*EPOCHS
    return contents(out/'run'), order


def check_goes_on(forking, out, whole, first_samples, lost=2):
    "Resume a run: from its newest whole checkpoint, with the same samples in the same order, to the same end."
    newest, _ = find_checkpoint(out)
    at = (int(newest.name[6:10])*STEPS + int(newest.name[-6:])) if newest else 0
    reference, order = whole
    assert samples(first_samples) == order[:len(samples(first_samples))]
    assert len(samples(first_samples)) - at <= lost, 'more steps were lost than lie between two checkpoints'
    rest = first_samples.with_name('rest')
    rest.unlink(missing_ok=True)
    status, said = forking('train_run', args=train(None, out, resume=True), samples=str(rest))
    assert status == 0, said
    assert samples(rest) == order[at:]
    assert contents(out) == reference
    assert not [p.name for p in out.iterdir() if p.name.startswith(('.partial', '.old'))] and not list(out.glob('**/*.pkl')) and not list(out.glob('**/*.bin'))
    return at


# in the middle of an epoch and in the middle of a save; all others are thorough
HOW = [dict(kill_at=3), dict(kill_in_save=9)]
MORE = [*(dict(kill_at=k) for k in (1, 5, 6, 8, 10)), *(dict(kill_in_save=k) for k in (3, 6, 14, 19, 28)), dict(phase='evaluation', number=9)]


@pytest.mark.parametrize('how', [*HOW, *(pytest.param(how, marks=pytest.mark.thorough) for how in MORE)], ids=lambda how: '-'.join(f'{k}-{v}' for k, v in how.items()))
def test_a_killed_run_ends_as_if_nothing_had_been(forking, tiny, tmp_path, whole, how):
    out = tmp_path/'run'
    status, said = forking('train_run', args=train(tiny, out), samples=str(tmp_path/'first'), **how)
    assert status == -signal.SIGKILL, said
    check_goes_on(forking, out, whole, tmp_path/'first', lost=4)


@pytest.mark.slow
def test_killed_again_and_again(forking, tiny, tmp_path, whole):
    "Three times within an epoch, with two loading processes, none, and two."
    out = tmp_path/'run'
    assert forking('train_run', args=train(tiny, out, '--workers', 2), kill_at=4)[0] == -signal.SIGKILL
    for workers, at in ((0, 2), (2, 2)): assert forking('train_run', args=train(None, out, '--workers', workers, resume=True), kill_at=at)[0] == -signal.SIGKILL
    status, said = forking('train_run', args=train(None, out, resume=True))
    assert status == 0 and contents(out) == whole[0], said


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.thorough)], ids=['SIGKILL', 'SIGSEGV'])
def test_a_loading_process_that_dies_ends_the_run(forking, tiny, tmp_path, whole, number):
    out = tmp_path/'run'
    status, said = forking('train_run', args=train(tiny, out, '--workers', 2), samples=str(tmp_path/'first'), worker=int(number))
    assert status == 1 and 'is killed by signal' in said and f'--resume {out}' in said and 'Traceback' not in said, said
    check_goes_on(forking, out, whole, tmp_path/'first')


@pytest.mark.slow
def test_killed_between_the_parts_of_a_step(forking, tiny, tmp_path):
    for name in ('whole', 'killed'):
        status, said = forking('train_run', args=train(tiny, tmp_path/name, '--accumulate', 2), **dict(kill_at=14) if name == 'killed' else {})
        assert status == (-signal.SIGKILL if name == 'killed' else 0), said
    assert forking('train_run', args=train(None, tmp_path/'killed', resume=True))[0] == 0
    assert contents(tmp_path/'killed') == contents(tmp_path/'whole')


@pytest.mark.parametrize('keep', [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_checkpoint(forking, tmp_path, keep):
    moments = 0
    while True:
        out = tmp_path/f'{moments}'
        out.mkdir()
        status, said = forking('save_over_and_over', run=str(out), kill_at=moments + 1, keep=keep)
        if status == 0: break
        assert status == -signal.SIGKILL, said
        newest, _ = find_checkpoint(out)
        assert newest.name in ('epoch-0002-step-000000', 'epoch-0003-step-000000', 'epoch-0004-step-000000', 'epoch-0005-step-000000'), said
        assert all(not damage(p) for p in checkpoints(out))                     # what is in its place is whole
        moments += 1
    assert moments >= 30
    assert forking('save_over_and_over', run=str(tmp_path/'0'), kill_at=999, keep=keep)[0] == 0
    assert sorted(p.name for p in (tmp_path/'0').iterdir()) == ['checkpoints', 'disturbed'] and len(checkpoints(tmp_path/'0')) == keep


@pytest.mark.parametrize('times', [5, pytest.param(20, marks=pytest.mark.thorough)])
def test_a_kill_at_random_instants_of_slow_saves(forking, tmp_path, times):
    draw = random.Random(0)
    for k in range(times):
        out = tmp_path/f'{k}'
        out.mkdir()
        started = forking.start('save_over_and_over', run=str(out), kill_at=999, keep=1 + k % 2, slow=.01)
        while not (out/'disturbed').exists(): time.sleep(.002)
        time.sleep(draw.uniform(0, .4))
        try: os.kill(started[0], signal.SIGKILL)
        except ProcessLookupError: pass
        forking.wait(started)
        assert find_checkpoint(out)[0] is not None and all(not damage(p) for p in checkpoints(out))


STATUS = {signal.SIGTERM: 143, signal.SIGUSR1: 138, signal.SIGINT: 130}


FIRST, *OTHERS = [(number, group, workers) for number in (signal.SIGTERM, signal.SIGUSR1) for group in (False, True) for workers in (0, 2)]
@pytest.mark.parametrize('number, group, workers', [FIRST, *(pytest.param(*other, marks=pytest.mark.thorough) for other in OTHERS)], ids=lambda x: str(getattr(x, 'name', x)))
@pytest.mark.parametrize('phase', ['start', 'backward', 'saving', *(pytest.param(p, marks=pytest.mark.slow) for p in ('first_batch', 'data_wait', 'forward', 'evaluation', 'epoch_end'))])
def test_a_signal_saves_and_stops(forking, tiny, tmp_path, whole, phase, number, group, workers):
    out = tmp_path/'run'
    status, said = forking('train_run', args=train(tiny, out, '--workers', workers, '--save-steps', 0), samples=str(tmp_path/'first'), phase=phase, number=int(number), group=group)
    assert status == STATUS[number], said
    if phase == 'start':
        assert not out.exists() and 'stopped by' in said
        return
    at = check_goes_on(forking, out, whole, tmp_path/'first', lost=0)
    assert at == dict(first_batch=0, data_wait=3, forward=7, backward=4, evaluation=5, saving=5, epoch_end=5)[phase] and 'stopped after' in said


@pytest.mark.slow
def test_more_sigterms_while_saving_harm_nothing(forking, tiny, tmp_path, whole):
    status, said = forking('train_run', args=train(tiny, tmp_path/'run'), samples=str(tmp_path/'first'), phase='saving_often', number=int(signal.SIGTERM))
    assert status == 143, said
    assert check_goes_on(forking, tmp_path/'run', whole, tmp_path/'first', lost=0) == 2


def test_what_is_damaged_is_named_and_not_taken(forking, tiny, tmp_path, whole):
    out = tmp_path/'run'
    assert forking('train_run', args=train(tiny, out), kill_at=10)[0] == -signal.SIGKILL
    newest = checkpoints(out)[-1]
    (newest/'optimizer.safetensors').write_bytes((newest/'optimizer.safetensors').read_bytes()[:-8])
    status, said = forking('train_run', args=train(None, out, resume=True))
    assert status == 0 and f'{newest/"optimizer.safetensors"} has' in said and contents(out) == whole[0], said
    for folder in checkpoints(out): (folder/'state.json').unlink()
    status, said = forking('train_run', args=train(None, out, resume=True))
    assert status == 2 and 'no whole checkpoint' in said and 'state.json is not there' in said and 'Traceback' not in said


def test_no_pickle_is_ever_loaded(forking, tiny, tmp_path):
    "A payload in each file that Accelerate would read leaves no trace, and the checkpoint is refused by name."
    out, canary = tmp_path/'run', tmp_path/'canary'
    assert forking('train_run', args=train(tiny, out), kill_at=10)[0] == -signal.SIGKILL
    payload = b'cos\nsystem\n(S"touch %s"\ntR.' % str(canary).encode()
    newest = checkpoints(out)[-1]
    for name in ('pytorch_model.bin', 'optimizer.bin', 'scheduler.bin', 'sampler.bin', 'dl_state_dict.bin', 'random_states_0.pkl', 'scaler.pt', 'custom_checkpoint_0.pkl'):
        (newest/name).write_bytes(payload)
        assert f'{newest/name} does not belong to it' == damage(newest)
        (newest/name).unlink()
    (newest/'random_states_0.pkl').write_bytes(payload)
    status, said = forking('train_run', args=train(None, out, resume=True))
    assert status == 0 and 'random_states_0.pkl does not belong to it' in said and not canary.exists()
    import pickle
    pickle.loads(payload)
    assert canary.exists()                               # it would have worked


DISK = '''
    import json, os, re, shutil, sys
    from pathlib import Path
    import torch
    from accelerate import Accelerator
    from adafocus.trainer.checkpoints import CheckpointError, checkpoints, damage, save_checkpoint
    disk = Path(sys.argv[1]); run = disk/'run'; run.mkdir()
    accelerator, model = Accelerator(cpu=True), torch.nn.Linear(1000, 1000)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=.1, momentum=.9))
    model(torch.ones(1, 1000)).sum().backward(); optimizer.step()
    first = save_checkpoint(accelerator, model, optimizer, run, dict(epoch=0, step=0))
    size, hashes, outcomes = sum(p.stat().st_size for p in first.iterdir()), (first/'manifest.json').read_bytes(), []
    real = shutil.disk_usage
    for asked in (True, False):                                 # the disk is asked for room first; a quota does not answer
        if not asked: shutil.disk_usage = lambda path: type('Usage', (), dict(free=1 << 40))
        for share in (0, .25, .5, .75, .99):
            (disk/'filler').write_bytes(b'')
            free = real(disk).free
            with open(disk/'filler', 'wb') as f: f.write(bytes(max(0, free - int(share*size))))
            try: save_checkpoint(accelerator, model, optimizer, run, dict(epoch=1, step=0)); said = 'saved'
            except CheckpointError as e: said = str(e)
            outcomes.append([said, damage(first), (first/'manifest.json').read_bytes() == hashes, sorted(p.name for p in run.iterdir()), len(checkpoints(run))])
    shutil.disk_usage = real
    (disk/'filler').unlink()
    save_checkpoint(accelerator, model, optimizer, run, dict(epoch=1, step=0))
    print(json.dumps(dict(outcomes=outcomes, after=[p.name for p in checkpoints(run)])))
'''


def small_disk(folder, megabytes, command):
    "A command that sees a disk of so many megabytes at `folder`; skipped where a user may not mount one."
    folder.mkdir()
    if subprocess.run(['unshare', '-Urm', 'true'], capture_output=True).returncode: pytest.skip('this system lets nobody mount a disk of his own (unshare -Urm)')
    inside = f'mount -t tmpfs -o size={megabytes}m tmpfs {folder} && exec "$@"'
    return subprocess.run(['unshare', '-Urm', 'sh', '-c', inside, 'sh', *map(str, command)], capture_output=True, text=True, timeout=200, cwd=ROOT,
                          env={**os.environ, 'PYTHONPATH': str(ROOT), 'ACCELERATE_USE_CPU': 'true', 'TQDM_DISABLE': '1', 'PYTHONDONTWRITEBYTECODE': '1'})


def test_a_full_disk_costs_nothing(tmp_path):
    "With 0 to 99 % of a checkpoint's bytes free."
    done = small_disk(tmp_path/'disk', 64, [sys.executable, '-c', textwrap.dedent(DISK), tmp_path/'disk'])
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert len(answer['outcomes']) == 10 and answer['after'] == ['epoch-0000-step-000000', 'epoch-0001-step-000000']
    for said, broken, unchanged, names, count in answer['outcomes']:
        assert 'could not be written' in said and 'epoch-0001-step-000000' in said and 'bytes, ' in said and 'are free' in said and 'is as it was' in said
        assert broken is None and unchanged and names == ['checkpoints'] and count == 1


@pytest.mark.slow
def test_training_on_a_disk_that_fills_up_says_so(tiny, tmp_path):
    script = '''
        import shutil, sys
        from pathlib import Path
        from adafocus import train
        from adafocus.system.files import read_lines
        from adafocus.trainer import loop
        from adafocus.trainer.checkpoints import checkpoints, damage
        train.finish = lambda *a: None
        disk, end_epoch = Path(sys.argv[1]), loop.end_epoch
        def fill(run, *args):
            if run.progress.epoch == 1: (disk/'filler').write_bytes(bytes(max(0, shutil.disk_usage(disk).free - 60_000)))
            return end_epoch(run, *args)
        loop.end_epoch = fill
        try: train.main(sys.argv[2:])
        except SystemExit as e: status = e.code
        print([(p.name, damage(p)) for p in checkpoints(disk/'run')], [line['epoch'] for line in read_lines(disk/'run'/'metrics.jsonl')], status)
    '''
    done = small_disk(tmp_path/'disk', 40, [sys.executable, '-c', textwrap.dedent(script), tmp_path/'disk', *train(tiny, tmp_path/'disk'/'run', '--save-steps', 0)])
    assert done.returncode == 0, done.stderr
    assert "[('epoch-0001-step-000000', None)]" in done.stdout and done.stdout.strip().endswith(' 1'), done.stdout
    assert 'could not be written' in done.stderr + done.stdout or 'No space left' in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('again', [0, *(pytest.param(k, marks=pytest.mark.thorough) for k in range(1, 50))])
def test_two_trainers_one_folder(tiny, tmp_path, again):
    "Exactly one works, the other says whose it is; an owner that died is no obstacle."
    command = [sys.executable, '-m', 'adafocus.train', *train(tiny, tmp_path/'run', '--epochs', 60, '--resume', 'auto')]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, 'ACCELERATE_USE_CPU': 'true', 'TQDM_DISABLE': '1'}) for _ in range(2)]
    deadline = time.time() + 90
    while all(p.poll() is None for p in both) and time.time() < deadline: time.sleep(.1)
    loser = next(p for p in both if p.poll() is not None)
    owner = both[1 - both.index(loser)]
    said = loser.communicate()[1]
    assert loser.returncode == 2 and ('in use by process' in said and f'process {owner.pid} on' in said or 'is not empty' in said) and 'Traceback' not in said, said
    while not checkpoints(tmp_path/'run') and time.time() < deadline: time.sleep(.1)
    owner.kill()
    owner.communicate()
    third = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, 'ACCELERATE_USE_CPU': 'true', 'TQDM_DISABLE': '1'})
    for line in third.stdout:
        if 'going on after' in line: break
    written = (tmp_path/'run'/'steps.jsonl').stat().st_size
    while (tmp_path/'run'/'steps.jsonl').stat().st_size == written and third.poll() is None and time.time() < deadline + 90: time.sleep(.05)      # its first step
    third.send_signal(signal.SIGINT)
    assert third.wait(60) == 130 and '--resume RUN goes on from there' in third.stderr.read()
