"Compares early exit with the curves of the authors' code in `reference/`."
import parity
import pytest
import torch

from adafocus.early_exit.thresholds import confidence, exit_steps, geometric_thresholds


@pytest.mark.parametrize('criterion', ['softmax', 'logit'])
def test_exit_curves(criterion):
    "With thresholds by the rule of the reference, as many videos leave at each step as there."
    kept = parity.stored('early_exit')
    training, sure = confidence(kept['train_logits'], criterion), confidence(kept['val_logits'], criterion)
    for row, stored in zip(kept[f'{criterion}_curve'], kept['softmax_thresholds']):
        thresholds = geometric_thresholds(training, float(row[0]))
        if criterion == 'softmax': assert torch.allclose(thresholds.float(), stored, rtol=1e-6)
        left = exit_steps(sure, thresholds)
        assert left.bincount(minlength=16).tolist() == row[3:].long().tolist()
        right = kept['val_logits'][torch.arange(len(left)), left].argmax(-1) == kept['val_labels']
        assert abs(100*right.float().mean() - row[2]) < 1e-3 and abs(left.float().mean() + 1 - row[1]) < 1e-3
