"Weight files: what is read, and what is refused without running code."
import re
from pathlib import Path

import pytest
import torch

from adafocus.method.weights import fill_body, plain_names, read_weights, state_dict_mismatch


class Touch:
    "An object whose unpickling makes a file."
    def __init__(self, path): self.path = path
    def __reduce__(self): return Path.touch, (self.path,)


def test_no_code_in_a_file_is_run(tmp_path):
    torch.save({'state_dict': Touch(tmp_path/'canary')}, tmp_path/'weights.pth')
    with pytest.raises(ValueError, match='holds .*which is not read since that could run code'): read_weights(tmp_path/'weights.pth')
    assert not (tmp_path/'canary').exists()
    torch.load(tmp_path/'weights.pth', weights_only=False)                   # the control: otherwise the file is made
    assert (tmp_path/'canary').exists()


@pytest.mark.parametrize('content', [{'state_dict': {}}, {'epoch': 3}, [1]])
def test_a_file_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path/'weights.pth')
    with pytest.raises(ValueError, match='holds no state dict'): read_weights(tmp_path/'weights.pth')


def test_what_is_no_file_of_weights(tmp_path):
    (tmp_path/'weights.pth').write_bytes(b'not torch')
    with pytest.raises(ValueError, match='empty, cut off, or of another kind'): read_weights(tmp_path/'weights.pth')
    with pytest.raises(ValueError, match='does not exist'): read_weights(tmp_path/'nowhere.pth')
    with pytest.raises(ValueError, match='is a folder'): read_weights(tmp_path)


def test_wrappings_come_off():
    one = {'module.module.a': torch.zeros(1)}
    assert list(plain_names(one, 'here')) == list(plain_names({'state_dict': one}, 'here')) == ['a']


def test_differences_are_named():
    assert state_dict_mismatch({'a': torch.zeros(2)}, {'a': torch.zeros(2)}) is None
    wanted, given = {'a': torch.zeros(2), 'b': torch.zeros(1)}, {'a': torch.zeros(3), 'c': torch.zeros(1)}
    assert state_dict_mismatch(wanted, given) == '1 missing: b; 1 left over: c; 1 of another shape: a (3,) instead of (2,)'
    assert state_dict_mismatch({str(n): torch.zeros(1) for n in range(6)}, {}) == '6 missing: 0, 1, 2, 3 and 2 more'


def test_a_body_is_filled_whatever_its_classifier():
    import torchvision
    net, state = torchvision.models.resnet18(), torchvision.models.resnet18(num_classes=3).state_dict()
    fill_body(net, {name: x for name, x in state.items() if not name.endswith('num_batches_tracked')}, 'no')   # as of torch 0.4
    assert torch.equal(net.layer1[0].conv1.weight, state['layer1.0.conv1.weight'])
    del state['conv1.weight']
    with pytest.raises(ValueError, match=re.escape('no (1 missing: conv1.weight)')): fill_body(net, state, 'no')
