"What the values of a run start from."
from dataclasses import replace
from pathlib import Path

import pytest

from adafocus.run.command_line import parse_config
from adafocus.run.config import DataConfig, save_config
from adafocus.run.presets import preset


@pytest.fixture
def run(tmp_path):
    save_config(replace(preset('needle'), seed=7, classes=['a', 'b'], data=replace(preset('needle').data, data='/v')), tmp_path/'config.yaml')
    return str(tmp_path)


def test_a_run_that_goes_on_may_change_some_values(run, capsys):
    for flags in (['--seed', '8'], ['--patch-size', '40'], ['--out', 'elsewhere'], ['--preset', 'mn2rn-p128']):
        with pytest.raises(SystemExit): parse_config(['--resume', run, *flags], 'adafocus.train')
        assert 'cannot be changed when a run goes on' in capsys.readouterr().err
    config, resumed, _ = parse_config(['--resume', run, '--epochs', '20'], 'adafocus.train')
    assert (config.seed, config.train.epochs, config.out, resumed) == (7, 20, run, Path(run))
    assert parse_config(['--resume', 'auto', '--out', run], 'adafocus.train')[1] == Path(run)


def test_weights_bring_their_values(run, tmp_path, capsys):
    config, *_ = parse_config(['--init', run, '--epochs', '20'], 'adafocus.train')
    assert (config.init, config.preset, config.data.data, config.classes, config.out) == (run, 'needle', '/v', [], None)
    with pytest.raises(SystemExit): parse_config(['--init', run, '--weights', 'IMAGENET1K_V1'], 'adafocus.train')
    assert 'all weights come from one of them' in capsys.readouterr().err
    evaluated = replace(preset('needle'), data=replace(preset('needle').data, val_share=1.))
    save_config(evaluated, tmp_path/'config.yaml')
    assert parse_config(['--init', run], 'adafocus.train')[0].data.val_share == DataConfig.val_share


def test_a_file_starts_a_new_run(run):
    for given in (run, run + '/config.yaml'):
        config, resumed, _ = parse_config(['--config', given, '--lr', '.5'], 'adafocus.train')
        assert (config.seed, config.data.data, config.train.lr, config.out, config.classes, resumed) == (7, '/v', .5, None, [], None)


def test_flags_are_on_or_off():
    config, _, dry_run = parse_config(['--preset', 'needle', '--compile', '--no-stop-gradient', '--dry-run', '--flip', 'None'], 'adafocus.train')
    assert config.train.compile and not config.model.stop_gradient and dry_run and config.data.flip is None
    assert parse_config(['--preset', 'needle', '--policy', 'grid', '--stage', 'policy', '--optimizer', 'adam'], 'x')[0].train.stage == 'policy'
