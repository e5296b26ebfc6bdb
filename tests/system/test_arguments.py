"Command lines: one sentence and status 2 for what is wrong, help for who asks."
import contextlib
import io
from dataclasses import dataclass, field

import pytest

from adafocus.run.command_line import parse_config
from adafocus.system.arguments import read_arguments, read_options
from adafocus.system.ending import command, end_failed, exit_status


def refused(*args):
    with contextlib.redirect_stderr(io.StringIO()) as said, pytest.raises(SystemExit) as end: parse_config(list(args), 'adafocus.train')
    assert end.value.code == 2
    lines = said.getvalue().splitlines()
    assert len(lines) == 1 and lines[0].startswith('adafocus.train: '), lines
    return lines[0]


@pytest.mark.parametrize('args, says', [
    (['--patch-sise', '32'], 'did you mean --patch-size?'), (['--patchsize', '30'], '--patch-size'), (['--epochs', 'many'], '--epochs'),
    (['--lr'], "'--lr'"), (['--data'], "'--data'"), (['--decoder', 'pyva'], 'pyav'), (['--mixed-precision', 'bf61'], 'bf16'), (['--zzz'], '--zzz'),
    (['train'], 'train'), (['--preset', 'nedle'], 'mn2rn-p96, needle, rn-p128'), (['--patch-size', '300'], 'patch_size is 300'),
    (['--data', 'kinetic:/videos'], 'did you mean kinetics'), (['--decode-timeout', '-1'], 'decode_timeout is -1'),
    (['--preset', 'needle', '--policy', 'grid'], 'no gradient to be trained end to end'), (['--stage', 'finetune'], 'fine_tune'),
    (['--init', ''], "init is ''"), (['--init', '/nowhere.pth'], 'does not exist'), (['--config', '/nowhere'], "config is '/nowhere'"),
    (['--config', '/nowhere', '--preset', 'needle'], 'the values can start from one of them'), (['--resume', '/nowhere'], 'holds no config.yaml'),
])
def test_what_is_wrong_is_one_sentence(args, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in refused(*args)
    assert not list(tmp_path.iterdir())                                                      # no folder is left


def test_help_shows_the_groups(capsys):
    for args in (['--help'], ['--preset', 'mn2rn-p96', '-h']):
        with pytest.raises(SystemExit) as end: parse_config(args, 'adafocus.train')
        said = capsys.readouterr().out
        assert not end.value.code and 'model options' in said and 'data options' in said and '--resume' in said
    assert '96' in said                                                                      # the preset's own value


def test_a_command_of_ones_own():
    def crop(patch_size:int=96): return patch_size
    assert read_arguments(crop, ['--patch-size', '3'])() == 3
    with pytest.raises(ValueError, match='many'): read_arguments(crop, ['--patch-size', 'many'])


@dataclass
class Machine: threads: int = 2


@dataclass
class Options:
    seeds: int = 3
    machine: Machine = field(default_factory=Machine)


def test_a_dataclass_within_a_dataclass_keeps_its_defaults():
    assert read_options(Options, []) == Options()
    assert read_options(Options, ['--machine.threads', '1']) == Options(machine=Machine(1))
    with pytest.raises(ValueError, match='many'): read_options(Options, ['--seeds', 'many'])


class Expected(Exception): status = 3


@pytest.mark.parametrize('error, status', [(ValueError('x'), 2), (OSError('x'), 1), (Expected('x'), 3), (KeyboardInterrupt(), 130)])
def test_expected_errors_end_with_a_status(error, status, capsys):
    with pytest.raises(SystemExit) as end, command('adafocus.x'): raise error
    assert end.value.code == status == exit_status(error) and capsys.readouterr().err.startswith('adafocus.x: ')


def test_bugs_pass():
    with pytest.raises(TypeError), command('adafocus.x'): raise TypeError
    with pytest.raises(TypeError): end_failed(TypeError(), 'adafocus.x')
