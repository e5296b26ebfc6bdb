"A run as two ONNX graphs, driven without this kit."
import json

import numpy as np
import pytest

from adafocus.data.video.readers import open_video
from adafocus.early_exit.predictor import Predictor


def drive(glance, focus, said, plan, frames):
    "Push frames through the graphs until the plan's threshold is reached: how many it took, and the class."
    def zeros(graph, name): return np.zeros([1 if d == 'batch' else d for d in said['inputs'][graph][name]], np.float32)
    state, pooled = zeros('glance.onnx', 'policy_state'), zeros('focus.onnx', 'pooled')
    for t, frame in enumerate(frames):
        e_G, position, state = glance.run(None, dict(frame=frame[None], policy_state=state))
        given = dict(frame=frame[None], position=position, e_G=e_G, pooled=pooled, step=np.array([t]))
        logits, pooled = focus.run(None, {i.name: given[i.name] for i in focus.get_inputs()})
        softmax = np.exp(logits[0] - logits[0].max())
        if (softmax/softmax.sum()).max() >= plan['thresholds'][t]: break
    return t + 1, said['classes'][int(logits.argmax())]


def test_the_graphs_stop_after_the_same_frames(trained, tmp_path, typed):
    "The graphs, driven by what export.json says alone, leave the same videos after the same frames."
    onnxruntime = pytest.importorskip('onnxruntime')
    done = typed('adafocus.export', trained.run, '--out', tmp_path/'onnx')
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path/'onnx'/'export.json').read_text())
    glance, focus = (onnxruntime.InferenceSession(str(tmp_path/'onnx'/f'{name}.onnx')) for name in ('glance', 'focus'))
    plan = next(p for p in said['plans'] if p['budget'] == trained.budgets[1])
    videos = sorted((trained.data/'val').glob('*/*.mp4'))[:12]
    with Predictor(trained.run, budget=trained.budgets[1]) as predictor: expected = predictor(videos)
    for path, p in zip(videos, expected):
        with open_video(path) as reader:
            frames = reader.read([int((k + .5)*len(reader)/said['frames']) for k in said['order']])      # of the model's size
        assert drive(glance, focus, said, plan, frames) == (p.frames, p.label)


def test_what_cannot_be_exported_is_one_sentence(tmp_path, typed):
    done = typed('adafocus.export', tmp_path)
    assert done.returncode == 2 and 'holds no config.yaml' in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
