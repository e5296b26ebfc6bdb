"Compares the mean average precision with the authors' numbers in `reference/`."
import numpy as np
import parity

from adafocus.run.metrics import mean_average_precision

NEAR = 1e-6


def test_mean_average_precision():
    stored = parity.stored()
    mean, each = mean_average_precision(stored['map/logits'], stored['map/labels'])
    assert abs(100*mean/stored['map/map_percent'].item() - 1) < NEAR
    assert np.abs(100*each/stored['map/ap_percent'].numpy() - 1).max() < NEAR
