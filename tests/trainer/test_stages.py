"Are the stages of AdaFocusV1 runs like any other?"
import json

import pytest
import torch
from conftest import SMALL
from safetensors.torch import load_file

from adafocus.method.model import AdaFocus, ModelConfig
from adafocus.method.v1 import STAGES
from adafocus.trainer.checkpoints import checkpoints

STAGE = *SMALL, '--policy', 'grid', '--log-with', 'none', '--log-steps', '1', '--num-frames', '4', '--epochs', '2'
ADAM = '--optimizer', 'adam', '--lr', '0.003', '--lr-policy', '1'


@pytest.fixture(scope='module')
def staged(forking, tiny, tmp_path_factory):
    "Runs of the stages, one after another."
    folder, before = tmp_path_factory.mktemp('stages'), []
    for stage in STAGES:
        args = ['--data', str(tiny), '--out', str(folder/stage), *STAGE, '--stage', stage, *(ADAM if stage in ('policy', 'skip') else ()), *before]
        status, said = forking('train_run', args=[str(a) for a in args])
        assert status == 0, said
        before = ['--init', str(folder/stage)]
    return folder


@pytest.mark.slow
def test_each_stage_changes_what_it_trains_and_nothing_else(staged):
    names = list(STAGES)
    for before, after in zip(names, names[1:]):
        a, b = (load_file(checkpoints(staged/name)[-1]/'model.safetensors') for name in (before, after))
        start = load_file(staged/before/'model.safetensors')
        assert a.keys() == b.keys()
        changed = {name for name in b if not torch.equal(b[name], start[name])}
        assert changed and all(any(f'{name}.'.startswith(f'{part}.') for part in STAGES[after]) for name in changed), (after, changed)


@pytest.mark.slow
@pytest.mark.parametrize('stage', ['policy', 'fine_tune'])
def test_a_stage_that_is_killed_goes_on_as_if_nothing_had_been(forking, staged, tiny, tmp_path, stage):
    init = list(STAGES)[list(STAGES).index(stage) - 1]
    args = ['--data', str(tiny), '--out', str(tmp_path/'run'), *STAGE, '--stage', stage, *(ADAM if stage == 'policy' else ()), '--init', str(staged/init), '--save-steps', '1']
    assert forking('train_run', args=[str(a) for a in args], kill_at=8)[0] == -9
    assert forking('train_run', args=['--resume', str(tmp_path/'run')])[0] == 0
    a, b = (load_file(checkpoints(run_)[-1]/'model.safetensors') for run_ in (staged/stage, tmp_path/'run'))
    assert all(torch.equal(a[name], b[name]) for name in a)
    optimizers = [load_file(checkpoints(run_)[-1]/'optimizer.safetensors') for run_ in (staged/stage, tmp_path/'run')]
    assert optimizers[0] and all(torch.equal(optimizers[0][name], optimizers[1][name]) for name in optimizers[0])
    lines = [[{k: v for k, v in json.loads(line).items() if not k.endswith('seconds')} for line in (run_/'steps.jsonl').open()] for run_ in (staged/stage, tmp_path/'run')]
    assert lines[0] == lines[1]


@pytest.mark.slow
@pytest.mark.parametrize('stage', ['pretrain_local', 'policy', 'skip'])
def test_two_processes_train_a_stage(forking, staged, tiny, tmp_path, stage):
    init = list(STAGES)[list(STAGES).index(stage) - 1]
    args = ['--data', tiny, '--out', tmp_path/'run', *STAGE, '--stage', stage, *(ADAM if stage in ('policy', 'skip') else ()), '--init', staged/init]
    statuses, said = forking.ranks(2, 'signal_at', 10**6, *args)
    assert statuses == [0, 0], said
    weights, start = load_file(tmp_path/'run'/'model.safetensors'), load_file(staged/init/'model.safetensors')
    assert any(not torch.equal(x, start[name]) for name, x in weights.items())
    AdaFocus(ModelConfig(num_classes=10, num_frames=4, frame_size=112, patch_size=48, global_size=28, global_encoder='small_global', local_encoder='small_local', policy='grid', policy_channels=16,
                         policy_hidden=32, classifier_hidden=64, feature_reuse=False)).load_state_dict(weights)


@pytest.mark.parametrize('args, words', [(('--policy', 'grid'), 'no gradient to be trained end to end'), (('--stage', 'policy'), 'policy is gru; stage policy needs grid'), (('--stage', 'polcy'), 'did you mean policy?'),
                                         (('--policy', 'video_grid', '--stage', 'fine_tune'), 'both must answer')])
def test_what_cannot_be_a_stage_is_one_sentence(tiny, tmp_path, args, words, typed):
    done = typed('adafocus.train', '--data', tiny, '--out', tmp_path/'run', *SMALL, *args)
    assert done.returncode == 2 and words in done.stderr and 'Traceback' not in done.stderr, done.stderr
    assert not (tmp_path/'run'/'model.safetensors').exists()
