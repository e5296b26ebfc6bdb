"Comparisons of speed compare the same thing, and say what cannot be measured here. No test asserts a time."
import pytest
import torch
from conftest import command

from adafocus.bench.__main__ import main
from adafocus.bench.exit_tables import realised_saving
from adafocus.bench.plain import PlainAdaFocus, plain_crops
from adafocus.bench.reading import memory_slope
from adafocus.method.crop import crop_patches
from adafocus.method.model import AdaFocus, ModelConfig

SMALL = ModelConfig(num_classes=3, num_frames=4, frame_size=32, patch_size=16, global_encoder='small_global', local_encoder='small_local',
                    policy_channels=8, policy_hidden=16, classifier_hidden=16)


def test_the_plain_way_computes_the_same():
    frames, positions = torch.rand(5, 3, 32, 32), torch.rand(5, 2)
    assert torch.allclose(plain_crops(frames, positions, 16), crop_patches(frames, positions, 16), atol=1e-5)
    assert not torch.allclose(plain_crops(frames, 1 - positions, 16), crop_patches(frames, positions, 16), atol=1e-2)      # the control
    torch.manual_seed(0)
    ours = AdaFocus(SMALL).eval()
    plain = PlainAdaFocus(SMALL).eval()
    plain.load_state_dict(ours.state_dict())
    videos = torch.rand(2, 4, 3, 32, 32)
    with torch.no_grad(): assert torch.allclose(ours(videos).logits, plain(videos).logits, atol=1e-4)


@pytest.mark.parametrize('args, says', [
    (['tpu'], "Expected one of ('cpu', 'gpu', 'data', 'memory')"), (['--repeats', 'many'], '--repeats'), (['--bach', '3'], 'did you mean --batch?'),
    pytest.param(['gpu'], 'PyTorch finds no GPU here', marks=pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')),
])
def test_what_cannot_be_measured_is_one_sentence(args, says):
    status, out, err = command(main, *args)
    assert status == 2 and says in err and not out and len(err.splitlines()) == 1, err


def test_figures_follow_from_what_was_measured():
    flat, growing = [(n, 200.) for n in range(0, 2000, 100)], [(n, 200 + n/1000) for n in range(0, 2000, 100)]
    assert abs(memory_slope(flat)) < 1e-9 and abs(memory_slope(growing) - 1) < .05          # kB a video
    row = dict(gflops=5., all_gflops=10., videos_a_second=20., all_videos_a_second=10.)
    assert realised_saving(row) == 1 and realised_saving(row | dict(videos_a_second=10.)) == 0
