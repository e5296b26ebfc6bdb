"Leaving early: against the reference numbers, on a trained network, and from the command line as a person types it."
import contextlib
import io
import json
import subprocess
import sys

import numpy as np
import parity
import pytest
import tyro
from conftest import CPU, ONE_PROCESS, ROOT, TWO_PROCESSES, run

from adafocus import predict
from adafocus.data import needle
from adafocus.data.video.files import probe
from adafocus.early_exit.curve import exit_curve
from adafocus.early_exit.predictor import Predictor
from adafocus.early_exit.solver import METHODS, solve_thresholds
from adafocus.early_exit.store import load_exits

STEP = 0.005327    # GFLOPs that a step of the network below costs
BUDGETS = 1.5*STEP, 2.5*STEP, 4*STEP


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "A run on small needle videos, learned in half a minute, with thresholds for three budgets; its data; and what the evaluation of these budgets printed."
    here = tmp_path_factory.mktemp('early')
    data = needle.write_dataset(here/'needle', needle.NeedleConfig(videos=1000, val_share=.2, size=64, distractors=0), workers=2, progress=False)
    done = run('accelerate', 'launch', *ONE_PROCESS, '-m', 'adafocus.train', '--data', data, '--out', here/'run', '--epochs', 8, '--batch-size', 16, '--workers', 2, '--frame-size', 64, '--resize', 64, '--patch-size', 32, **CPU)
    assert done.returncode == 0, done.stderr
    done = run('python', '-m', 'adafocus.evaluate', here/'run', '--budgets', *BUDGETS, '--timed-videos', 8)
    assert done.returncode == 0, done.stderr
    return here/'run', data, done.stdout


def test_reference_search_is_better_where_it_looks_and_not_elsewhere():
    "The measure by which the geometric scheme is the default: held-out accuracy over ten budgets."
    kept, costs = parity.stored('early_exit'), np.arange(1, 17.)
    solve = lambda method, budgets: [solve_thresholds(kept['train_logits'], costs, b, kept['train_labels'], method) for b in budgets]
    held_out = lambda plans: exit_curve(kept['val_logits'], kept['val_labels'], costs, plans, samples=20)
    budgets = np.linspace(1.5, 15, 10)
    geometric, search = (solve(method, budgets) for method in METHODS)
    for plans in (geometric, search): assert all(p.cost <= p.budget for p in plans)
    seen = np.array([s.score - g.score for s, g in zip(search, geometric)])
    assert (seen >= 0).all() and seen.mean() > .03
    found, dense = held_out(search), held_out(solve('geometric', np.linspace(1.05, 15.9, 60)))
    order = np.argsort(dense.cost)
    elsewhere = found.score - np.interp(found.cost, dense.cost[order], dense.score[order])        # at the same cost there
    assert abs(elsewhere.mean()) < .02 < seen.mean()


def test_adaptive_exit_lies_above_random_exit_and_fixed_length(trained):
    run_folder, _, printed = trained
    found = json.loads((run_folder/'budgets.json').read_text())
    assert found['videos'] == 200 and len(found['budgets']) == 3 and found['solved_on'] == '800 training videos'
    for row in found['budgets'][:2]: assert row['score'] > row['random'] + .03 and row['score'] > row['fixed'] + .02, row
    assert found['budgets'][2]['score'] > found['budgets'][2]['random'] and all(row['band'][0] <= row['score'] <= row['band'][1] and row['seconds'] > 0 for row in found['budgets'])
    for word in ('budget', 'expected', 'random', 'fixed', 's a video', 'all frames', 'budgets.png'): assert word in printed
    assert (run_folder/'plots'/'budgets.png').stat().st_size > 10_000


def test_what_a_plan_promises_is_what_predict_does(trained):
    "On the videos it was solved on exactly, one by one; on others within what chance allows."
    from accelerate import Accelerator

    from adafocus.run.folder import load_run, open_run_data
    from adafocus.run.scoring import collect_logits
    run_folder = trained[0]
    model, config = load_run(run_folder); data = open_run_data(config)
    logits, labels, numbers, _ = collect_logits(model, data.train, config, Accelerator(cpu=True), False)
    exits = load_exits(run_folder)
    for budget in (*BUDGETS[:2], 3*STEP):
        plan = exits.plan(budget)
        with Predictor(run_folder, budget=budget) as predictor: seen, others = (predictor([v.path for v in part]) for part in (data.train, data.val))
        assert [p.frames for p in seen] == (plan.steps(logits) + 1).tolist()
        assert np.isclose(np.mean([p.gflops for p in seen]), plan.cost) and np.isclose(np.mean([p.index == v.labels[0] for p, v in zip(seen, data.train)]), plan.score)
        spent, right = np.array([p.gflops for p in others]), np.array([p.index == v.labels[0] for p, v in zip(others, data.val)])
        chance = (spent.var()/len(spent) + np.var([p.gflops for p in seen])/len(seen))**.5              # of the difference of two means
        assert abs(spent.mean() - plan.cost) < 4*chance and abs(right.mean() - plan.score) < .12


def test_two_processes_solve_and_score_as_one(trained, tmp_path):
    run_folder = trained[0]
    copy = tmp_path/'run'; copy.mkdir()
    for name in ('config.yaml', 'model.safetensors'): (copy/name).write_bytes((run_folder/name).read_bytes())
    done = run('python', '-m', *TWO_PROCESSES, 'adafocus.evaluate', copy, '--budgets', *BUDGETS, '--timed-videos', 0, **CPU)
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((folder/'budgets.json').read_text()) for folder in (run_folder, copy))
    for a, b in zip(one['budgets'], two['budgets']): assert {k: v for k, v in a.items() if k != 'seconds'} == {k: v for k, v in b.items() if k != 'seconds'}


def test_predict_from_the_command_line(trained, tmp_path):
    run_folder, data, _ = trained
    bad = tmp_path/'videos'/'notes.mp4'; bad.parent.mkdir(); bad.write_text('not a video')
    some = sorted((data/'val').glob('*/*.mp4'))[:5]
    for path in some[:2]: (bad.parent/path.name).symlink_to(path)
    lines = run('python', '-m', 'adafocus.predict', run_folder, bad.parent, f'{data}/val/bars/*.mp4', '--budget', BUDGETS[1])
    count = 2 + len(list((data/'val'/'bars').glob('*.mp4')))
    assert lines.returncode == 1 and len(lines.stdout.splitlines()) == count
    assert 'notes.mp4: not a video' in lines.stderr and f'1 of {count + 1} videos could not be read' in lines.stderr and 'Traceback' not in lines.stderr
    piped = subprocess.run([sys.executable, '-m', 'adafocus.predict', str(run_folder), '-', '--json', '--budget', str(BUDGETS[1])], input='\n'.join(map(str, [*some, bad])), capture_output=True, text=True, cwd=ROOT)
    found = [json.loads(line) for line in piped.stdout.splitlines()]
    assert [f['path'] for f in found] == [str(p) for p in [*some, bad]] and piped.returncode == 1 and 'not a video' in found[-1]['error']
    with Predictor(run_folder, budget=BUDGETS[1]) as predictor: expected = predictor(some)
    for f, p in zip(found, expected): assert (f['label'], f['frames'], f['frame_numbers']) == (p.label, p.frames, p.numbers.tolist()) and abs(f['confidence'] - p.confidence) < 1e-4
    film = run('python', '-m', 'adafocus.predict', run_folder, some[0], '--budget', BUDGETS[1], '--draw', tmp_path/'film.mp4')
    assert film.returncode == 0 and probe(tmp_path/'film.mp4').frames == 4*(expected[0].frames - 1) + 12
    assert run('python', '-m', 'adafocus.predict', run_folder, *some[:2], '--draw', tmp_path/'films').returncode == 0 and len(list((tmp_path/'films').glob('*.mp4'))) == 2


@pytest.mark.parametrize('args, says', [
    (['RUN'], 'there is no video to look at'), (['nowhere', 'a.mp4'], 'nowhere holds no config.yaml'), (['RUN', 'VIDEO', '--budget', '0.001'], 'budget is 0.001 GFLOPs a video; it must be at least 0.0'),
    (['RUN', 'VIDEO', '--budget', str(BUDGETS[1]), '--thresholds', '.5', '.5'], 'can be one of them'), (['RUN', 'VIDEO', '--thresholds', '.5', '.5'], 'there must be 8 numbers'), (['RUN', 'VIDEO', '--batch-size', '0'], 'batch_size is 0'),
    (['RUN', 'VIDEO', 'VIDEO', '--draw', 'one.mp4'], 'it may be a folder')])
def test_what_predict_cannot_do_is_said_in_a_sentence(trained, args, says, tmp_path):
    run_folder, data, _ = trained
    names = dict(RUN=run_folder, VIDEO=next((data/'val').rglob('*.mp4')))
    args = [str(tmp_path/a) if a == 'one.mp4' else names.get(a, a) for a in args]
    with contextlib.redirect_stderr(io.StringIO()) as said, pytest.raises(SystemExit) as ended: tyro.cli(predict.main, args=[str(a) for a in args])
    assert ended.value.code == 2 and says in ' '.join(said.getvalue().split())


def test_names_are_taken_as_they_come(trained):
    "A program that asks for one video, waits for the answer, and asks for the next."
    run_folder, data, _ = trained
    with subprocess.Popen([sys.executable, '-m', 'adafocus.predict', str(run_folder), '-'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        for path in sorted((data/'val').glob('*/*.mp4'))[:3]:
            process.stdin.write(f'{path}\n'); process.stdin.flush()
            assert process.stdout.readline().startswith(f'{path}: ')
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_reader_that_has_had_enough(trained):
    run_folder, data, _ = trained
    done = subprocess.run(f'{sys.executable} -m adafocus.predict {run_folder} {data}/val | head -1; echo ${{PIPESTATUS[0]}}', shell=True, executable='/bin/bash', capture_output=True, text=True, cwd=ROOT)
    assert len(done.stdout.splitlines()) == 2 and done.stdout.splitlines()[1] == '141' and 'Traceback' not in done.stderr, done.stderr


@pytest.mark.parametrize('args, says', [(['--budgets', '.001'], 'budgets has 0.001 GFLOPs a video; it must be at least 0.0'), (['--budgets', '.03', '--method', 'best'], 'geometric')])
def test_what_budgets_cannot_be(trained, args, says):
    done = run('python', '-m', 'adafocus.evaluate', trained[0], *args)
    assert done.returncode == 2 and says in done.stderr + done.stdout and 'Traceback' not in done.stderr


def test_exits_for_other_weights_are_refused(trained, tmp_path):
    run_folder, data, _ = trained
    for name in ('config.yaml', 'model.safetensors', 'exit.json', 'exit_calibration.safetensors'): (tmp_path/name).write_bytes((run_folder/name).read_bytes())
    assert run('python', '-m', 'adafocus.predict', tmp_path, next((data/'val').rglob('*.mp4')), '--budget', BUDGETS[1]).returncode == 0
    weights = bytearray((tmp_path/'model.safetensors').read_bytes()); weights[-1] ^= 1; (tmp_path/'model.safetensors').write_bytes(weights)
    done = run('python', '-m', 'adafocus.predict', tmp_path, next((data/'val').rglob('*.mp4')), '--budget', BUDGETS[1])
    assert done.returncode == 2 and 'is for other weights' in done.stderr


def test_export_and_what_leaves_the_kit(trained, tmp_path):
    "The graphs, driven by what export.json says alone, leave the same videos after the same frames."
    onnxruntime = pytest.importorskip('onnxruntime')
    run_folder, data, _ = trained
    done = run('python', '-m', 'adafocus.export', run_folder, '--out', tmp_path/'onnx')
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path/'onnx'/'export.json').read_text())
    glance, focus = (onnxruntime.InferenceSession(str(tmp_path/'onnx'/f'{name}.onnx')) for name in ('glance', 'focus'))
    plan = next(p for p in said['plans'] if p['budget'] == BUDGETS[1])
    from adafocus.data.video.readers import open_video
    videos = sorted((data/'val').glob('*/*.mp4'))[:12]
    with Predictor(run_folder, budget=BUDGETS[1]) as predictor: expected = predictor(videos)
    for path, p in zip(videos, expected):
        with open_video(path) as reader:
            numbers = [int((k + .5)*len(reader)/said['frames']) for k in said['order']]
            frames = reader.read(numbers)                                 # already of the model's size
        state, pooled = (np.zeros([1 if d == 'batch' else d for d in said['inputs'][graph][name]], np.float32) for graph, name in (('glance.onnx', 'policy_state'), ('focus.onnx', 'pooled')))
        for t, frame in enumerate(frames):
            e_G, position, state = glance.run(None, dict(frame=frame[None], policy_state=state))
            given = dict(frame=frame[None], position=position, e_G=e_G, pooled=pooled, step=np.array([t]))
            logits, pooled = focus.run(None, {i.name: given[i.name] for i in focus.get_inputs()})
            sure = np.exp(logits[0] - logits[0].max()); sure = (sure/sure.sum()).max()
            if sure >= plan['thresholds'][t]: break
        assert (t + 1, said['classes'][int(logits.argmax())]) == (p.frames, p.label)
