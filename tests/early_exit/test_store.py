"The two files of a run that say when to stop."
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adafocus.early_exit.solver import solve_thresholds
from adafocus.early_exit.store import load_exits, save_exits, solve_exits

COSTS = np.array([1., 2, 3, 4])


@pytest.fixture
def solved(tmp_path):
    "A folder with weights and exits, and the logits and labels they were solved on."
    save_file({'w': torch.zeros(3)}, tmp_path/'model.safetensors')
    g = torch.Generator().manual_seed(0)
    labels, logits = torch.randint(5, (200,), generator=g), torch.randn(200, 4, 5, generator=g)
    logits[torch.arange(200), :, labels] += torch.rand(200, 1, generator=g)*6*torch.tensor([.4, .6, .8, 1.])
    save_exits(tmp_path, solve_exits(tmp_path, logits, labels, COSTS, [1.5, 2.5], '200 made-up videos'))
    return tmp_path, logits, labels


def test_what_is_read_solves_other_budgets(solved):
    run, logits, labels = solved
    exits = load_exits(run)
    assert [p.budget for p in exits.plans] == [1.5, 2.5]
    for budget in (2.0, 2.5): assert exits.plan(budget) == solve_thresholds(logits, COSTS, budget, labels)
    assert sorted(p.name for p in run.iterdir()) == ['exit.json', 'exit_calibration.safetensors', 'model.safetensors']


def test_several_labels(solved):
    run, logits, labels = solved
    both = torch.stack([labels, torch.where(labels > 2, 0, -1)], 1)
    save_exits(run, solve_exits(run, logits, both, COSTS, [1.5], 'several labels'))
    again = load_exits(run)
    assert again.plans[0].metric == 'mAP' and again.plan(2.2) == solve_thresholds(logits, COSTS, 2.2, both)


def test_damaged_files_are_named(solved):
    run, logits, labels = solved
    good = (run/'exit.json').read_text()
    for bad in ('', '{', '[]', '{"plans": []}', good.replace('"thresholds": [', '"thresholds": [0.5, '), good.replace('"costs"', '"cost"'),
                good.replace('"thresholds": [', '"thresholds": ["a", ').replace('100000000.0', 'null')):
        (run/'exit.json').write_text(bad)
        with pytest.raises(ValueError, match='exit.json cannot be used'): load_exits(run)
    (run/'exit.json').unlink()
    with pytest.raises(ValueError, match='holds no exit.json'): load_exits(run)
    with pytest.raises(ValueError, match='at least 1'): solve_exits(run, logits, labels, COSTS, [.5], '')


def test_other_weights_are_refused(solved):
    save_file({'w': torch.ones(3)}, solved[0]/'model.safetensors')
    with pytest.raises(ValueError, match='is for other weights'): load_exits(solved[0])
