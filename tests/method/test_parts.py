"Policies, classifiers and the loss, where a notebook does not show it."
import pytest
import torch
import torch.nn.functional as F

from adafocus.method.classifiers import CLASSIFIERS, build_classifier, register_classifier
from adafocus.method.losses import frame_cross_entropy
from adafocus.method.policy import POLICIES, VideoGridPolicy, build_policy, register_policy


def test_policies_are_registered_by_name():
    assert set(POLICIES) >= {'gru', 'mlp', 'central', 'grid', 'video_grid'}
    with pytest.raises(ValueError, match="policy is 'lstm'; it may be central, grid, gru"): build_policy('lstm', 8, 7)
    @register_policy('mine')
    class Mine(torch.nn.Module):
        def __init__(self, in_channels, map_size, **kwargs): super().__init__()
    try: assert isinstance(build_policy('mine', 8, 7, frames=3), Mine)
    finally: del POLICIES['mine']


def test_classifiers_are_registered_by_name():
    assert set(CLASSIFIERS) >= {'max_pool', 'average'}
    with pytest.raises(ValueError, match="classifier is 'mean'; it may be average, max_pool"): build_classifier('mean', 8, 16, 5, 4)
    @register_classifier('mine')
    class Mine(torch.nn.Module):
        def __init__(self, *sizes, **kwargs): super().__init__()
    try: assert isinstance(build_classifier('mine', 8, 16, 5, 4), Mine)
    finally: del CLASSIFIERS['mine']


def test_central_is_the_middle_and_learns_nothing():
    central = build_policy('central', 8, 7, frames=8, reduced=64, hidden=32)
    assert torch.equal(central(torch.randn(2, 8, 8, 7, 7))[0], torch.full((2, 1, 2), .5))
    assert not list(central.parameters())


def test_one_place_for_a_video():
    policy = VideoGridPolicy(8, 7, frames=8, hidden=32).eval()
    assert policy(torch.randn(2, 8, 8, 7, 7))[0].shape == (2, 1, 2)
    with pytest.raises(ValueError, match='16 frames; this policy reads 8 at once'): policy(torch.randn(2, 16, 8, 7, 7))


@pytest.mark.parametrize('name', ['max_pool', 'average'])
def test_without_the_features_of_the_glance(name):
    alone = build_classifier(name, 0, 16, 5, 16, hidden=32, dropout=0.)
    assert alone(None, torch.randn(3, 16, 16)).shape == (3, 1 if alone.per_video else 16, 5)


def test_the_mean_over_frames():
    logits, labels = torch.randn(4, 8, 10), torch.randint(10, (4,))
    torch.testing.assert_close(frame_cross_entropy(logits, labels), torch.stack([F.cross_entropy(logits[:, t], labels) for t in range(8)]).mean())
