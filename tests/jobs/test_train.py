"The command lines of training and evaluation, as a person types them."
import json

import pytest
import torch
from conftest import ONE_PROCESS, SMALL, command, run

from adafocus import train
from adafocus.run.config import load_config


@pytest.fixture
def trains(forking):
    "A training as it is trains, in a process of its own: status, and all that was said."
    return lambda *args: forking('train_run', args=[str(a) for a in args], whole=True)


@pytest.fixture(scope='module')
def trained(tiny, tmp_path_factory):
    "A run of two epochs by one process, and what it printed."
    out = tmp_path_factory.mktemp('runs')/'one'
    done = run('accelerate', 'launch', *ONE_PROCESS, '-m', 'adafocus.train', '--data', tiny, '--out', out, '--epochs', 2, *SMALL)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_a_run_is_a_folder(trained, tiny):
    out, printed = trained
    files = {str(p.relative_to(out)) for p in out.rglob('*') if p.is_file()}
    assert {'config.yaml', 'metrics.jsonl', 'model.safetensors', 'evaluation.json', 'plots/policies.png', 'plots/patches.png', 'plots/training.png'} <= files
    assert {f'checkpoints/epoch-0002-step-000000/{name}' for name in ('state.json', 'manifest.json', 'model.safetensors', 'optimizer.safetensors')} <= files
    assert not [name for name in files if name.endswith(('.pkl', '.bin', '.pt', '.pth'))] and any('tfevents' in name for name in files)
    environment = json.loads((out/'environment.jsonl').read_text())
    assert environment['torch'] == torch.__version__.split('+')[0] and environment['device'] == 'cpu' and environment['device_name'] and len(environment['commit']) >= 40 and '--epochs' in environment['command']
    steps = [json.loads(line) for line in (out/'steps.jsonl').open()]
    assert steps[-1]['step'] == 10 and all(line[f'{part}_seconds'] >= 0 for line in steps for part in ('data', 'forward', 'backward', 'optimizer')) and steps[-1]['backward_seconds'] > 0
    lines = [json.loads(line) for line in (out/'metrics.jsonl').open()]
    assert [m['epoch'] for m in lines] == [0, 1] and all(m['videos'] == 20 and len(m['val']['accuracy']) == 8 for m in lines)
    config = load_config(out/'config.yaml')
    assert config.data.data == str(tiny) and config.train.epochs == 2 and len(config.classes) == 10
    for word in ('  epoch     step', '1/2', '2/2', 'left', 'learned', 'random', 'central', 'gaussian', 't=1', 't=8', 'centre inside', f'the run is in {out}'): assert word in printed


def test_evaluate_prints_the_same_again(trained, typed):
    out, printed = trained
    again = typed('adafocus.evaluate', out)
    assert again.returncode == 0, again.stderr
    table = [line for line in printed.splitlines() if line.startswith(('policy', 'learned', 'random', 'central', 'gaussian', 'gain'))]
    assert len(table) == 6 and all(line in again.stdout.splitlines() for line in table)


@pytest.mark.slow
def test_two_processes_count_every_video_once(forking, typed, tiny, tmp_path):
    "17 validation videos, 2 processes, batches of 5: nothing divides anything."
    data = tmp_path/'odd'
    for path in (tiny/'train').glob('*/*.mp4'): _link(path, data/'train'/path.parent.name/path.name)
    for path in sorted((tiny/'val').glob('*/*.mp4'))[:17]: _link(path, data/'val'/path.parent.name/path.name)
    statuses, said = forking.ranks(2, 'whole', '--data', data, '--out', tmp_path/'two', '--epochs', 1, *SMALL)
    assert statuses == [0, 0] and '2 processes on cpu' in said, said
    lines = [json.loads(line) for line in (tmp_path/'two'/'metrics.jsonl').open()]
    assert [(m['videos'], m['step']) for m in lines] == [(17, 5)]
    by_two = json.loads((tmp_path/'two'/'evaluation.json').read_text())
    assert by_two['videos'] == 17 and by_two['left_out'] == 0
    assert typed('adafocus.evaluate', tmp_path/'two').returncode == 0
    by_one = json.loads((tmp_path/'two'/'evaluation.json').read_text())
    assert by_one == by_two


def _link(path, to):
    to.parent.mkdir(parents=True, exist_ok=True)
    to.symlink_to(path)


@pytest.mark.slow
def test_resume_goes_on(trains, tiny, tmp_path):
    out = tmp_path/'run'
    for epochs, flags in ((1, ('--data', tiny, '--out', out, *SMALL)), (2, ('--resume', out))):
        status, said = trains(*flags, '--epochs', epochs, '--mixed-precision', 'no')
        assert status == 0, said
        assert [json.loads(line)['epoch'] for line in (out/'metrics.jsonl').open()] == list(range(epochs))


@pytest.mark.parametrize('flags, says', [
    (('--data', '/nowhere'), '/nowhere is not a folder'),
    (('--preset', 'nedle'), "preset is 'nedle'; did you mean needle"),
    (('--patch-sise', '32'), 'did you mean --patch-size?'),
    (('--epochs', '0'), 'epochs is 0; it must be at least 1'),
    (('--batch-size', '5000'), 'batch_size is 5000, but there are 50 videos'),
    (('--resume', '/nowhere'), 'it must be the folder of an earlier run'),
    (('--weights', 'IMAGENET1K_V1'), 'small_global has no pretrained weights'),
    (('--epochs', 'many'), "--epochs: invalid literal for int() with base 10: 'many'"),
    (('--mixed-precision', 'bf61'), 'did you mean bf16?'),
    (('--batch-size', '10', '--accumulate', '3'), 'it must be a multiple of 3, for 1 processes that compute their share in 3 parts'),
    (('--sync-batch-norm',), 'which needs GPUs; this run is on cpu'),
    (('--log-with', 'tensorbord'), 'it may be none, or of'),
    (('--keep', '0'), 'keep is 0; it must be at least 1'),
    (('train.csv',), 'Unrecognized options: train.csv'),
])
def test_a_wrong_argument_is_one_clear_sentence(flags, says, tiny, tmp_path):
    data = () if '--data' in flags or '--resume' in flags else ('--data', tiny)
    out = () if '--resume' in flags else ('--out', tmp_path/'run')
    status, _, errors = command(train.main, *data, *out, *flags)
    assert status == 2 and says in errors, errors
    assert len([line for line in errors.splitlines() if line.startswith('adafocus.train: ')]) == 1
    assert not (tmp_path/'run').exists()


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(tiny, tmp_path):
    status, said, errors = command(train.main, '--data', tiny, '--out', tmp_path/'run', *SMALL, '--batch-size', 8, '--dry-run')
    assert status == 0 and not (tmp_path/'run').exists(), errors
    for word in ('model', 'parameters', 'GFLOPs a video', '50 videos to train on, 20 to evaluate on', '6 an epoch, 72 in 12 epochs',
                 'each epoch leaves out 2 videos', 'GB a process', 'there are', 'checkpoint'):
        assert word in said


@pytest.mark.slow
def test_compiled_in_parts_clipped_and_frozen(trains, tiny, tmp_path):
    "All that is there for speed and memory, in one epoch, and then gone on with."
    flags = '--compile', '--accumulate', 2, '--clip-norm', 5, '--freeze-batch-norm', 'partial', '--mixed-precision', 'bf16', '--workers', 2
    done = run('python', '-m', 'adafocus.train', '--data', tiny, '--out', tmp_path/'run', *SMALL, '--epochs', 1, *flags, timeout=600)
    assert done.returncode == 0, done.stderr
    status, said = trains('--resume', tmp_path/'run', '--epochs', 2, '--no-compile')
    assert status == 0 and 'going on after 1 epochs' in said and [json.loads(line)['epoch'] for line in (tmp_path/'run'/'metrics.jsonl').open()] == [0, 1], said


def test_an_occupied_folder_is_left_alone(tiny, tmp_path):
    (tmp_path/'run').mkdir()
    (tmp_path/'run'/'thesis.txt').write_text('mine')
    status, _, errors = command(train.main, '--data', tiny, '--out', tmp_path/'run', *SMALL)
    assert status == 2 and 'is not empty' in errors
    assert [p.name for p in (tmp_path/'run').iterdir()] == ['thesis.txt']


@pytest.mark.slow
def test_unreadable_videos_are_named_counted_and_left_out(trains, tiny, tmp_path):
    data = tmp_path/'data'
    for path in sorted(tiny.glob('*/*/*.mp4')): _link(path, data/path.relative_to(tiny))
    bad = [sorted((data/split).glob('*/*.mp4'))[3] for split in ('train', 'val')]
    for path in bad:
        path.unlink()
        path.write_bytes(b'nothing that moves')
    status, said = trains('--data', data, '--out', tmp_path/'run', '--epochs', 2, '--skip-bad', *SMALL)
    assert status == 0, said
    for path in bad: assert said.count(f'left out: {path}') >= 1
    assert said.count(f'left out: {bad[0]}') == 1                            # in training once, however often it is met
    lines = [json.loads(line) for line in (tmp_path/'run'/'metrics.jsonl').open()]
    assert lines[-1]['left_out'] == 2 and lines[-1]['videos'] == 19 and '1 could not be read' in said
    status, said = trains('--data', data, '--out', tmp_path/'strict', '--max-bad-share', '0', *SMALL)
    assert status == 1 and 'more than --max-bad-share allows' in said and 'Traceback' not in said


@pytest.mark.slow
def test_real_clips(beside, trains, tmp_path):
    "Sixty surveillance clips, two classes, no split of their own; the paper's recipe with small encoders."
    status, said = trains('--data', beside('clips'), '--out', tmp_path/'run', '--epochs', 1, '--batch-size', 8, '--num-frames', 4, '--frame-size', 96,
               '--resize', 112, '--patch-size', 48, '--global-encoder', 'small_global', '--local-encoder', 'small_local', '--policy-hidden', 32, '--classifier-hidden', 64)
    assert status == 0, said
    scores = json.loads((tmp_path/'run'/'evaluation.json').read_text())
    assert scores['videos'] == 12 and scores['feature_reuse'] and load_config(tmp_path/'run'/'config.yaml').classes == ['fight', 'normal']
