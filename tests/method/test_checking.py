"The checkers of parts find each fault alone, and none in the kit's own parts."
import re

import pytest
import torch
from torch import nn

from adafocus import check_classifier, check_encoder, check_loss, check_policy, check_sampler
from adafocus.data.sampling import segment_indices
from adafocus.method.classifiers import CLASSIFIERS, MaxPoolClassifier
from adafocus.method.losses import LOSSES
from adafocus.method.policy import POLICIES, GRUPolicy


class Amnesiac(GRUPolicy):
    def forward(self, maps, state=None): return super().forward(maps, None)

class Greedy(GRUPolicy):
    def forward(self, maps, state=None):
        positions, state = super().forward(maps, state)
        return 2*positions, state

class Frozen(GRUPolicy):
    def forward(self, maps, state=None):
        positions, state = super().forward(maps, state)
        return positions.detach(), state

class Narrow(GRUPolicy):
    def forward(self, maps, state=None):
        seen, state = self.remember(maps, state)
        return self.head(seen).sigmoid(), state

class Biased(GRUPolicy):
    def forward(self, maps, state=None): return super().forward(maps, torch.ones(1, len(maps), 16) if state is None else state)

class Nameless(GRUPolicy): waits = None

class Bare(GRUPolicy):
    def forward(self, maps, state=None): return super().forward(maps, state)[0]


@pytest.mark.parametrize('policy, said', [(Amnesiac, 'must carry the past'), (Greedy, r'must lie in \[0, 1\]'), (Frozen, 'no gradient'), (Narrow, 'bfloat16'), (Biased, 'both must begin a video'),
                                          (Nameless, 'it has no waits'), (Bare, r'must return \(positions, state\)'), (nn.Linear, 'building it')])
def test_faults_of_policies(policy, said):
    problems = check_policy(policy)
    assert len(problems) == 1, problems
    assert re.search(said, problems[0])


def test_own_parts_are_without_fault():
    assert [check_policy(POLICIES[name]) for name in ('gru', 'mlp', 'central')] == [[], [], []]
    assert [check_classifier(part) for part in CLASSIFIERS.values()] == [[], []] and check_loss(LOSSES['adafocus']) == []
    assert check_sampler(segment_indices) == []


def test_a_classifier_whose_step_differs_is_named():
    class Off(MaxPoolClassifier):
        def step(self, *args):
            logits, pooled = super().step(*args)
            return logits + 1, pooled
    assert check_classifier(Off) == ['step gives other logits than forward']


def test_an_encoder_without_gradient_is_named():
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 8, 3)
        @torch.no_grad()
        def forward(self, x): return self.layer(x)
    assert check_encoder(lambda weights: (Dead(), 8)) == ['the map has no gradient, though the body has parameters']
