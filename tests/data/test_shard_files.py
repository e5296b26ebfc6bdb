"Shards that are served, broken, hostile or few: what is read and what is reported is all that they hold."
import os
import tarfile

import pytest
from shard_server import Server, member

from adafocus.data import shard_files
from adafocus.data.shard_files import open_shards, read_again, read_samples


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(shard_files, '_WAIT', .01)
    monkeypatch.setattr(shard_files, '_TIMEOUT', 1.)


def numbers(data): return [number for shard in data.val.shards for number, sample in enumerate(read_again(shard.url), shard.first) if not sample.problem]


def test_shards_from_a_program(eight, tmp_path, monkeypatch):
    "gs: is opened by gsutil, s3: by aws; programs of our own stand in for them, and then for one that hangs, and one that fails."
    program = tmp_path/'gsutil'
    for name, argument in (('gsutil', 2), ('aws', 3)):
        (tmp_path/name).write_text(f'#!/bin/sh\nexec cat {eight}/"${{{argument}##*/}}"\n')
        (tmp_path/name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    for store in ('gs', 's3'): assert numbers(open_shards(f'{store}://bucket/val-{{000000..000003}}.tar')) == list(range(20))
    program.write_text('#!/bin/sh\nsleep 60\n')
    with pytest.raises(OSError, match='nothing came for 1 seconds'): list(read_again('gs://bucket/val-000000.tar'))
    program.write_text('#!/bin/sh\nexit 3\n')
    with pytest.raises(OSError, match='exit 3'): list(read_again('gs://bucket/val-000000.tar'))


def test_a_hostile_shard_does_nothing_and_all_is_accounted_for(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video, label, canary = next(tiny.glob('val/*/*.mp4')).read_bytes(), b'{"label": "bars"}', tmp_path/'canary'
    with tarfile.open('evil.tar', 'w') as tar:
        member(tar, 'good.mp4', video)
        member(tar, 'good.json', label)
        for name in ('../../out.mp4', f'{tmp_path}/absolute.mp4'): member(tar, name, video)
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE): member(tar, f'link{kind.decode()}.mp4', type=kind, linkname='/etc/passwd')
        for kind in (tarfile.CHRTYPE, tarfile.FIFOTYPE): member(tar, f'device{kind.decode()}.mp4', type=kind)
        member(tar, 'pickle.pkl', b'cos\nsystem\n(S"touch %s"\ntR.' % str(canary).encode())
        member(tar, 'pickle.json', label)
        member(tar, 'a.mp4', video)
        member(tar, 'b.mp4', video)
        member(tar, 'a.json', label)
        member(tar, 'b.json', label)      # interleaved
        member(tar, 'deep.mp4', video)
        member(tar, 'deep.json', b'['*100_000)
        member(tar, 'long.mp4', video)
        member(tar, 'long.json', b'{"label": "' + b'x'*(2 << 20) + b'"}')
        member(tar, 'good.mp4', video)
        member(tar, 'good.json', label)                                                          # again
        member(tar, 'two.mp4', video)
        member(tar, 'two.webm', video)
        member(tar, 'two.json', label)
        member(tar, 'number.mp4', video)
        member(tar, 'number.cls', b'7')
    with tarfile.open('sparse.tar', 'w') as tar:                       # a member of seven gigabytes in a few bytes
        info = tarfile.TarInfo('huge.mp4')
        info.type = tarfile.GNUTYPE_SPARSE
        info.size = 512
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        header[386:398], header[398:410], header[483:495] = b'%011o\0' % 0, b'%011o\0' % 512, b'%011o\0' % (7 << 30)
        header[148:156] = b' '*8
        header[148:156] = b'%06o\0 ' % sum(header)
        tar.fileobj.write(bytes(header) + b'x'*512)
        tar.offset += 1024
        member(tar, 'after.mp4', video)
        member(tar, 'after.json', label)
    notes = []
    samples = list(read_samples('evil.tar', notes.append))
    assert [s.key for s in samples if not s.problem] == ['good', 'number'] and [s.key for s in samples] == ['good', 'pickle', 'a', 'b', 'a', 'b', 'deep', 'long', 'good', 'two', 'number']
    assert len(notes) == 6 and sum('no plain file' in t for t in notes) == 4 and sum('leads out' in t for t in notes) == 2
    notes = []
    assert [s.key for s in read_samples('sparse.tar', notes.append) if not s.problem] == ['after'] and 'huge.mp4' in notes[0]
    with tarfile.open('endless.tar', 'w') as tar:                      # one that claims to have 2**80 bytes
        info = tarfile.TarInfo('endless.mp4')
        info.size = 1 << 80
        tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
        tar.offset += 512
    with pytest.raises(OSError, match='claims to have'): list(read_again('endless.tar'))
    for command in ('pipe:touch ', 'pipe://../../bin/touch ', 'file://'):
        with pytest.raises(ValueError, match='is not read'): open_shards('evil.tar', f'{command}{canary}')
    assert not canary.exists() and sorted(p.name for p in tmp_path.iterdir()) == ['endless.tar', 'evil.tar', 'sparse.tar']


def test_over_http_it_is_the_same(eight):
    with Server(eight, lambda path, count: None) as server:
        assert len(open_shards(f'{server.address}/train-{{000000..000007}}.tar').train) == 50
        served, local = (list(read_again(f'{folder}/val-000000.tar')) for folder in (server.address, eight))
        assert served == local and len(local) == 5
        with pytest.raises(ValueError, match='cannot be read'): open_shards(f'{server.address}/nothing/train-0.tar')


def test_some_shards_of_an_index(eight):
    assert len(open_shards(f'{eight}/train-{{000000..000002}}.tar').train) in (18, 19, 20, 21)
    assert len(open_shards(f'{eight}/{{train-000000,val-000001}}.tar').val) == 5
    with pytest.raises(ValueError, match='cannot be read'): open_shards(f'{eight.parent}/train-0.tar')
    with pytest.raises(ValueError, match='is not in .*, which names 12 shards'): open_shards(f'{eight}/train-000009.tar')
    with pytest.raises(ValueError, match='only be read in turn'): open_shards(f'{eight}/train-000000.tar').train[0]
