"The command lines that take released checkpoints, and the trainer with a temporal shift, as a person types them."
import functools
import json
from dataclasses import replace

import pytest
import torch
from conftest import CPU, ONE_PROCESS, SMALL, TWO_PROCESSES, run
from safetensors.torch import load_file

from adafocus.method.model import AdaFocus
from adafocus.method.official import OFFICIAL, load_official, to_official
from adafocus.run.config import load_config
from adafocus.run.folder import load_run


@pytest.fixture(scope='module')
def few(tiny, tmp_path_factory):
    "Four videos to train on and three to evaluate on, in two classes."
    data = tmp_path_factory.mktemp('data')/'few'
    for split, count in (('train', 2), ('val', 2)):
        for name in ('cross', 'ring'):
            for path in sorted((tiny/split/name).glob('*.mp4'))[:count]:
                (data/split/name).mkdir(parents=True, exist_ok=True)
                (data/split/name/path.name).symlink_to(path)
    (sorted((data/'val'/'ring').iterdir())[-1]).unlink()
    return data


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    "Files as released, of the full-size architectures with two frames and two classes, and with three classes."
    folder = tmp_path_factory.mktemp('checkpoints')
    @functools.cache
    def checkpoint(arch, classes):
        torch.manual_seed(classes)
        torch.save(to_official(AdaFocus(replace(OFFICIAL[arch], num_classes=classes, num_frames=2))), folder/f'{arch}-{classes}.pth.tar')
        return folder/f'{arch}-{classes}.pth.tar'
    return checkpoint


@pytest.mark.parametrize('arch, patch_size', [('mn2rn', 96), pytest.param('rn', 64, marks=pytest.mark.slow), pytest.param('tsm', 128, marks=pytest.mark.slow)])
def test_a_checkpoint_is_evaluated_as_a_run(checkpoints, few, tmp_path, arch, patch_size, typed):
    flags = () if patch_size == 128 else ('--patch-size', patch_size)
    done = typed('adafocus.evaluate', checkpoints(arch, 2), '--data', few, '--out', tmp_path/'run', *flags)
    assert done.returncode == 0, done.stderr
    assert f'the run is in {tmp_path/"run"}' in done.stdout and '3 videos' in done.stdout and ('video' if arch == 'tsm' else 't=2') in done.stdout
    assert (tmp_path/'run'/'plots'/'patches.png').exists()
    scored, config = json.loads((tmp_path/'run'/'evaluation.json').read_text()), load_config(tmp_path/'run'/'config.yaml')
    assert scored['videos'] == 3 and len(scored['policies']['learned']['accuracy']) == (1 if arch == 'tsm' else 2)
    if arch == 'tsm': assert config.model.focus_frames == 3
    assert config.classes == ['cross', 'ring'] and config.model.patch_size == patch_size and config.data.reorder == (arch != 'tsm')
    model, _ = load_run(tmp_path/'run')                                  # what the folder holds is the checkpoint
    theirs = load_official(checkpoints(arch, 2), patch_size=patch_size)
    assert model.config == theirs.config and all(torch.equal(x, model.state_dict()[name]) for name, x in theirs.state_dict().items())


@pytest.mark.parametrize('flags, says', [
    (('{mn2rn3}', '--data', '{few}'), 'has 3 classes; the data has 2 (cross, ring)'),
    (('{mn2rn2}',), 'names no videos; --data says'),
    (('{few}',), 'or a released checkpoint'),
    (('/nowhere',), 'does not exist'),
    (('{bad}', '--data', '{few}'), 'cannot be read as weights: it is empty, cut off'),
    (('{mn2rn2}', '--data', '{few}', '--patch-size', '500'), 'patch_size is 500'),
    (('{mn2rn2}', '--data', '{few}', '--patch-size', '0'), 'patch_size is 0'),
])
def test_what_cannot_be_evaluated_is_one_sentence(checkpoints, few, tmp_path, flags, says, typed):
    (tmp_path/'bad.pth').write_bytes(b'no weights')
    names = dict(mn2rn2=checkpoints('mn2rn', 2), mn2rn3=checkpoints('mn2rn', 3), few=few, bad=tmp_path/'bad.pth')
    done = typed('adafocus.evaluate', *[f.format(**names) for f in flags], '--out', tmp_path/'run')
    assert done.returncode == 2 and says in done.stderr and 'Traceback' not in done.stderr and not (tmp_path/'run').exists()


def test_a_run_is_evaluated_on_other_data_and_keeps_its_own_results(tiny, few, tmp_path, typed):
    done = typed('adafocus.train', '--data', tiny, '--out', tmp_path/'run', '--epochs', 1, *SMALL)
    assert done.returncode == 0, done.stderr
    before = (tmp_path/'run'/'evaluation.json').read_bytes()
    other = tmp_path/'other'
    for path in (tiny/'val').glob('*/*.mp4'):
        (other/path.parent.name).mkdir(parents=True, exist_ok=True)
        (other/path.parent.name/path.name).symlink_to(path)
    done = typed('adafocus.evaluate', tmp_path/'run', '--data', other, '--out', tmp_path/'elsewhere')
    assert done.returncode == 0, done.stderr
    assert (tmp_path/'run'/'evaluation.json').read_bytes() == before and (tmp_path/'elsewhere'/'evaluation.json').exists()
    wrong = typed('adafocus.evaluate', tmp_path/'run', '--data', few, '--out', tmp_path/'wrong')
    assert wrong.returncode == 2 and 'the data has 2 (cross, ring)' in wrong.stderr and not (tmp_path/'wrong').exists()


@pytest.mark.slow
def test_training_starts_from_a_checkpoint(checkpoints, few, tmp_path):
    "With no learning, what is trained is what was loaded; what has a row for each of three classes is new."
    done = run('accelerate', 'launch', *ONE_PROCESS, '-m', 'adafocus.train', '--init', checkpoints('mn2rn', 3), '--data', few, '--out', tmp_path/'run', '--epochs', 1,
               '--batch-size', 2, '--lr', '1e-30', '--workers', 1, '--patch-size', 64)
    assert done.returncode == 0, done.stderr
    assert 'except what depends on the classes, which are others: classifier, global_head.1, local_head.1' in done.stdout
    config = load_config(tmp_path/'run'/'config.yaml')
    assert (config.preset, config.model.num_frames, config.model.patch_size, config.model.num_classes) == ('mn2rn-p128', 2, 64, 2)
    ours, theirs = load_file(tmp_path/'run'/'model.safetensors'), load_official(checkpoints('mn2rn', 3)).state_dict()
    for name, x in theirs.items():
        if name.startswith(('classifier.weight', 'classifier.bias', 'global_head', 'local_head')): assert ours[name].shape != x.shape
        elif 'running' not in name and 'num_batches' not in name: assert torch.allclose(ours[name], x, rtol=0, atol=1e-12), name


@pytest.mark.slow
def test_training_starts_from_a_run(tiny, tmp_path, typed):
    for out, flags in (('one', ('--data', tiny, *SMALL)), ('two', ('--init', tmp_path/'one', '--lr', '1e-30'))):
        done = typed('adafocus.train', '--out', tmp_path/out, '--epochs', 1, *flags)
        assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path/out/'model.safetensors') for out in ('one', 'two'))
    assert all(torch.allclose(one[n], two[n], rtol=0, atol=1e-12) for n in one if 'running' not in n and 'num_batches' not in n)
    assert load_config(tmp_path/'two'/'config.yaml').data.data == str(tiny)
    wrong = typed('adafocus.train', '--init', tmp_path/'one', '--policy-hidden', 16, '--out', tmp_path/'three')
    assert wrong.returncode == 2 and 'does not fit the model' in wrong.stderr and not (tmp_path/'three').exists()


SHIFTED = ('--temporal-shift', '--no-reorder', '--policy', 'mlp', '--classifier', 'average', '--classifier-detached',
           '--num-frames', 4, '--focus-frames', 6, '--clip-norm', 20)


@pytest.mark.slow
def test_a_temporal_shift_trains(tiny, tmp_path, typed):
    "The same trainer, by two processes; what it printed is found again by one."
    done = run('python', '-m', *TWO_PROCESSES, 'adafocus.train', '--data', tiny, '--out', tmp_path/'run', '--epochs', 2, *SMALL, *SHIFTED, **CPU)
    assert done.returncode == 0, done.stderr
    assert '2 processes on cpu' in done.stdout
    lines = [json.loads(line) for line in (tmp_path/'run'/'metrics.jsonl').open()]
    assert all(len(m['val']['accuracy']) == 1 and m['videos'] == 20 and len(m['train']) == 8 for m in lines)
    by_two = json.loads((tmp_path/'run'/'evaluation.json').read_text())
    again = typed('adafocus.evaluate', tmp_path/'run')
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path/'run'/'evaluation.json').read_text()) == by_two
    assert (tmp_path/'run'/'plots'/'training.png').exists()


def test_a_shift_out_of_order_is_refused(tiny, tmp_path, typed):
    done = typed('adafocus.train', '--data', tiny, '--out', tmp_path/'run', *SMALL, '--temporal-shift')
    assert done.returncode == 2 and 'reorder must be False' in ' '.join(done.stderr.replace('│', ' ').split()) and not (tmp_path/'run').exists()


@pytest.mark.slow
def test_the_glance_starts_from_a_file(tiny, tmp_path, typed):
    import torchvision
    torch.manual_seed(3)
    net = torchvision.models.resnet18()
    torch.save(net.state_dict(), tmp_path/'resnet18-96.pth')
    flags = '--data', tiny, *SMALL, '--epochs', 1, '--global-encoder', 'resnet18', '--global-size', 64, '--lr', '1e-30'
    done = typed('adafocus.train', *flags, '--out', tmp_path/'run', '--global-weights', tmp_path/'resnet18-96.pth')
    assert done.returncode == 0, done.stderr
    ours = load_file(tmp_path/'run'/'model.safetensors')
    assert torch.allclose(ours['global_encoder.body.layer1.0.conv1.weight'], net.layer1[0].conv1.weight, rtol=0, atol=1e-12)
    (tmp_path/'resnet18-96.pth').unlink()                                # the run needs it no more
    assert typed('adafocus.evaluate', tmp_path/'run').returncode == 0
    wrong = typed('adafocus.train', *flags, '--out', tmp_path/'wrong', '--global-weights', tmp_path/'nowhere.pth')
    assert wrong.returncode == 2 and 'is no file' in wrong.stderr and not (tmp_path/'wrong').exists()


def test_flops(typed):
    done = typed('adafocus.flops')
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 13 and 'tsm-p176' in done.stdout and '+' in done.stdout
    one = typed('adafocus.flops', '--preset', 'tsm-p144', '--num-classes', '27')
    assert one.returncode == 0 and '23.52' in one.stdout, one.stdout
    whole = typed('adafocus.flops', '--preset', 'tsm')
    assert whole.returncode == 0 and '32.70' in whole.stdout, whole.stdout
    wrong = typed('adafocus.flops', '--preset', 'tsm-p145')
    assert wrong.returncode == 2 and "'tsm-p145'; did you mean tsm-p1" in wrong.stderr, wrong.stderr
