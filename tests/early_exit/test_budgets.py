"Budgets solved and scored: on an untrained run, and on a trained one."
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from accelerate import Accelerator
from conftest import CPU, TWO_PROCESSES, command, run
from untrained import untrained_run

from adafocus import evaluate
from adafocus.data.datasets.opening import open_data
from adafocus.early_exit.budgets import budget_table, evaluate_budgets
from adafocus.early_exit.store import load_exits
from adafocus.run.config import save_config


@pytest.fixture(scope='module')
def loud(tiny, tmp_path_factory): return untrained_run(tmp_path_factory.mktemp('budgets')/'run', tiny, loud=30.)


@pytest.fixture(scope='module')
def accelerator(): return Accelerator(cpu=True)


def test_rows_agree_with_each_other(loud, accelerator):
    curve, report = evaluate_budgets(loud[0], accelerator, (.02, .04, .06), timed=0)
    stops = {row['budget']: row for row in report['budget_stops']}
    assert len(stops) >= 24 and list(stops) == sorted(stops) and {.02, .04, .06} <= set(stops)
    for row, steps in zip(report['budgets'], curve.steps):
        stop = stops[row['budget']]
        assert np.allclose((stop['score'], stop['gflops'], *stop['left']), (row['score'], row['gflops'], *row['left']), atol=1e-5)
        assert row['expected_gflops'] <= row['budget'] and np.isclose(sum(row['left']), 1, atol=1e-4) and np.isclose(row['frames'], steps.mean() + 1)
    assert 's a video' not in budget_table(report)


@pytest.mark.slow
def test_cross_validation_by_the_clock(loud, accelerator):
    _, report = evaluate_budgets(loud[0], accelerator, calibrate_on='val', timed=8)
    assert all(row['seconds'] > 0 for row in report['budgets']) and len(report['budgets']) == 6
    assert 'cross-validated' in report['solved_on'] and 's a video' in budget_table(report)
    assert json.loads((loud[0]/'budgets.json').read_text()) == report


@pytest.mark.parametrize('wrong, says', [
    (dict(budgets=(1e-4,)), 'budgets has 0.0001 GFLOPs a video; it must be at least'), (dict(budgets=(.05,), method='best'), 'geometric or search'),
    (dict(budgets=(.05,), criterion='best'), 'softmax or logit')])
def test_what_cannot_be(loud, accelerator, wrong, says):
    with pytest.raises(ValueError, match=says): evaluate_budgets(loud[0], accelerator, timed=0, **wrong)


def test_several_labels_a_video(loud, tiny, accelerator, tmp_path):
    folder, _, config = loud
    data = open_data(f'needle:{tiny}')
    label = lambda v, k: [data.classes[v.labels[0]], data.classes[(v.labels[0] + k) % 10]][:1 + k % 2]
    rows = [dict(path=str(v.path), label=label(v, k), split=split) for split, part in (('train', data.train), ('val', data.val)) for k, v in enumerate(part)]
    (tmp_path/'several.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    many = tmp_path/'many'
    shutil.copytree(folder, many)
    save_config(replace(config, data=replace(config.data, data=str(tmp_path/'several.jsonl'))), many/'config.yaml')
    _, report = evaluate_budgets(many, accelerator, (.03,), timed=0)
    assert report['metric'] == 'mAP' and 'mAP in %' in budget_table(report)
    curve, _ = evaluate_budgets(many, accelerator, (.03,), calibrate_on='val', timed=0)
    assert 0 < curve.score[0] < 1 and load_exits(many).plan(.05).metric == 'mAP'


def test_a_model_that_cannot_stop_has_no_budgets(tiny, accelerator, tmp_path):
    folder = untrained_run(tmp_path/'other', tiny, policy='mlp')[0]
    with pytest.raises(ValueError, match='cannot leave a video early, and has no budgets: its policy, mlp'): evaluate_budgets(folder, accelerator)


def test_adaptive_exit_lies_above_random_exit_and_fixed_length(trained):
    report = json.loads((trained.run/'budgets.json').read_text())
    assert report['videos'] == 200 and len(report['budgets']) == 3 and report['solved_on'] == '800 training videos'
    for row in report['budgets'][:2]: assert row['score'] > row['random'] + .03 and row['score'] > row['fixed'] + .02, row
    assert report['budgets'][2]['score'] > report['budgets'][2]['random']
    assert all(row['band'][0] <= row['score'] <= row['band'][1] and row['seconds'] > 0 for row in report['budgets'])
    for word in ('budget', 'expected', 'random', 'fixed', 's a video', 'all frames', 'budgets.png'): assert word in trained.printed
    assert (trained.run/'plots'/'budgets.png').stat().st_size > 10_000


@pytest.mark.slow
def test_two_processes_solve_and_score_as_one(trained, tmp_path):
    copy = tmp_path/'run'
    copy.mkdir()
    for name in ('config.yaml', 'model.safetensors'): shutil.copy(trained.run/name, copy/name)
    done = run('python', '-m', *TWO_PROCESSES, 'adafocus.evaluate', copy, '--budgets', *trained.budgets, '--timed-videos', 0, **CPU)
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((folder/'budgets.json').read_text()) for folder in (trained.run, copy))
    without_clock = lambda row: {k: v for k, v in row.items() if k != 'seconds'}
    assert [without_clock(row) for row in one['budgets']] == [without_clock(row) for row in two['budgets']]


@pytest.mark.parametrize('args, says', [(['--budgets', '.001'], 'budgets has 0.001 GFLOPs a video; it must be at least 0.0'), (['--budgets', '.03', '--method', 'best'], 'geometric')])
def test_what_budgets_cannot_be_on_the_command_line(trained, args, says):
    status, out, err = command(evaluate.main, trained.run, *args)
    assert status == 2 and says in out + err
