"Compares which frames are read, and how crops are sized, with the authors' numbers in `reference/`."
import parity
import pytest

from adafocus.data.sampling import frame_order, segment_indices
from adafocus.data.transforms import crop_sizes


def test_frame_order():
    theirs = parity.facts()['frame_order']
    assert len(theirs) >= 12
    for count, order in theirs.items():
        if int(count) >= 3: assert frame_order(int(count)) == order
    assert frame_order(2) == [0, 1] and theirs['2'] == [0, 0, 1]        # where theirs shows a frame twice


@pytest.mark.parametrize('key, short', [('segment_indices_eval', 'last'), ('segment_indices_eval_tsm', 'first')])
def test_segment_indices(key, short):
    theirs = parity.facts()[key]
    assert len(theirs) >= 14
    for case, indices in theirs.items():
        frames, count = map(int, case.split(','))
        assert segment_indices(frames, count, short=short).tolist() == indices, case


def test_crop_sizes():
    theirs = parity.facts()['multiscale_crop_sizes']
    assert len(theirs) >= 5
    for source, sizes in theirs.items():
        width, height = map(int, source.split('x'))
        assert sorted(map(list, crop_sizes((height, width)))) == sizes, source
