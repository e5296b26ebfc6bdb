"A checkpoint is complete or damaged, and says which."
import json

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from adafocus.trainer.checkpoints import (
    checkpoint_name,
    checkpoints,
    damage,
    find_checkpoint,
    load_checkpoint,
    pack_optimizer,
    save_checkpoint,
    unpack_optimizer,
)


def momentum(model): return torch.optim.SGD(model.parameters(), lr=.1, momentum=.9)


def trained(kind=momentum):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4*36, 2)).to(memory_format=torch.channels_last)
    optimizer = kind(model)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def saved(tmp_path):
    "A run with three checkpoints: the best, and the two newest."
    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(*trained())
    for epoch in range(4):
        save_checkpoint(accelerator, model, optimizer, tmp_path, dict(epoch=epoch, step=10*epoch, best_checkpoint='epoch-0000-step-000000'))
    return tmp_path, accelerator


def test_an_optimizer_is_packed_and_unpacked():
    model, optimizer = trained()
    tensors, plain = pack_optimizer(optimizer)
    other = momentum(model)
    unpack_optimizer(other, tensors, json.loads(json.dumps(plain)))
    for p in model.parameters():
        a, b = optimizer.state[p]['momentum_buffer'], other.state[p]['momentum_buffer']
        assert torch.equal(a, b) and a.stride() == b.stride()
    model, adam = trained(lambda model: torch.optim.AdamW(model.parameters()))
    twin = torch.optim.AdamW(model.parameters())
    unpack_optimizer(twin, *pack_optimizer(adam))
    assert str(adam.state_dict()) == str(twin.state_dict())
    with pytest.raises(ValueError, match='the parameter has'): unpack_optimizer(momentum(nn.Linear(5, 5)), tensors, plain)


def test_the_newest_and_the_best_stay(saved):
    run, _ = saved
    assert [p.name for p in checkpoints(run)] == ['epoch-0000-step-000000', 'epoch-0002-step-000020', 'epoch-0003-step-000030']
    for name in ('epoch-0009-step-000000.tmp', 'best'): (run/'checkpoints'/name).mkdir()
    assert len(checkpoints(run)) == 3
    for n in (9999, 10000): (run/'checkpoints'/checkpoint_name(n, 0)).mkdir()
    assert [p.name[6:11] for p in checkpoints(run)[-2:]] == ['9999-', '10000']     # a name with more digits comes last, not first


def test_each_file_gone_cut_or_longer_is_noticed_by_name(saved):
    run, accelerator = saved
    newest, _ = find_checkpoint(run)
    for path in sorted(newest.iterdir()):
        content = path.read_bytes()
        for other in (None, content[:len(content)//2], content + b' ', b''):
            if other is None: path.unlink()
            else: path.write_bytes(other)
            taken, why = find_checkpoint(run)
            assert taken.name == 'epoch-0002-step-000020' and path.name in why[0] and newest.name in why[0], why
            path.write_bytes(content)
    assert damage(newest) is None
    (newest/'random_states_0.pkl').write_bytes(b'cos\nsystem\n')
    assert 'random_states_0.pkl does not belong to it' in damage(newest)
    (newest/'random_states_0.pkl').unlink()
    with pytest.raises(ValueError, match='does not fit this run'):
        load_checkpoint(accelerator, nn.Linear(2, 2), momentum(nn.Linear(2, 2)), newest)
    for folder in checkpoints(run): (folder/'state.json').unlink()
    with pytest.raises(ValueError, match='no whole checkpoint'): find_checkpoint(run)
    assert find_checkpoint(run/'nowhere') == (None, [])
