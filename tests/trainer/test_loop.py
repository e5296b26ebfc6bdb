"Whole trainings in this process: where they start, stop and go on, and what they do not count."
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from adafocus.data import needle
from adafocus.run.config import load_config, save_config
from adafocus.run.presets import preset
from adafocus.run.scoring import evaluate_run
from adafocus.system.files import read_lines
from adafocus.trainer import loop
from adafocus.trainer.checkpoints import checkpoints
from adafocus.trainer.loop import train
from adafocus.trainer.signals import Stopped, StopSignals
from adafocus.trainer.steps import LossNotFinite


@pytest.fixture
def config(tiny, tmp_path, monkeypatch):
    "A short run of a small model: two epochs of two steps, one batch to evaluate on."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, 'prepare_cpu', lambda: None)
    torch.set_num_threads(1)
    small = preset('needle')
    return replace(small, data=replace(small.data, data=str(tiny), workers=0), log_with='none',
                   train=replace(small.train, epochs=2, batch_size=20),
                   model=replace(small.model, num_frames=4, policy_hidden=32, classifier_hidden=64))


def trained(config, **options): return train(config, accelerator=Accelerator(cpu=True), **options)


class SignalAt(StopSignals):
    "As if a signal came while a certain batch is computed."
    def __init__(self, batch):
        super().__init__()
        self.left = batch

    def iterate(self, batches, allowed=True):
        for batch in super().iterate(batches, allowed):
            self.left -= 1
            if not self.left: self.received = 15
            yield batch


def numbers(run): return [{k: v for k, v in line.items() if not k.endswith('seconds')} for line in read_lines(Path(run)/'metrics.jsonl')]


def same(a, b):
    for name in ('model', 'optimizer'):
        one, two = (load_file(checkpoints(run)[-1]/f'{name}.safetensors') for run in (a, b))
        if one.keys() != two.keys() or not all(torch.equal(one[k], two[k]) for k in one): return False
    return True


def test_stopped_in_an_evaluation_and_again_and_again(config):
    "With a checkpoint in every step, one kept, and batches in two parts."
    again = replace(config, out='again', save_steps=1, keep=1, train=replace(config.train, accumulate=2))
    with pytest.raises(Stopped): trained(again, stop=SignalAt(5))                           # the first of the evaluation
    assert checkpoints('again')[-1].name == 'epoch-0000-step-000002'
    for batch in (1, 3, 1):
        with pytest.raises(Stopped): trained(load_config('again/config.yaml'), resume=Path('again'), stop=SignalAt(batch))
    trained(load_config('again/config.yaml'), resume=Path('again'))
    trained(replace(again, out='parts', save_steps=0))
    assert same('again', 'parts') and numbers('again') == numbers('parts') and len(numbers('parts')) == 2


def test_a_run_and_what_follows_from_it(config):
    run = trained(replace(config, out='run'))
    assert sorted(p.name for p in run.iterdir() if not p.name.startswith('.')) == \
        ['checkpoints', 'config.yaml', 'environment.jsonl', 'metrics.jsonl', 'model.safetensors', 'steps.jsonl']
    assert load_config(run/'config.yaml').classes == sorted(needle.GLYPHS)
    # evaluating the folder gives the accuracy of its best epoch
    scores = evaluate_run(run, Accelerator(cpu=True))[0]
    best = max((line['val']['accuracy'] for line in reversed(read_lines(run/'metrics.jsonl'))), key=lambda accuracy: accuracy[-1])
    assert scores['learned'].accuracy() == pytest.approx(best, abs=1e-6)
    # killed before there is a checkpoint, a run starts from the weights it was to start from, and not from random ones
    based = replace(config, out='based', init='run', train=replace(config.train, epochs=1))
    trained(based)
    Path('killed').mkdir()
    save_config(replace(based, out='killed'), 'killed/config.yaml')
    trained(load_config('killed/config.yaml'), resume=Path('killed'))
    assert same('based', 'killed')


def test_unreadable_videos_are_counted_and_named_where_a_loss_is_not_finite(config, tiny, tmp_path):
    for path in tiny.glob('*/*/*.mp4'):
        link = tmp_path/'data'/path.relative_to(tiny)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    for broken in sorted((tmp_path/'data'/'train').glob('*/*.mp4'))[:6]:
        broken.unlink()
        broken.write_bytes(b'not a video')
    config = replace(config, data=replace(config.data, data='data', max_bad_share=.2), train=replace(config.train, epochs=1))
    fine = trained(replace(config, out='fine'))
    assert 1 <= read_lines(fine/'metrics.jsonl')[0]['left_out'] <= 6
    with pytest.raises(LossNotFinite, match='data/train'):
        trained(replace(config, out='nan', train=replace(config.train, lr=1e30, epochs=3)))
    strict = replace(config, out='strict', data=replace(config.data, max_bad_share=.01))
    with pytest.raises(RuntimeError, match='more than --max-bad-share allows'): trained(strict)


def test_predictions_that_are_not_finite_are_reported_and_never_the_best(config, monkeypatch, capsys):
    real = loop.evaluate
    def spoilt(*args, **kwargs):
        scores, failures = real(*args, **kwargs)
        scores['learned'].finite[3] = False
        return scores, failures
    monkeypatch.setattr(loop, 'evaluate', spoilt)
    odd = trained(replace(config, out='odd', train=replace(config.train, epochs=1)))
    assert not (odd/'model.safetensors').exists() and json.loads((checkpoints(odd)[-1]/'state.json').read_text())['best'] == -1
    assert 'the predictions for 1 of 20 videos are not finite' in capsys.readouterr().err
