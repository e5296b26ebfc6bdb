"AdaFocusV1: does reward teach the policy to look, and are its stages runs like any other?"
import json

import pytest
import torch
from conftest import CPU, SMALL, run
from safetensors.torch import load_file
from test_learning import PATCH, SIZE, STEPS, videos

from adafocus.method.model import AdaFocus, ModelConfig
from adafocus.method.v1 import STAGES, Exploration, StagedAdaFocus, ppo_loss, rewards, stage_loss
from adafocus.run.metrics import box_in_patch
from adafocus.trainer.checkpoints import checkpoints

TINY = ModelConfig(num_classes=2, num_frames=STEPS, frame_size=SIZE, patch_size=PATCH, global_encoder='small_global', local_encoder='small_local', policy='grid', policy_channels=16,
                   policy_hidden=32, classifier_hidden=32, feature_reuse=False)


def taught(stage, state, steps, fair=True, **settings):
    "A model after so many steps of a stage. fair: rewards are those of the video, not of another one."
    torch.manual_seed(0)
    model = StagedAdaFocus(TINY, stage, **settings)
    if state: model.load_state_dict(state)
    learns = stage in ('policy', 'skip')
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3) if learns else torch.optim.SGD(model.parameters(), lr=.05, momentum=.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x, y, _ = videos(24, generator)
        outputs = model.train()(x)
        if learns and not fair: loss = ppo_loss(outputs[0], rewards(outputs[0], y).roll(1, 0))[0]
        else: loss = stage_loss(outputs, y)[0]
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    return model.eval()


def patch_hits(model):
    frames, _, boxes = videos(200, torch.Generator().manual_seed(1))
    with torch.no_grad(): return box_in_patch(model(frames).positions, boxes, SIZE, PATCH)[0].float().mean().item()


@pytest.fixture(scope='module')
def recogniser():
    "After stage 1: recognises patches, does not know where to look."
    return taught('random_patches', taught('pretrain_global', None, 60).state_dict(), 120).state_dict()


def test_reward_teaches_the_policy_to_look(recogniser):
    before, model = looking(taught('policy', recogniser, 0)), taught('policy', recogniser, 150)
    after = looking(model)
    assert before < .5 and after > .75, (before, after)
    same = model.state_dict()
    assert all(torch.equal(same[name], x) for name, x in recogniser.items() if not name.startswith('policy.')), 'the stage has changed what it does not train'


def test_rewards_of_other_videos_do_not(recogniser):
    "The control: the same numbers, for the choices of another video."
    after = looking(taught('policy', recogniser, 150, fair=False))
    assert after < .5, after


def test_a_dearer_look_is_taken_less_often(recogniser):
    from adafocus.method.v1 import skipping
    trained, frames = taught('policy', recogniser, 150).state_dict(), videos(200, torch.Generator().manual_seed(1))[0]
    looks = []
    for cost in (-.2, .5):
        model = taught('skip', trained, 80, skip_cost=cost)
        with torch.no_grad(): looks.append(skipping(model, frames)[1].float().mean().item())
    assert looks[0] > .9 and looks[1] < .3, looks                       # one in four is the first frame, which has no choice


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


def test_each_stage_changes_what_it_trains_and_nothing_else(staged):
    names = list(STAGES)
    for before, after in zip(names, names[1:]):
        a, b = (load_file(checkpoints(staged/name)[-1]/'model.safetensors') for name in (before, after))
        start = load_file(staged/before/'model.safetensors')
        assert a.keys() == b.keys()
        changed = {name for name in b if not torch.equal(b[name], start[name])}
        assert changed and all(any(f'{name}.'.startswith(f'{part}.') for part in STAGES[after]) for name in changed), (after, changed)


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


@pytest.mark.parametrize('stage', ['pretrain_local', 'policy', 'skip'])
def test_two_processes_train_a_stage(forking, staged, tiny, tmp_path, stage):
    init = list(STAGES)[list(STAGES).index(stage) - 1]
    args = ['--data', tiny, '--out', tmp_path/'run', *STAGE, '--stage', stage, *(ADAM if stage in ('policy', 'skip') else ()), '--init', staged/init]
    statuses, said = forking.ranks(2, 'signal_at', 10**6, *args)
    assert statuses == [0, 0], said
    found, start = load_file(tmp_path/'run'/'model.safetensors'), load_file(staged/init/'model.safetensors')
    assert any(not torch.equal(x, start[name]) for name, x in found.items())
    AdaFocus(ModelConfig(num_classes=10, num_frames=4, frame_size=112, patch_size=48, global_size=28, global_encoder='small_global', local_encoder='small_local', policy='grid', policy_channels=16,
                         policy_hidden=32, classifier_hidden=64, feature_reuse=False)).load_state_dict(found)


@pytest.mark.parametrize('args, words', [(('--policy', 'grid'), 'no gradient to be trained end to end'), (('--stage', 'policy'), 'policy is gru; stage policy needs grid'), (('--stage', 'polcy'), 'did you mean policy?'),
                                         (('--policy', 'video_grid', '--stage', 'fine_tune'), 'both must answer')])
def test_what_cannot_be_a_stage_is_one_sentence(tiny, tmp_path, args, words):
    done = run('python', '-m', 'adafocus.train', '--data', tiny, '--out', tmp_path/'run', *SMALL, *args, **CPU)
    assert done.returncode == 2 and words in done.stderr and 'Traceback' not in done.stderr, done.stderr
    assert not (tmp_path/'run'/'model.safetensors').exists()


def test_what_an_exploration_is_worth():
    "By hand: three choices, confidences 0.5 to 0.8 instead of 0.5, 0.6, 0.4, later ones counting 0.7 times."
    def logits(*p): return torch.tensor([[[torch.logit(torch.tensor(x)).item(), 0.] for x in p]])
    found = Exploration(logits(.5, .7, .8), logits(.5, .6, .4), torch.tensor([[0., .05, 0.]]), torch.ones(1, 3, dtype=bool), torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, 3))
    torch.testing.assert_close(rewards(found, torch.tensor([0])), torch.tensor([[0., .05, .4]]))
    torch.testing.assert_close(rewards(found, torch.tensor([1])), torch.tensor([[0., -.15, -.4]]))
