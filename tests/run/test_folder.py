"Opening, saving and owning a run's folder."
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from adafocus.method.model import AdaFocus
from adafocus.run.config import load_config, run_folder, save_config
from adafocus.run.folder import load_run, locked_run_folder, open_run, open_run_data, report_missing, save_weights
from adafocus.run.presets import preset


@pytest.fixture
def run(tiny, tmp_path):
    "An untrained run on the tiny videos."
    config, folder = preset('needle'), tmp_path/'run'
    config.data.data, config.data.workers, config.classes = str(tiny), 0, open_run_data(replace(config, data=replace(config.data, data=str(tiny)))).classes
    folder.mkdir()
    save_config(config, folder/'config.yaml')
    save_weights(AdaFocus(config.model), folder/'model.safetensors')
    return folder


def test_data_is_found_from_elsewhere(run, tmp_path, monkeypatch):
    config, elsewhere = load_config(run/'config.yaml'), tmp_path/'elsewhere'
    for name in ('elsewhere', 'videos'): (tmp_path/name).mkdir()
    (tmp_path/'m.jsonl').touch()
    monkeypatch.chdir(elsewhere)
    def typed(out, data, manifest=None):
        save_config(replace(config, out=out, data=replace(config.data, data=data, manifest=manifest)), run/'config.yaml')
        opened = load_run(run)[1].data
        return opened.data if manifest is None else (opened.data, opened.manifest)
    assert typed('run', 'videos', 'm.jsonl') == (str(tmp_path/'videos'), str(tmp_path/'m.jsonl'))
    assert typed('run', 'needle:videos') == f'needle:{tmp_path/"videos"}'
    for out, data in (('run', 'nowhere'), (None, 'videos'), ('other/run', 'videos'), (str(run), 'videos'), ('run', str(tmp_path/'videos'))):
        assert typed(out, data) == data
    (elsewhere/'videos').mkdir()
    assert typed('run', 'videos') == 'videos'                                               # what lies here comes first


def test_weights_that_do_not_fit(run):
    save_file({'a': torch.zeros(1)}, run/'model.safetensors')
    with pytest.raises(ValueError, match='does not fit the model of config.yaml'): load_run(run)
    with pytest.raises(ValueError, match='holds no config.yaml'): load_run(run.parent)


def test_missing_videos_are_counted(run, capsys):
    config = load_config(run/'config.yaml')
    data = open_run_data(config)
    report_missing(data, config)
    assert capsys.readouterr().err == ''
    with pytest.raises(ValueError, match='more than --max-bad-share allows'): report_missing(replace(data, missing=['a.mp4']*9), config)
    assert 'a.mp4' in capsys.readouterr().err


def test_classes_must_be_those_of_the_training(run):
    assert open_run(run, Accelerator(cpu=True)).data.val
    save_config(replace(load_config(run/'config.yaml'), classes=['cat', 'dog']), run/'config.yaml')
    with pytest.raises(ValueError, match='trained on the classes cat, dog; the data now has bars'): open_run(run, Accelerator(cpu=True))


def test_a_new_run_gets_an_empty_folder(run, tmp_path):
    config, accelerator = load_config(run/'config.yaml'), Accelerator(cpu=True)
    with pytest.raises(ValueError, match='is not empty'), locked_run_folder(replace(config, out=str(run)), accelerator): pass
    with locked_run_folder(replace(config, out=str(tmp_path/'new')), accelerator) as new:
        assert load_config(new/'config.yaml').out == str(new)
        with pytest.raises(ValueError, match='in use'), locked_run_folder(config, accelerator, resume=new): pass
    with locked_run_folder(config, accelerator, resume=new) as again: assert again == new
    (tmp_path/'file').touch()
    with pytest.raises(ValueError, match='cannot be made a folder'), locked_run_folder(replace(config, out=str(tmp_path/'file')), accelerator): pass
    assert run_folder(run/'model.safetensors') == run and run_folder(tmp_path/'x.pth') == Path(tmp_path/'x.pth')
