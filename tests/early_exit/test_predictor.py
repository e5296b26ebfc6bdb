"Many videos, as few frames of each as needed."
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from huggingface_hub import HfApi
from untrained import untrained_run

from adafocus.data.lazy import LazyFrames
from adafocus.data.loading import VideoDataset
from adafocus.data.transforms import normalize
from adafocus.data.video.files import VideoError
from adafocus.early_exit import predictor as predictor_module
from adafocus.early_exit.predictor import Predictor, _Batches
from adafocus.early_exit.store import save_exits, solve_exits
from adafocus.method.costs import count
from adafocus.method.crop import patch_boxes
from adafocus.run.folder import open_run
from adafocus.run.scoring import collect_logits

FIELDS = ['path', 'label', 'index', 'confidence', 'frames', 'gflops', 'threshold', 'top', 'frame_numbers', 'positions', 'boxes', 'confidences', 'probabilities']


@pytest.fixture(scope='module')
def loud(tiny, tmp_path_factory):
    "An untrained run with two budgets, solved on the twenty videos that tests give it."
    run, model, config = untrained_run(tmp_path_factory.mktemp('predictor')/'run', tiny)
    opened = open_run(run, Accelerator(cpu=True))
    logits, labels, _ = collect_logits(opened, opened.data.val)
    costs = count(config.model).per_step()
    save_exits(run, solve_exits(run, logits, labels, costs, [costs[2], costs[4]], 'the 20 videos that follow'))
    return SimpleNamespace(run=run, model=model, config=config, data=opened.data.val, videos=[v.path for v in opened.data.val], logits=logits, labels=labels, costs=costs)


@pytest.fixture
def bad(tmp_path):
    (tmp_path/'bad.mp4').write_bytes(b'no')
    return tmp_path/'bad.mp4'


@pytest.mark.parametrize('step', [2, 4])
@pytest.mark.parametrize('batch_size', [1, 3, 16])
def test_a_plans_promise_is_kept_at_any_batch_size(loud, step, batch_size):
    with Predictor(loud.run, budget=loud.costs[step], batch_size=batch_size) as predictor:
        many, plan = predictor(loud.videos), predictor.plan
        assert [p.frames for p in many] == (plan.steps(loud.logits) + 1).tolist()
        assert np.isclose(np.mean([p.gflops for p in many]), plan.cost)
        assert np.isclose(np.mean([p.index == y for p, y in zip(many, loud.labels.tolist())]), plan.score)
        if batch_size == 1: assert [predictor(v).frames for v in loud.videos[:5]] == [p.frames for p in many[:5]]


def test_the_same_numbers_as_one_pass_over_the_loaders_frames(loud):
    sample = VideoDataset(loud.data, loud.config.samples(), training=False)[0, 0]
    with torch.no_grad(): out = loud.model(normalize(sample['frames'][None]))
    full = Predictor(loud.run)(loud.videos[0])
    assert np.allclose(full.probabilities, out.logits[0].softmax(-1), atol=1e-5) and np.allclose(full.positions, out.positions[0], atol=1e-5)
    assert full.numbers.tolist() == sample['frame_numbers'].tolist()
    assert np.allclose(full.boxes, patch_boxes(out.positions[0], 112, 48), atol=1e-3)
    assert (full.frames, full.threshold) == (8, None) and np.isclose(full.gflops, loud.costs[-1])
    assert full.as_dict()['top'][0][0] == full.label and list(full.as_dict()) == FIELDS
    assert Predictor(loud.run)(loud.data[0]).label == full.label                # records of a dataset, with what a check has found
    assert [p.numbers.max() for p in Predictor(loud.run)([loud.data[0], replace(loud.data[0], frames=4)])] == [15, 3]


def test_only_what_is_needed_is_read(loud, monkeypatch):
    "The control is the same video without a threshold."
    reads, read = [], LazyFrames.read
    def counted(self, n):
        read(self, n)
        reads.append(n)
    monkeypatch.setattr(LazyFrames, 'read', counted)
    def reads_of(call):
        reads.clear()
        call()
        return list(reads)
    assert reads_of(lambda: Predictor(loud.run, thresholds=[0.]*8)(loud.videos[0])) == [1]
    assert reads_of(lambda: Predictor(loud.run)(loud.videos[0])) == list(range(1, 9))
    assert sorted(set(reads_of(lambda: Predictor(loud.run, batch_size=4)(loud.videos[:3])))) == [1, 2, 4, 8]


def test_videos_that_cannot_be_read_keep_their_places(loud, bad):
    predictor = Predictor(loud.run, budget=loud.costs[4], batch_size=2)
    mixed = predictor([bad, loud.videos[0], bad.parent/'none.mp4', loud.videos[1], bad])
    assert [type(p).__name__ for p in mixed] == ['Failed', 'Prediction', 'Failed', 'Prediction', 'Failed']
    assert 'bad.mp4' in mixed[0].error and 'none.mp4' in mixed[2].error
    assert [p.frames for p in mixed[1::2]] == (predictor.plan.steps(loud.logits)[:2] + 1).tolist()
    with pytest.raises(VideoError, match='bad.mp4'): predictor(bad)
    assert predictor([]) == []


class Now:
    "A pool that does all at once."
    def submit(self, fn, *args):
        future = Future()
        future.set_result(fn(*args))
        return future


def test_batches_are_full_where_frames_are_there(loud):
    "All but the last few; and videos at different steps share them."
    sizes, network = [], Predictor(loud.run, budget=loud.costs[4]).network
    step = network.step
    network.step = lambda frames, state: (sizes.append((len(frames), sorted(state.steps))), step(frames, state))[1]
    list(_Batches(network, loud.config.samples(), Now(), 4, loud.videos*2).finished())
    full = next((k for k, (n, _) in enumerate(sizes) if n < 4), len(sizes))
    assert len(sizes) - full <= 8 < full/2 and any(len(set(steps)) > 1 for _, steps in sizes)


def test_a_generator_that_is_left_takes_in_no_more_than_it_must(loud):
    taken, network = [], Predictor(loud.run, budget=loud.costs[4]).network
    each = _Batches(network, loud.config.samples(), Now(), 2, (taken.append(v) or v for v in loud.videos*3)).finished()
    next(each)
    each.close()
    assert 0 < len(taken) < 20


@pytest.mark.parametrize('kwargs, says', [
    (dict(budget=1e-4), 'must be at least'), (dict(budget=1.0, thresholds=[0]*8), 'can be one of them'), (dict(thresholds=[0.0]*3), 'there must be 8'),
    (dict(criterion='entropy'), 'softmax or logit'), (dict(batch_size=0), 'at least 1')])
def test_predictors_that_cannot_be(loud, kwargs, says):
    with pytest.raises(ValueError, match=says): Predictor(loud.run, **kwargs)


def test_no_run_and_other_precisions(loud, tmp_path):
    with pytest.raises(ValueError, match='holds no config.yaml'): Predictor(tmp_path)
    for precision in ('bf16', 'no'): assert len(Predictor(loud.run, budget=loud.costs[4], mixed_precision=precision)(loud.videos[:3])) == 3


@pytest.mark.parametrize('changes', [dict(temporal_shift=True, classifier='average', policy='mlp', focus_frames=12), dict(policy='mlp')], ids=['tsm', 'mlp'])
def test_models_that_need_all_frames_at_once(loud, bad, tmp_path, changes):
    run, model, config = untrained_run(tmp_path/'run', **changes)
    predictor = Predictor(run, batch_size=2)
    one, failed, _ = predictor([loud.videos[0], bad, loud.videos[1]])
    sample = VideoDataset(loud.data, replace(config.samples(), focus_frames=changes.get('focus_frames')), training=False)[0, 0]
    with torch.no_grad(): out = model(normalize(sample['frames'][None]), normalize(sample['focus'][None]) if 'focus' in sample else None)
    assert np.allclose(one.probabilities[-1], out.logits[0, -1].softmax(-1), atol=1e-5) and np.allclose(one.positions, out.positions[0], atol=1e-5)
    assert one.numbers.tolist() == sample['frame_numbers'].tolist() and type(failed).__name__ == 'Failed'
    assert np.isclose(one.gflops, count(model.config).per_step()[-1]) and predictor(loud.videos[0]).index == one.index
    with pytest.raises(ValueError, match='cannot leave a video early'): Predictor(run, budget=1.)


def test_a_model_is_given_away_and_taken(loud, tmp_path):
    "Uploads and downloads are stood in for; what is sent is what save_pretrained writes."
    predictor, given = Predictor(loud.run, budget=loud.costs[4]), tmp_path/'given'
    predictor.save_pretrained(given)
    assert str(Path(loud.run).parent) not in ''.join(p.read_text() for p in given.iterdir() if p.suffix != '.safetensors')
    sent, asked = {}, {}
    def upload(self, *, folder_path, repo_id, **kwargs): sent.update({p.name: p.read_bytes() for p in Path(folder_path).iterdir()}, to=repo_id)
    with (mock.patch.object(HfApi, 'create_repo', lambda self, repo_id, **kwargs: mock.Mock(repo_id=repo_id)), mock.patch.object(HfApi, 'upload_folder', upload)):
        predictor.push_to_hub('someone/needle')
    assert sent.pop('to') == 'someone/needle' and set(sent) == {p.name for p in given.iterdir()}
    assert all(sent[p.name] == p.read_bytes() for p in given.iterdir() if p.name != 'README.md')
    with (mock.patch('huggingface_hub.hub_mixin.hf_hub_download', return_value=str(given/'config.json')),
          mock.patch.object(predictor_module, 'snapshot_download', lambda name, **kwargs: asked.update(kwargs, name=name) or str(given))):
        taken = Predictor.from_pretrained('someone/needle', revision='v1')
    assert taken(loud.videos[0]).index == predictor.use()(loud.videos[0]).index and (asked['name'], asked['revision']) == ('someone/needle', 'v1')
    assert 'config.yaml' in asked['allow_patterns'] and not any('py' in p for p in asked['allow_patterns'])
    (given/'exit.json').unlink()
    predictor.save_pretrained(given)
    assert (given/'exit.json').exists()


@pytest.mark.slow
def test_what_a_plan_promises_a_trained_run_keeps(trained):
    "On the videos it was solved on exactly; on others within what chance allows."
    opened = open_run(trained.run, Accelerator(cpu=True))
    data, step = opened.data, trained.budgets[0]/1.5
    logits, _, _ = collect_logits(opened, data.train)
    for budget in (*trained.budgets[:2], 3*step):
        with Predictor(trained.run, budget=budget) as predictor: seen, others, plan = *(predictor([v.path for v in part]) for part in (data.train, data.val)), predictor.plan
        assert [p.frames for p in seen] == (plan.steps(logits) + 1).tolist()
        assert np.isclose(np.mean([p.gflops for p in seen]), plan.cost) and np.isclose(np.mean([p.index == v.labels[0] for p, v in zip(seen, data.train)]), plan.score)
        spent, right = np.array([p.gflops for p in others]), np.array([p.index == v.labels[0] for p, v in zip(others, data.val)])
        chance = (spent.var()/len(spent) + np.var([p.gflops for p in seen])/len(seen))**.5              # of the difference of two means
        assert abs(spent.mean() - plan.cost) < 4*chance and abs(right.mean() - plan.score) < .12
