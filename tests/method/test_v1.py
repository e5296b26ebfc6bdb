"AdaFocusV1: its losses, its stages, and whether reward teaches the policy to look."
from dataclasses import replace

import pytest
import torch
from squares import PATCH, SIZE, STEPS, videos

from adafocus.method.model import AdaFocus, ModelConfig
from adafocus.method.v1 import STAGES, Exploration, StagedAdaFocus, ppo_loss, returns, rewards, skipping, stage_loss
from adafocus.run.metrics import box_in_patch

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
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def patch_hits(model):
    frames, _, boxes = videos(200, torch.Generator().manual_seed(1))
    with torch.no_grad(): return box_in_patch(model(frames).positions, boxes, SIZE, PATCH)[0].float().mean().item()


@pytest.fixture(scope='module')
def recogniser():
    "After stage 1: recognises patches, does not know where to look."
    return taught('random_patches', taught('pretrain_global', None, 60).state_dict(), 120).state_dict()


def test_reward_teaches_the_policy_to_look(recogniser):
    before, model = patch_hits(taught('policy', recogniser, 0)), taught('policy', recogniser, 150)
    after = patch_hits(model)
    assert before < .5 and after > .75, (before, after)
    same = model.state_dict()
    assert all(torch.equal(same[name], x) for name, x in recogniser.items() if not name.startswith('policy.')), 'the stage has changed what it does not train'


@pytest.mark.slow
def test_rewards_of_other_videos_do_not(recogniser):
    "The control: the same numbers, for the choices of another video."
    after = patch_hits(taught('policy', recogniser, 150, fair=False))
    assert after < .5, after


@pytest.mark.slow
def test_a_dearer_look_is_taken_less_often(recogniser):
    trained, frames = taught('policy', recogniser, 150).state_dict(), videos(200, torch.Generator().manual_seed(1))[0]
    looks = []
    for cost in (-.2, .5):
        model = taught('skip', trained, 80, skip_cost=cost)
        with torch.no_grad(): looks.append(skipping(model, frames)[1].float().mean().item())
    assert looks[0] > .9 and looks[1] < .3, looks                       # one in four is the first frame, which has no choice


def test_what_an_exploration_is_worth():
    "By hand: three choices, confidences 0.5 to 0.8 instead of 0.5, 0.6, 0.4, later ones counting 0.7 times."
    def logits(*p): return torch.tensor([[[torch.logit(torch.tensor(x)).item(), 0.] for x in p]])
    exploration = Exploration(logits(.5, .7, .8), logits(.5, .6, .4), torch.tensor([[0., .05, 0.]]), torch.ones(1, 3, dtype=bool), torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, 3))
    torch.testing.assert_close(rewards(exploration, torch.tensor([0])), torch.tensor([[0., .05, .4]]))
    torch.testing.assert_close(rewards(exploration, torch.tensor([1])), torch.tensor([[0., -.15, -.4]]))


def exploration_of(log_probabilities, free=None):
    free = torch.ones(2, 2, dtype=bool) if free is None else free
    return Exploration(None, None, None, free, log_probabilities, torch.zeros(2, 2), torch.zeros(2, 2))


REWARD = torch.tensor([[1., 0.], [0., .5]])


def gradient_of_ppo(before=None, free=None):
    "The gradient of the loss's policy term with respect to the log-probabilities, and the advantages."
    log_probabilities = torch.tensor([[-1., -2.], [-1.5, -.5]], requires_grad=True)
    if before is not None: before = log_probabilities.detach() + before
    ppo_loss(exploration_of(log_probabilities, free), REWARD, before=before, value=0., entropy=0.)[0].backward()
    return log_probabilities.grad


def advantages():
    worth = returns(REWARD)
    return (worth - worth.mean())/(worth.std(correction=0) + 1e-6)


def test_one_update_has_the_gradient_of_plain_policy_gradient():
    torch.testing.assert_close(gradient_of_ppo(), -advantages()/4)


def test_far_from_the_old_policy_the_clip_leaves_no_gradient():
    assert gradient_of_ppo(before=-advantages().sign()).abs().max() == 0


def test_frames_without_a_choice_teach_nothing():
    grad = gradient_of_ppo(free=torch.tensor([[True, False], [True, False]]))
    assert grad[:, 1].abs().max() == 0


SMALLEST = ModelConfig(num_classes=5, num_frames=4, frame_size=32, patch_size=16, global_size=16, policy='grid',
                       global_encoder='small_global', local_encoder='small_local', policy_channels=8, policy_hidden=32, classifier_hidden=32)
ONCE = replace(SMALLEST, policy='video_grid', classifier='average', temporal_shift=True)


@pytest.fixture
def frames():
    torch.manual_seed(0)
    return torch.randn(3, 4, 3, 32, 32)


def test_weights_pass_into_adafocus(frames):
    plain, staged = AdaFocus(SMALLEST).eval(), StagedAdaFocus(SMALLEST, 'fine_tune')
    staged.load_state_dict(plain.state_dict())
    with torch.no_grad(): assert torch.equal(staged.eval()(frames).logits, plain(frames).logits)


@pytest.mark.parametrize('stage', STAGES)
def test_every_stage_predicts_after_every_frame(frames, stage):
    with torch.no_grad(): assert StagedAdaFocus(SMALLEST, stage).eval()(frames).logits.shape == (3, 4, 5)


@pytest.mark.parametrize('stage', list(STAGES)[:-1])
def test_every_stage_trains_with_one_answer_a_video(frames, stage):
    model = StagedAdaFocus(ONCE, stage).train()
    stage_loss(model(frames), torch.tensor([0, 1, 2]))[0].backward()
    assert any(p.grad is not None for p in model.parameters())
    with torch.no_grad(): assert model.eval()(frames).logits.shape == (3, 1, 5)


def test_skipping_trains_its_two_heads_alone(frames):
    model = StagedAdaFocus(SMALLEST, 'skip').train()
    stage_loss(model(frames), torch.tensor([0, 1, 2]))[0].backward()
    assert {name.split('.')[1] for name, p in model.named_parameters() if p.grad is not None} == {'skip_actor', 'skip_critic'}


@pytest.mark.parametrize('config, stage, says', [
    (SMALLEST, 'stage 2', "stage is 'stage 2'"), (replace(SMALLEST, policy='gru'), 'policy', 'policy is gru; stage policy needs grid'),
    (ONCE, 'skip', 'stage is skip, which needs'), (replace(SMALLEST, policy='video_grid'), 'fine_tune', 'both must answer')])
def test_a_stage_that_a_model_cannot_have(config, stage, says):
    with pytest.raises(ValueError, match=says): StagedAdaFocus(config, stage)


def test_a_model_that_cannot_skip(frames):
    with pytest.raises(ValueError, match='only grid and max_pool can skip frames'): skipping(AdaFocus(replace(SMALLEST, policy='video_grid')), frames)
