"The paper's experiments: stopped and gone on with, several processes, and that the results which are shown belong to what would be run."
import json
import re
import signal
from dataclasses import replace

import numpy as np
import pytest
from accelerate import Accelerator
from conftest import ROOT

from adafocus.data.needle import NeedleConfig
from adafocus.experiments import suite
from adafocus.experiments.__main__ import config_for_results, main
from adafocus.experiments.claims import CLAIMS, check_claims, verdict
from adafocus.experiments.results import Results, read_results
from adafocus.experiments.tables import summary_table
from adafocus.experiments.workbench import Machine, Workbench
from adafocus.trainer.signals import StopSignals

RESULTS = ROOT/'nbs'/'results'/'laptop.jsonl'


def miniature():
    s = suite.laptop_scale()
    small = dict(frame_size=44, num_frames=4, global_size=12, global_encoder='small_global', policy_channels=4, policy_hidden=8, classifier_hidden=16)
    data, t = replace(s.looks.data, resize=44, workers=0, decode_timeout=0.), replace(s.looks.train, epochs=2, batch_size=8)
    looks = replace(s.looks, model=replace(s.looks.model, **small, patch_size=20), data=data, train=t)
    motion = replace(s.motion, model=replace(s.motion.model, **small, patch_size=20, focus_frames=6), data=replace(data, reorder=False), train=t)
    return suite.Scale('miniature', looks, motion, (16, 20, 24), (20,), 6, 1e-3, (.01,),
                       dict(looks=NeedleConfig(videos=30, val_share=.4, size=44), motion=NeedleConfig(videos=30, val_share=.4, size=44, task='motion')))


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ADAFOCUS_CACHE', str(tmp_path_factory.mktemp('cache')))
        patch.setenv('TQDM_DISABLE', '1')
        patch.setitem(suite.SCALES, 'miniature', miniature)
        for task in miniature().datasets: miniature().data(task, {})
        yield


def rows(path):
    "What was found, without what took how long or which moment it was."
    def bare(x): return {k: bare(v) for k, v in x.items() if 'second' not in k and k not in ('speedup', 'environment', 'when', 'took')} if isinstance(x, dict) else [bare(v) for v in x] if isinstance(x, list) else x
    return sorted(json.dumps(bare(x), sort_keys=True) for x in read_results(path))


@pytest.fixture(scope='module')
def whole(cache, tmp_path_factory):
    "Nobody disturbed these."
    out = tmp_path_factory.mktemp('whole')
    main(['policies', 'v1', 'skipping', '--scale', 'miniature', '--seeds', '1', '--out', str(out)])
    return out/'miniature'


@pytest.mark.parametrize('at', [1, 9, 14])
def test_stopped_it_goes_on_where_it_was(whole, tmp_path, monkeypatch, at):
    "A signal while a batch is trained on, several runs into it; then the same command again."
    from adafocus.trainer import loop
    args, taken, real = ['policies', 'v1', 'skipping', '--scale', 'miniature', '--seeds', '1', '--out', str(tmp_path)], [0], loop.forward
    def interrupted(*a, **k):
        taken[0] += 1
        if taken[0] == 2*at + 1: signal.raise_signal(signal.SIGTERM)
        return real(*a, **k)
    monkeypatch.setattr(loop, 'forward', interrupted)
    with pytest.raises(SystemExit) as e: main(args)
    assert e.value.code == 143
    before = len(list((tmp_path/'miniature'/'seed-0').iterdir()))
    main(args)
    assert 0 < before < len(list((tmp_path/'miniature'/'seed-0').iterdir()))
    assert rows(tmp_path/'miniature'/'results.jsonl') == rows(whole/'results.jsonl')


def test_what_has_been_measured_needs_no_runs(whole, tmp_path, capsys):
    "The runs are gone, and a line was cut in the middle: that measurement alone is done again."
    (tmp_path/'miniature').mkdir()
    lines = (whole/'results.jsonl').read_text().splitlines(keepends=True)
    at = next(k for k, line in enumerate(lines) if json.loads(line).get('experiment') == 'policies')
    (tmp_path/'miniature'/'results.jsonl').write_text(''.join(lines[:at] + lines[at + 1:]) + lines[at][:50])
    capsys.readouterr()
    main(['policies', 'v1', 'skipping', '--scale', 'miniature', '--seeds', '1', '--out', str(tmp_path)])
    assert [p.name for p in (tmp_path/'miniature'/'seed-0').iterdir()] == ['policies']
    said = capsys.readouterr().out
    assert 'measuring policies' in said and 'measuring v1' not in said
    assert rows(tmp_path/'miniature'/'results.jsonl') == rows(whole/'results.jsonl')


def test_seeds_differ_and_variants_of_a_seed_start_alike(whole, cache, tmp_path):
    main(['policies', '--scale', 'miniature', '--seeds', '2', '--out', str(tmp_path)])
    found = Results(tmp_path/'miniature'/'results.jsonl')
    assert found.seeds() == 2 and {x['seed'] for x in found.rows('policies')} == {0, 1}
    one, two = ([x for x in found.runs if x['seed'] == s][0]['config'] for s in (0, 1))
    assert one['seed'] != two['seed'] and {k: v for k, v in one.items() if k != 'seed'} == {k: v for k, v in two.items() if k != 'seed'}
    assert [x['score'] for x in found.rows('policies', seed=0)] == [x['score'] for x in Results(whole/'results.jsonl').rows('policies')]


def test_a_run_of_other_values_is_not_taken(cache, tmp_path):
    bench = Workbench(miniature(), tmp_path, {}, Machine(), Accelerator(cpu=True), StopSignals())
    planned = suite.needed(miniature(), ['exits'])[0]
    bench.train(planned, 0)
    kept = (bench.folder(planned.name, 0)/'model.safetensors').read_bytes()
    with pytest.raises(ValueError, match=r'run of other values \(epochs, lr\)'):
        bench.train(replace(planned, config=replace(planned.config, train=replace(planned.config.train, epochs=3, lr=.2))), 0)
    assert (bench.folder(planned.name, 0)/'model.safetensors').read_bytes() == kept
    bench.machine = Machine(workers=1, accumulate=2)                             # that is another machine, not another run
    assert bench.train(planned, 0) == bench.folder(planned.name, 0)


def test_paths_do_not_get_into_results(whole):
    text = (whole/'results.jsonl').read_text()
    assert str(whole.parent) not in text and '/' not in json.dumps([x['config']['data']['data'] for x in Results(whole/'results.jsonl').runs])


def test_pauses_are_not_counted_as_work(tmp_path):
    "Stopped for most of an hour after two runs; what is summed is when something was done, a measurement's time included."
    def line(at, **more): return json.dumps(more | dict(seed=0, scale='laptop', environment=dict(time=f'2026-01-01T{at}+00:00')))
    def run(at, name, seconds): return line(at, kind='run', run=name, train_seconds=seconds - 10, val_seconds=10)
    path = tmp_path/'results.jsonl'
    path.write_text('\n'.join([run('10:00:00', 'a', 100), run('10:02:00', 'b', 70), run('11:00:00', 'c', 60), line('11:02:00', kind='result', experiment='exits', plan='x', seconds=55., rows=[dict(score=[.5])])]) + '\n')
    assert Results(path).minutes() == pytest.approx((120 + 70 + 120)/60)
    path.write_text(path.read_text().replace('11:02:00', '11:30:00'))            # measured again half an hour later
    assert Results(path).minutes() == pytest.approx((120 + 70 + 60 + 55)/60)


# --- the results that the notebooks show

def test_shown_results_are_those_of_the_plan():
    "Each run in the saved results has the configuration that would be run today, for every seed; each experiment is measured."
    found, scale = Results(RESULTS), suite.laptop_scale()
    planned = {p.name: p for p in suite.needed(scale, list(suite.EXPERIMENTS))}
    assert found.seeds() >= 3
    for seed in range(found.seeds()):
        runs = {x['run']: x['config'] for x in found.runs if x['seed'] == seed}
        assert set(planned) <= set(runs)
        for name, p in planned.items():
            wanted, seen = config_for_results(replace(p.config, seed=seed)), runs[name]
            for group in ('model', 'train', 'data'):
                differs = {k for k, v in wanted[group].items() if seen[group].get(k) != v} - {'num_classes', 'data', 'flip', 'workers', 'decode_timeout'}
                assert not differs, (name, differs)
            assert seen['seed'] == seed
        for e in suite.EXPERIMENTS: assert found.rows(e, seed=seed), (e, seed)
    assert '/tmp' not in RESULTS.read_text() and '/root' not in RESULTS.read_text() and '/home' not in RESULTS.read_text()


def test_shown_results_add_up():
    "What can be checked without training: shares are shares, seconds are sums, random exit costs what early exit does, GFLOPs are those of the model."
    from adafocus.method.costs import count
    from adafocus.method.model import ModelConfig
    from adafocus.run.config import _build
    found = Results(RESULTS)
    for x in found.lines:
        if x['kind'] == 'result': assert all(0 <= s <= 1 for s in np.atleast_1d(x.get('score', 0)))
    for x in found.rows('v1'):
        assert abs(x['seconds'] - sum(s['seconds'] for s in x['stages'].values())) < .01 and all(s['seconds'] > 0 for s in x['stages'].values())
        config = next(r['config'] for r in found.runs if r['run'] == x['run'] and r['seed'] == x['seed'])
        assert abs(count(_build(ModelConfig, config['model'], '')).total() - x['gflops']) < 1e-5
    for seed in range(found.seeds()):
        early, random = (found.rows('exits', seed=seed, variant=v)[0] for v in ('early exit', 'random exit'))
        assert early['gflops'] == random['gflops']


def test_every_claim_is_judged_by_its_numbers():
    found = check_claims(Results(RESULTS))
    assert len(found) == len(CLAIMS) and {r['verdict'] for r in found} <= {'agrees', 'disagrees', 'not told apart'}
    assert verdict([.01, .02, .03]) == 'agrees' and verdict([-.01, -.02, -.03]) == 'disagrees' and verdict([.5, .5, -.01]) == 'not told apart'


def test_the_readme_has_what_was_found():
    rows = check_claims(Results(RESULTS))
    text = (ROOT/'README.md').read_text()
    assert summary_table(rows, 'nbs/') in text
    said = re.search(r'Of (\d+) claims (\d+) hold here, (\d+) do(?:es)? not, and for (\d+) three seeds do not tell', text)
    assert [int(n) for n in said.groups()] == [len(rows), *(sum(r['verdict'] == v for r in rows) for v in ('agrees', 'disagrees', 'not told apart'))]


def test_turned_round_a_claim_is_turned_round(tmp_path):
    "With the scores of the policies exchanged, the claims of Table 7 disagree."
    lines = [json.loads(line) for line in RESULTS.open()]
    for x in lines:
        if x['kind'] == 'result' and x['experiment'] == 'policies':
            by = {r['variant']: r for r in x['rows']}
            by['learned']['score'], by['random']['score'] = by['random']['score'], by['learned']['score']
    (tmp_path/'turned.jsonl').write_text(''.join(json.dumps(x) + '\n' for x in lines))
    before, after = ({r['claim']: r['verdict'] for r in check_claims(Results(p)) if r['where'] == 'Table 7'} for p in (RESULTS, tmp_path/'turned.jsonl'))
    assert before.keys() == after.keys() and len(before) == 5
    for claim, said in before.items():
        if said == 'agrees': assert after[claim] == 'disagrees', claim
