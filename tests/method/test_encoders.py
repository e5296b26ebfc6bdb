"Encoders: slices on a CPU, the temporal shift, and weights that cannot be had."
import urllib.error

import pytest
import torch
import torchvision

from adafocus.method import encoders
from adafocus.method.encoders import build_encoder, insert_temporal_shift
from adafocus.method.weights import WeightsUnavailable


@pytest.mark.parametrize('frames', [None, 4])
def test_slices_change_nothing(monkeypatch, frames):
    encoder = build_encoder('small_local', shift_frames=frames).eval()
    images = torch.rand(40, 3, 32, 32)
    sizes = []
    encoder.body.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    with torch.enable_grad(): whole = encoder(images)
    monkeypatch.setattr(encoders, '_CPU_SLICE', 9*32**2)
    with torch.no_grad(): sliced = encoder(images)
    assert sizes[0] == 40 and max(sizes[1:]) == (8 if frames else 9)        # videos stay together
    for one, other in zip(whole, sliced): torch.testing.assert_close(one, other)


def test_videos_stay_together_with_a_shift():
    encoder = build_encoder('resnet50', shift_frames=4).eval()
    assert sum('conv1.1.weight' in name for name in encoder.state_dict()) == 16
    with torch.no_grad(), pytest.raises(ValueError, match='5 images; with a shift over 4 frames'): encoder(torch.rand(5, 3, 64, 64))
    with pytest.raises(ValueError, match='has no place in this Flatten'): insert_temporal_shift(torch.nn.Flatten(), 4)


@pytest.mark.parametrize('name, places', [('mobilenet_v2', 10), ('resnet50', 16), ('small_global', 2), ('small_local', 3)])
def test_places_of_the_shift(name, places):
    body = insert_temporal_shift(encoders.ENCODERS[name](None)[0], 4)
    assert sum(isinstance(m, encoders.TemporalShift) for m in body.modules()) == places


def test_weights_of_old_files_fit(tmp_path):
    net = torchvision.models.mobilenet_v2()
    torch.save({name: x for name, x in net.state_dict().items() if not name.endswith('num_batches_tracked')}, tmp_path/'old.pth')
    body = build_encoder('mobilenet_v2', weights=str(tmp_path/'old.pth')).body
    assert torch.equal(body[0][0].weight, net.features[0][0].weight)


@pytest.mark.parametrize('values, says', [(dict(name='resnet51'), "encoder is 'resnet51'; did you mean resnet50"),
                                          (dict(name='resnet50', weights='IMAGENET1K_V7'), 'no name of weights of resnet50'),
                                          (dict(name='small_local', weights='IMAGENET1K_V1'), 'small_local has no pretrained weights')])
def test_wrong_names(values, says):
    with pytest.raises(ValueError, match=says): build_encoder(**values)


def test_a_failed_download_says_what_else_to_do(monkeypatch):
    def fail(*args, **kwargs): raise urllib.error.URLError('no route')
    monkeypatch.setattr('torch.hub.load_state_dict_from_url', fail)
    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', fail)
    with pytest.raises(WeightsUnavailable, match='IMAGENET1K_V1 could not be downloaded.*no route.*--weights none') as e:
        build_encoder('resnet18', weights='IMAGENET1K_V1')
    assert e.value.status == 1
