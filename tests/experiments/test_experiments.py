"The command: stopped and repeated, measured without runs, with several seeds; and runs of other values."
import json
import os
import signal
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from accelerate import Accelerator

from adafocus.experiments import suite
from adafocus.experiments.__main__ import main
from adafocus.experiments.results import Results, read_results
from adafocus.experiments.workbench import Machine, Workbench
from adafocus.method.v1 import STAGES
from adafocus.trainer import loop
from adafocus.trainer.signals import StopSignals

NAMES = 'policies', 'skipping'                    # seven runs where there is one size to skip at


def small(): return replace(suite.miniature_scale(), name='small', patch_sizes=(16, 20))


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ADAFOCUS_CACHE', str(tmp_path_factory.mktemp('cache')))
        patch.setenv('TQDM_DISABLE', '1')
        patch.setitem(suite.SCALES, 'small', small)
        for task in small().datasets: small().data(task, {})
        yield


def experiments(out, *names, scale='small', seeds=1):
    "Run the command in this process; the folder of results."
    main([*names, '--scale', scale, '--seeds', str(seeds), '--out', str(out)])
    return out/scale


def bare(x):
    "Without times and moments."
    volatile = 'speedup', 'environment', 'when', 'took', 'videos_per_second'
    if isinstance(x, dict): return {k: bare(v) for k, v in x.items() if 'second' not in k and k not in volatile}
    return [bare(v) for v in x] if isinstance(x, list) else x


def rows(folder): return sorted(json.dumps(bare(x), sort_keys=True) for x in read_results(folder/'results.jsonl'))


@pytest.fixture(scope='module')
def whole(cache, tmp_path_factory): return experiments(tmp_path_factory.mktemp('whole'), *NAMES)   # undisturbed


def stop_at_batch(monkeypatch, number):
    "Send this process a signal while this batch is trained on."
    taken, real = [0], loop.training_loss
    def interrupted(*args):
        taken[0] += 1
        if taken[0] == number: signal.raise_signal(signal.SIGTERM)
        return real(*args)
    monkeypatch.setattr(loop, 'training_loss', interrupted)


def stopped_and_repeated(out, monkeypatch, batch, again):
    "Stop `again()` at a batch, then call it again."
    stop_at_batch(monkeypatch, batch)
    with pytest.raises(SystemExit) as e: again()
    assert e.value.code == 143
    before = len(list((out/'seed-0').iterdir()))
    again()
    assert 0 < before < len(list((out/'seed-0').iterdir()))


@pytest.mark.slow
def test_stopped_it_goes_on_where_it_was(whole, tmp_path, monkeypatch):
    "A signal in the third run; then the same command again."
    stopped_and_repeated(tmp_path/'small', monkeypatch, 11, partial(experiments, tmp_path, *NAMES))
    assert rows(tmp_path/'small') == rows(whole)


def test_what_has_been_measured_needs_no_runs(whole, tmp_path, capsys):
    "The runs are gone, and a line was cut in the middle: that measurement alone is done again."
    (tmp_path/'small').mkdir()
    lines = (whole/'results.jsonl').read_text().splitlines(keepends=True)
    at = next(k for k, line in enumerate(lines) if json.loads(line).get('experiment') == 'policies')
    (tmp_path/'small'/'results.jsonl').write_text(''.join(lines[:at] + lines[at + 1:]) + lines[at][:50])
    capsys.readouterr()
    folder = experiments(tmp_path, *NAMES)
    assert [p.name for p in (folder/'seed-0').iterdir()] == ['policies']
    said = capsys.readouterr().out
    assert 'measuring policies' in said and 'measuring skipping' not in said
    assert rows(folder) == rows(whole)


def test_seeds_differ_and_variants_of_a_seed_start_alike(whole, tmp_path):
    results = Results(experiments(tmp_path, 'policies', seeds=2)/'results.jsonl')
    assert results.seeds() == 2 and {x['seed'] for x in results.rows('policies')} == {0, 1}
    one, two = ([x for x in results.runs if x['seed'] == s][0]['config'] for s in (0, 1))
    assert one['seed'] != two['seed'] and one | dict(seed=0) == two | dict(seed=0)
    first = Results(whole/'results.jsonl').rows('policies')
    assert [x['score'] for x in results.rows('policies', seed=0)] == [x['score'] for x in first]


def test_a_run_of_other_values_is_not_taken(cache, tmp_path):
    bench = Workbench(small(), tmp_path, {}, Machine(), Accelerator(cpu=True), StopSignals())
    planned = suite.needed(small(), ['exits'])[0]
    bench.train(planned, 0)
    kept = (bench.folder(planned.name, 0)/'model.safetensors').read_bytes()
    config = replace(planned.config, train=replace(planned.config.train, epochs=3, lr=.2))
    with pytest.raises(ValueError, match=r'run of other values \(epochs, lr\)'): bench.train(replace(planned, config=config), 0)
    assert (bench.folder(planned.name, 0)/'model.safetensors').read_bytes() == kept
    bench.machine = Machine(workers=1, accumulate=2)                           # that is another machine, not another run
    assert bench.train(planned, 0) == bench.folder(planned.name, 0)


def check_rows(folder, scale):
    "No path, shares between 0 and 1; V1+ looks at some frames, and V2+ costs no more than all frames."
    text, results = (folder/'results.jsonl').read_text(), Results(folder/'results.jsonl')
    assert str(folder) not in text and os.getcwd() not in text
    assert not any('/' in x['config']['data']['data'] for x in results.runs)
    for x in results.lines:
        if x['kind'] == 'result': assert all(0 <= s <= 1 for s in np.atleast_1d(x.get('score', 0)))
    for size in scale.patch_sizes[1:]:
        v1, plus, exits = (results.rows('skipping', variant=v, patch_size=size) for v in ('V1', 'V1+', 'V2+'))
        assert all(1 <= x['looks'] <= scale.looks.model.num_frames for x in plus) and plus
        assert all(x['gflops'] <= v1[0]['gflops']*1.001 for x in exits)
    return results


def test_rows_are_plausible_and_have_no_paths(whole):
    results = check_rows(whole, small())
    assert {x['run'] for x in results.runs} == {p.name for p in suite.needed(small(), list(NAMES))}


@pytest.mark.thorough
def test_every_experiment_in_miniature(cache, tmp_path):
    "All runs of the scale are trained, and V1's times are the sums of its stages."
    scale = suite.miniature_scale()
    results = check_rows(experiments(tmp_path, 'all', scale='miniature'), scale)
    assert {x['run'] for x in results.runs} == set(suite.plan_runs(scale))
    for name in suite.EXPERIMENTS: assert results.rows(name), name
    for x in results.rows('v1', variant='V1'):
        assert x['seconds'] == pytest.approx(sum(stage['seconds'] for stage in x['stages'].values()), abs=1e-3)
        assert list(x['stages']) == list(STAGES)[:5]


@pytest.mark.thorough
def test_stopped_at_several_places(cache, tmp_path, monkeypatch):
    names = 'policies', 'v1', 'skipping'
    undisturbed = experiments(tmp_path/'whole', *names, scale='miniature')
    for batch in (3, 19, 29):
        out = tmp_path/str(batch)
        stopped_and_repeated(out/'miniature', monkeypatch, batch, partial(experiments, out, *names, scale='miniature'))
        monkeypatch.undo()
        assert rows(out/'miniature') == rows(undisturbed)
