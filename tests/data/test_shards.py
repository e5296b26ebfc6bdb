"The command that makes shards, and training on them."
import json
import shutil

import pytest
from conftest import SMALL
from safetensors.torch import load_file

from adafocus.data.shards.__main__ import main
from adafocus.trainer.checkpoints import checkpoints


def test_the_index_of_shards_that_have_none(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(str(tiny), tmp_path/'mine', shards=4)
    (tmp_path/'mine'/'shards.json').unlink()
    main('wds:mine/{train-00000{0..3},val-00000{0..1}}.tar', tmp_path/'index')
    assert '70 videos in 6 shards' in capsys.readouterr().out
    assert json.loads((tmp_path/'index'/'shards.json').read_text())['shards'][-1] == dict(name='val-000001.tar', split='val', videos=10)
    with pytest.raises(SystemExit) as e: main('wds:mine/{train-00000{0..3},val-00000{0..1}}.tar', tmp_path/'index')
    assert e.value.code == 2 and 'shards.json exists; choose another folder' in capsys.readouterr().err


def test_what_cannot_be_written_is_one_sentence(tiny, tmp_path, capsys):
    (tmp_path/'file').write_text('')
    with pytest.raises(SystemExit) as e: main(str(tiny), tmp_path/'file'/'out', shards=4)
    assert e.value.code == 1 and 'could not be written or read' in (said := capsys.readouterr().err) and 'the same command goes on' in said
    with pytest.raises(SystemExit) as e: main(str(tiny), tmp_path/'out', shards=0)
    assert e.value.code == 2 and 'must be at least 1' in capsys.readouterr().err


@pytest.mark.parametrize('data, says', [('pipe:cat {shards}/train-000000.tar', 'is not read'), ('file:{shards}/train-000000.tar', 'is not read'), ('{tiny}/train-000000.tar', 'says what is in the shards'),
                                        ('{shards}/train-000009.tar', 'is not in'), ('{shards}/train-00000{{0..1}}.tar', 'which need 4')])
def test_what_cannot_be_trained_on_is_one_sentence(eight, tiny, tmp_path, data, says, typed):
    done = typed('adafocus.train', '--data', 'wds:' + data.format(shards=eight, tiny=tiny), '--out', tmp_path/'run', *SMALL, '--workers', 4)
    assert done.returncode == 2 and says in done.stderr and 'Traceback' not in done.stderr, done.stderr


@pytest.mark.slow
def test_training_on_shards(forking, eight, tmp_path, typed):
    "Two processes; told to stop in the middle of an epoch it goes on to the same end."
    data, flags = f'wds:{eight}/train-{{000000..000007}}.tar', (*SMALL, '--epochs', 2, '--save-steps', 1, '--log-steps', 1, '--save-minutes', 0, '--num-frames', 4)
    statuses, said = forking.ranks(2, 'whole', '--data', data, '--out', tmp_path/'whole', *flags)
    assert statuses == [0, 0], said
    lines = [json.loads(line) for line in (tmp_path/'whole'/'metrics.jsonl').open()]
    assert [m['videos'] for m in lines] == [20, 20] and [m['left_out'] for m in lines] == [0, 0]
    # the same run, without what came after the middle of the second epoch
    shutil.copytree(tmp_path/'whole', tmp_path/'cut')
    newest = checkpoints(tmp_path/'cut')[-2]
    assert not newest.name.endswith('step-000000'), 'the checkpoint before the last lies within an epoch'
    shutil.rmtree(checkpoints(tmp_path/'cut')[-1])
    one = typed('adafocus.train', '--resume', tmp_path/'cut')
    assert one.returncode == 2 and 'shards were dealt to 2 processes with --workers 1' in one.stderr
    statuses, said = forking.ranks(2, 'signal_at', 10**6, '--resume', tmp_path/'cut')
    assert statuses == [0, 0], said
    a, b = (load_file(checkpoints(tmp_path/name)[-1]/'model.safetensors') for name in ('whole', 'cut'))
    assert all((a[name] == b[name]).all() for name in a)
