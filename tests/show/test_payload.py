"What is sent to a page, and the traces it is made from."
import json
import shutil

import numpy as np
import pytest
from shown_run import shown_run

from adafocus.data.video.files import VideoError
from adafocus.method.model import AdaFocus
from adafocus.run.config import save_config
from adafocus.run.folder import save_weights
from adafocus.run.presets import preset
from adafocus.show.page.example import example_stops, example_trace
from adafocus.show.page.payload import PayloadTooLarge, budget_stop_numbers, jpegs, shown_name, trace_numbers
from adafocus.show.traces import Tracer, read_budget_stops


@pytest.fixture(scope='module')
def made_run(tmp_path_factory, tiny): return shown_run(tmp_path_factory.mktemp('traced')/'run', tiny)


def test_the_made_up_video_has_the_keys_of_a_real_one(made_run):
    run, data, _ = made_run
    real, tracer = trace_numbers(Tracer(run)(data.val[0]), read_budget_stops(run)), example_stops()
    made = trace_numbers(example_trace(), tracer)
    assert made.keys() == real.keys() and made['looks'].keys() == real['looks'].keys()
    assert made['looks']['learned'].keys() == real['looks']['learned'].keys()
    assert set(tracer) == set(read_budget_stops(run)) and set(tracer['stops'][0]) == set(read_budget_stops(run)['stops'][0])


def test_numbers_are_those_of_the_trace(made_run):
    run, data, _ = made_run
    tracer = Tracer(run)
    trace = tracer(data.val[3])
    numbers = trace_numbers(trace, tracer.budget_stops)
    assert numbers['looks']['learned']['top'][0][0][0] == int(trace.looks['learned'].probabilities[0].argmax())
    assert len(numbers['truth']) == 8 and all(b is None or v for b, v in zip(numbers['truth'], trace.visible))
    assert json.dumps(numbers, allow_nan=False)
    assert np.allclose(trace.boxes, data.val[3].boxes[trace.numbers], atol=1e-3)               # 112 pixels in, 112 out


def test_frames_fit_the_limit():
    noise = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    assert sum(map(len, jpegs(noise, 200))) <= 200*1024
    with pytest.raises(PayloadTooLarge, match='4 frames of 224 x 224 are .* limit_kb is 20'): jpegs(noise, 20)


@pytest.mark.parametrize('odd', ['../../etc/x', 'a\nb', '\u202egpj.mp4', '', '\0', 'x'*300, '<img onerror=1>'])
def test_any_name_can_be_shown(odd): assert shown_name(odd).isprintable() and 0 < len(shown_name(odd)) <= 60


def test_thresholds_that_mean_nobody_or_everybody_are_null():
    assert budget_stop_numbers(None) is None
    stops = budget_stop_numbers(example_stops())['stops']
    assert all(s['thresholds'][-1] is None for s in stops) and stops[-1]['thresholds'] == [None]*8


def test_runs_without_budgets_or_with_old_or_damaged_ones(made_run, tmp_path):
    run, data, config = made_run
    bare = tmp_path/'bare'
    bare.mkdir()
    for name in ('config.yaml', 'model.safetensors'): shutil.copy(run/name, bare/name)
    assert read_budget_stops(bare) is None
    assert not trace_numbers(Tracer(bare)(data.val[0].path), None)['looks']['random']['exits']
    other = tmp_path/'other'
    shutil.copytree(run, other)
    known = json.loads((other/'budgets.json').read_text())
    (other/'budgets.json').write_text(json.dumps({k: v for k, v in known.items() if k != 'budget_stops'}))
    assert [s['budget'] for s in read_budget_stops(other)['stops']] == [.03, .05, read_budget_stops(run)['costs'][-1]]
    (other/'budgets.json').write_text('{"budgets": 3}')
    with pytest.raises(ValueError, match='budgets.json cannot be used'): read_budget_stops(other)
    (tmp_path/'no.mp4').write_bytes(b'#EXTM3U\n')
    with pytest.raises(VideoError, match='a playlist'): Tracer(run)(tmp_path/'no.mp4', careful=True)


def test_a_model_that_predicts_once(made_run, tmp_path):
    config, data = preset('needle'), made_run[1]
    config.model.policy, config.model.classifier, config.model.focus_frames = 'mlp', 'average', 12
    config.classes, config.data.reorder = data.classes, False
    save_config(config, tmp_path/'config.yaml')
    save_weights(AdaFocus(config.model), tmp_path/'model.safetensors')
    trace = Tracer(tmp_path)(data.val[0])
    assert trace.frames.shape[0] == 12 and trace.looks['learned'].probabilities.shape == (1, 10)
    assert trace.looks['random'].boxes.shape == (12, 4) and trace_numbers(trace, None)['looks']['learned']['exits'] == []
