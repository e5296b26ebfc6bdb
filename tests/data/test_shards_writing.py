"The same videos give the same shards; an interrupted writer goes on; nothing else is written over."
import pytest

from adafocus.data.datasets.opening import open_data
from adafocus.data.shard_files import read_samples
from adafocus.data.shards import write_shards


def contents(folder): return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_shards_of_a_dataset(tiny, tmp_path):
    data = open_data(str(tiny))
    index, left_out = write_shards(data, tmp_path/'shards', shards=6, progress=False)
    first = contents(tmp_path/'shards')
    assert not left_out
    write_shards(data, tmp_path/'again', shards=6, progress=False, workers=1)
    assert contents(tmp_path/'again') == first
    for name in ('train-000002.tar', 'shards.json'): (tmp_path/'again'/name).unlink()
    write_shards(data, tmp_path/'again', shards=6, progress=False)
    assert contents(tmp_path/'again') == first
    with pytest.raises(ValueError, match='holds something else'): write_shards(data, tmp_path/'again', shards=5, progress=False)
    with pytest.raises(ValueError, match='holds something else'): write_shards(data, tiny, shards=5, progress=False)
    # the bytes of every video are in there once, with its labels
    packed = {s.video: s.labels for e in index['shards'] for s in read_samples(str(tmp_path/'shards'/e['name']))}
    assert packed == {v.path.read_bytes(): tuple(data.classes[k] for k in v.labels) for v in data.train + data.val}
    assert len(packed) == 70


def test_a_shard_that_cannot_be_written_leaves_nothing_half_done(tiny, tmp_path, monkeypatch):
    data = open_data(str(tiny))
    video = data.train[3].path
    read = type(video).read_bytes
    def fails(path):
        if path == video: raise OSError(28, 'No space left on device')
        return read(path)
    with monkeypatch.context() as patched:
        patched.setattr(type(video), 'read_bytes', fails)
        with pytest.raises(OSError, match='No space left'): write_shards(data, tmp_path/'shards', shards=6, progress=False, workers=1)
    assert not list(tmp_path.glob('shards/.*.partial*')) and not (tmp_path/'shards'/'shards.json').exists()
    write_shards(data, tmp_path/'shards', shards=6, progress=False)
    assert len(list(tmp_path.glob('shards/train-*.tar'))) == 6
