"Every video once an epoch, whatever reads the shards; and what cannot be read is reported, and nothing else is missing."
import json
from pathlib import Path

import pytest
import webdataset as wds
from shard_server import Server

from adafocus.data import needle, shard_files
from adafocus.data.datasets.opening import open_data
from adafocus.data.loading import SampleConfig
from adafocus.data.shard_files import open_shards, read_samples
from adafocus.data.shards import build_shard_loader, write_shards
from adafocus.data.shards.streams import epoch_batches

CONFIG = SampleConfig(num_frames=2, frame_size=112, resize=112, decode_timeout=0.)
SMALLER = SampleConfig(num_frames=2, frame_size=48, resize=64, decode_timeout=0.)
pytestmark = pytest.mark.filterwarnings('ignore:This DataLoader will create')       # more processes than this machine has cores


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(shard_files, '_WAIT', .01)
    monkeypatch.setattr(shard_files, '_TIMEOUT', 1.)


@pytest.fixture(scope='module')
def nine(tmp_path_factory):
    "Sixty small videos to train on in nine shards, ten to evaluate on in two."
    folder = tmp_path_factory.mktemp('nine')
    needle.write_dataset(folder/'videos', needle.NeedleConfig(videos=70, val_share=1/7, size=64, frames=4), workers=1, progress=False)
    write_shards(open_data(str(folder/'videos')), folder/'shards', shards=9, progress=False)
    return folder/'shards'


@pytest.fixture
def data(nine): return open_shards(f'{nine}/train-{{000000..000008}}.tar')


def seen(data, workers=0):
    "The numbers of the videos of an epoch, and what was reported."
    batches = list(build_shard_loader(data.val, CONFIG, False, 4, workers))
    return [int(n) for b in batches for n, ok in zip(b['number'], b['valid']) if ok], [why for b in batches for _, why in b['failures']]


@pytest.mark.parametrize('wrong', [lambda path, count: 'error' if 'val-' in path and count % 3 else None, lambda path, count: 'reset' if 'val-000001' in path and count < 3 else None,
                                   lambda path, count: 'stall' if 'val-000002' in path and count == 1 else None], ids=['two of three fail', 'connection breaks off', 'server stalls'])
def test_a_bad_server_is_asked_again(eight, wrong):
    with Server(eight, wrong) as server: numbers, reported = seen(open_shards(f'{server.address}/val-{{000000..000003}}.tar'))
    assert numbers == list(range(20)) and reported == []


def test_an_unreachable_shard_is_reported_and_the_others_are_read(eight):
    with Server(eight, lambda path, count: 'error' if 'val-000002' in path else None) as server:
        numbers, reported = seen(open_shards(f'{server.address}/val-{{000000..000003}}.tar'), workers=2)
        assert server.counts['/val-000002.tar'] == 3
    assert sorted(numbers) == [n for n in range(20) if not 10 <= n < 15] and len(reported) == 1
    assert 'val-000002.tar: could not be read in 3 tries' in reported[0] and '503' in reported[0] and '5 of its videos are lost' in reported[0]


def test_a_shard_that_is_cut_anywhere_is_accounted_for(eight, tmp_path):
    content = (eight/'val-000000.tar').read_bytes()
    index = json.loads((eight/'shards.json').read_text())
    index['shards'] = [s for s in index['shards'] if s['name'] == 'val-000000.tar']
    (tmp_path/'shards.json').write_text(json.dumps(index))
    for k in range(10):
        (tmp_path/'val-000000.tar').write_bytes(content[:len(content)*(2*k + 1)//20])
        numbers, reported = seen(open_shards(str(tmp_path/'val-000000.tar')))
        lost = sum(int(why.split('; ')[-1].split()[0]) if 'are lost' in why else 5 - int(why.split(' has ')[1].split()[0]) if 'index says' in why else 1 for why in reported)
        assert len(numbers) + lost == 5, (k, numbers, reported)


def test_how_many_batches_an_epoch_has():
    assert [epoch_batches([[v, u]], 4, True) for v, u in ((8, 8), (8, 4), (4, 8), (3, 8), (7, 12))] == [4, 3, 2, 0, 2]
    assert [epoch_batches([[v, u]], 4, False) for v, u in ((8, 8), (9, 8), (1, 0), (1, 4), (0, 5))] == [4, 5, 1, 2, 4]


def numbers(loader, epoch=0, start=0):
    loader.dataset.set_epoch(epoch, start)
    return [batch['number'].tolist() for batch in loader]


@pytest.mark.parametrize('processes, workers', [(1, 0), (1, 3), (2, 2), (3, 1)])
def test_every_video_at_most_once_an_epoch_and_resumed_at_any_step(data, processes, workers):
    "Over all processes nearly all of them, in other orders in other epochs."
    loaders = [build_shard_loader(data.train, SMALLER, True, 4, workers, rank, processes) for rank in range(processes)]
    for epoch in (0, 1):
        batches = [numbers(loader, epoch) for loader in loaders]
        assert {len(b) for b in batches} == {len(loaders[0].dataset)}
        flat = [n for of_process in batches for batch in of_process for n in batch]
        assert len(set(flat)) == len(flat) >= 48 - 12*max(1, workers)*(processes > 1 or workers > 1)
        for start in range(epoch, len(batches[0]), 2): assert numbers(loaders[0], epoch, start) == batches[0][start:]
    assert numbers(loaders[0], 0) != numbers(loaders[0], 1)


def samples(data, workers, processes=1):
    "What can be compared of the samples of an epoch, by number."
    out = {}
    for rank in range(processes):
        loader = build_shard_loader(data.train, SMALLER, True, 3, workers, rank, processes)
        loader.dataset.set_epoch(3)
        for b in loader:
            for k, n in enumerate(b['number']): out[int(n)] = b['frames'][k].float().sum().item(), b['random_positions'][k].sum().item(), b['label'][k].item()
    return out


def test_the_sample_of_a_number_is_the_same_whatever_process_makes_it(data):
    one = samples(data, 0)
    for other in (samples(data, 2), samples(data, 1, 3)):
        both = one.keys() & other.keys()
        assert len(both) > 40 and all(one[n] == other[n] for n in both)


@pytest.mark.parametrize('processes, workers, size', [(1, 0, 4), (2, 0, 3), (3, 2, 4), (2, 3, 16)])
def test_evaluation_sees_each_video_once(data, processes, workers, size):
    loaders = [build_shard_loader(data.val, SMALLER, False, size, workers, rank, processes) for rank in range(processes)]
    batches = [list(loader) for loader in loaders]
    assert {len(b) for b in batches} == {len(loader.dataset) for loader in loaders} and len({len(b) for b in batches}) == 1
    assert all(len(b['label']) == size for of_process in batches for b in of_process)
    assert sorted(int(n) for of_process in batches for b in of_process for n, ok in zip(b['number'], b['valid']) if ok) == list(range(10))


def test_too_few_shards_are_refused_and_no_file_is_left_in_memory(data):
    with pytest.raises(ValueError, match='9 shards to train on, for 3 processes with 4 loading processes each, which need 12'): build_shard_loader(data.train, SMALLER, True, 4, 4, 0, 3)
    numbers(build_shard_loader(data.train, SMALLER, True, 5))
    assert not list(Path('/dev/shm').glob('adafocus-*/*'))


@pytest.fixture
def fifth(nine):
    "A shard that a test may spoil."
    path = nine/'train-000004.tar'
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


def reported(loader): return [why for batch in loader for _, why in batch['failures']]


def test_a_shard_that_is_gone_or_cut_costs_its_videos_and_no_step(data, fifth):
    loader, content = build_shard_loader(data.train, SMALLER, True, 5), fifth.read_bytes()
    fifth.unlink()
    batches = list(loader)
    assert len(batches) == len(loader.dataset)
    why, = reported(batches)
    assert 'could not be read in 3 tries, 0 samples came' in why and '7 of its videos are lost' in why
    fifth.write_bytes(content[:len(content)//2])
    why, = reported(build_shard_loader(data.train, SMALLER, True, 5))
    assert 'could not be read in 3 tries' in why and 'of its videos are lost' in why


def test_a_video_that_cannot_be_used_is_reported_by_shard_and_name(data, fifth):
    content = [(s.key, s.video) for s in read_samples(str(fifth))]
    with wds.TarWriter(str(fifth), mtime=0, encoder=False) as tar:
        for k, (key, video) in enumerate(content):
            tar.write({'__key__': key, 'mp4': b'no video' if k == 1 else video, 'json': b'{"label": ["nobody"]}' if k == 2 else b'{"label": ["bars"]}'})
    bad = sorted(reported(build_shard_loader(data.train, SMALLER, True, 5)))
    assert len(bad) == 2
    assert 'train-000004.tar#000001: not a video' in bad[0] and "train-000004.tar#000002: its label 'nobody' is not in the index" in bad[1]
