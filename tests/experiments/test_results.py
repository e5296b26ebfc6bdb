"What is read from the results file, and that the shown results add up."
import json

import numpy as np
import pytest
from conftest import ROOT

from adafocus.experiments.results import Results, work_minutes
from adafocus.method.costs import count
from adafocus.method.model import ModelConfig

RESULTS = ROOT/'nbs'/'results'/'laptop.jsonl'


def test_pauses_are_not_counted_as_work(tmp_path):
    "Stopped for most of an hour after two runs; the sum is of the time in which something was done, a measurement included."
    def line(at, **more):
        return json.dumps(more | dict(seed=0, scale='laptop', environment=dict(time=f'2026-01-01T{at}+00:00')))
    def run(at, name, seconds): return line(at, kind='run', run=name, train_seconds=seconds - 10, val_seconds=10)
    measured = line('11:02:00', kind='result', experiment='exits', plan='x', seconds=55., rows=[dict(score=[.5])])
    path = tmp_path/'results.jsonl'
    lines = run('10:00:00', 'a', 100), run('10:02:00', 'b', 70), run('11:00:00', 'c', 60), measured
    path.write_text('\n'.join(lines) + '\n')
    assert work_minutes(Results(path)) == pytest.approx((120 + 70 + 120)/60)
    path.write_text(path.read_text().replace('11:02:00', '11:30:00'))          # measured again half an hour later
    assert work_minutes(Results(path)) == pytest.approx((120 + 70 + 60 + 55)/60)


def test_of_two_measurements_the_later_counts(tmp_path):
    def line(score):
        return json.dumps(dict(kind='result', experiment='exits', seed=0, seconds=1., rows=[dict(score=[score])],
                               environment=dict(time='2026-01-01T10:00:00+00:00')))
    path = tmp_path/'results.jsonl'
    path.write_text(f'{line(.5)}\n{line(.7)}\n{line(.9)[:40]}')                # and a line that was cut off
    assert Results(path).values('exits') == [.7]
    with pytest.raises(KeyError, match='has no sizes'): Results(path).values('sizes')


def test_shown_results_add_up():
    "Shares are shares, seconds are sums, random exit costs what early exit does, GFLOPs are those of the model."
    results = Results(RESULTS)
    for x in results.lines:
        if x['kind'] == 'result': assert all(0 <= s <= 1 for s in np.atleast_1d(x.get('score', 0)))
    for x in results.rows('v1'):
        seconds = [stage['seconds'] for stage in x['stages'].values()]
        assert abs(x['seconds'] - sum(seconds)) < .01 and min(seconds) > 0
        config = next(r['config'] for r in results.runs if (r['run'], r['seed']) == (x['run'], x['seed']))
        assert abs(count(ModelConfig(**config['model'])).total() - x['gflops']) < 1e-5
    for seed in range(results.seeds()):
        early, random = (results.rows('exits', seed=seed, variant=v)[0] for v in ('early exit', 'random exit'))
        assert early['gflops'] == random['gflops']
