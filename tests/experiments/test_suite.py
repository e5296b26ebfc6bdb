"What is planned: an order in which it can be trained, and the configurations that the shown results were made with."
import json
from dataclasses import asdict, replace

import pytest
from conftest import ROOT

from adafocus.experiments.__main__ import config_for_results, plan_hash
from adafocus.experiments.results import Results
from adafocus.experiments.suite import EXPERIMENTS, laptop_scale, needed, paper_scale, plan_runs, whole_run
from adafocus.method.v1 import STAGES
from adafocus.run.config import Config

RESULTS = ROOT/'nbs'/'results'/'laptop.jsonl'


@pytest.mark.parametrize('scale', [laptop_scale, paper_scale])
def test_each_run_comes_after_the_one_it_starts_from(scale):
    runs, stages = plan_runs(scale()), list(STAGES)
    names = list(runs)
    for p in runs.values():
        if not p.after: continue
        assert names.index(p.after) < names.index(p.name) and p.config.model.weights == 'none'
        stage, before = p.config.train.stage, runs[p.after].config.train.stage
        assert stage == 'skip' or stages.index(stage) > stages.index(before)


def test_the_last_step_of_the_ablation_is_frame_order_alone():
    runs = plan_runs(laptop_scale())
    whole, before = runs[whole_run(laptop_scale())].config, runs['ablation + stop-gradient'].config
    assert whole.model == before.model
    assert (whole.data.reorder, before.data.reorder) == (True, False)


def test_experiments_need_their_runs_and_no_others():
    scale = laptop_scale()
    assert [p.name for p in needed(scale, ['exits'])] == ['v2 36']
    first = [p.name for p in needed(scale, ['skipping'])][:3]
    assert first == ['v1 pretrain_global', 'v1 pretrain_local', 'v1 36 random_patches']
    assert {p.task for p in needed(paper_scale(), ['skipping'])} == {'looks'}
    assert {p.name for p in needed(scale, list(EXPERIMENTS))} == set(plan_runs(scale))


def test_shown_results_are_those_of_the_plan():
    "Each run in the saved results has the configuration that would be run today, for every seed; each experiment is measured."
    results, scale = Results(RESULTS), laptop_scale()
    planned = {p.name: p for p in needed(scale, list(EXPERIMENTS))}
    free = {'num_classes', 'data', 'flip', 'workers', 'decode_timeout'}
    assert results.seeds() >= 3
    for seed in range(results.seeds()):
        runs = {x['run']: x['config'] for x in results.runs if x['seed'] == seed}
        assert set(planned) <= set(runs)
        for name, p in planned.items():
            wanted, seen = config_for_results(replace(p.config, seed=seed)), runs[name]
            for group in ('model', 'train', 'data'):
                defaults = asdict(getattr(Config(), group))       # a setting that came later, at its default, changes nothing
                differs = {k for k, v in wanted[group].items() if seen[group].get(k, defaults[k]) != v} - free
                assert not differs, (name, differs)
            assert seen['seed'] == seed
        for e in EXPERIMENTS: assert results.rows(e, seed=seed), (e, seed)
    text = RESULTS.read_text()
    assert not [folder for folder in ('/tmp', '/root', '/home') if folder in text]


def test_shown_results_have_the_hashes_of_the_plan():
    "What was measured would not be measured again."
    lines = [json.loads(line) for line in RESULTS.open()]
    saved = {(line['experiment'], line['plan']) for line in lines if line['kind'] == 'result'}
    scale = laptop_scale()
    assert saved == {(e, plan_hash(scale, e)) for e in EXPERIMENTS}
    other = replace(scale, patch_sizes=(28, 32, 48))
    assert plan_hash(other, 'exits') != plan_hash(scale, 'exits')                          # control
