"Shards that are served, broken, hostile or few: what is read and what is reported is all there is; and training on them."
import io
import json
import os
import socket
import tarfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import CPU, SMALL, TWO_PROCESSES, run
from safetensors.torch import load_file

from adafocus.data.loading import SampleConfig
from adafocus.data.shard_files import open_shards, read_again, read_samples
from adafocus.data.shards import __main__ as shards
from adafocus.data.shards.streams import build_shard_loader
from adafocus.trainer.checkpoints import checkpoints

CONFIG = SampleConfig(num_frames=2, frame_size=112, resize=112, decode_timeout=0.)


@pytest.fixture(scope='module')
def eight(tiny, tmp_path_factory):
    "Fifty videos to train on in eight shards, twenty to evaluate on in four."
    out = tmp_path_factory.mktemp('shards')/'shards'
    done = run('python', '-m', 'adafocus.data.shards', tiny, out, '--shards', 8)
    assert done.returncode == 0 and f"--data 'wds:{out}/train-{{000000..000007}}.tar'" in done.stdout, done.stderr
    return out


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(shards, 'WAIT', .01); monkeypatch.setattr(shards, 'TIMEOUT', 1.)


class Server:
    "Serves a folder; `wrong` gets each request's path and count, and may say what goes wrong."
    def __init__(self, folder, wrong):
        self.counts, self.lock = {}, threading.Lock()
        outer = self
        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *args): pass
            def do_GET(self):
                with outer.lock: count = outer.counts[self.path] = outer.counts.get(self.path, 0) + 1
                what = wrong(self.path, count)
                if what == 'error': return self.send_error(503)
                if what is None: return super().do_GET()
                content = open(self.translate_path(self.path), 'rb').read()
                self.send_response(200); self.send_header('Content-Length', str(len(content))); self.end_headers()
                self.wfile.write(content[:len(content)//2]); self.wfile.flush()
                if what == 'stall': time.sleep(3)
                else: self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0'); self.connection.close()
        self.http = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.address = f'http://127.0.0.1:{self.http.server_port}'

    def __enter__(self): return self
    def __exit__(self, *_): self.http.shutdown(); self.http.server_close()


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


def test_shards_from_a_program(eight, tmp_path, monkeypatch):
    "gs: is opened by gsutil, s3: by aws; programs of our own stand in for them, and then for one that hangs, and one that fails."
    program = tmp_path/'gsutil'
    for name, argument in (('gsutil', 2), ('aws', 3)):
        (tmp_path/name).write_text(f'#!/bin/sh\nexec cat {eight}/"${{{argument}##*/}}"\n'); (tmp_path/name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    for store in ('gs', 's3'): assert seen(open_shards(f'{store}://bucket/val-{{000000..000003}}.tar')) == (list(range(20)), [])
    program.write_text('#!/bin/sh\nsleep 60\n')
    with pytest.raises(OSError, match='nothing came for 1 seconds'): list(read_again('gs://bucket/val-000000.tar'))
    program.write_text('#!/bin/sh\nexit 3\n')
    with pytest.raises(OSError, match='exit 3'): list(read_again('gs://bucket/val-000000.tar'))


def member(tar, name, content=b'', **more):
    info = tarfile.TarInfo(name); info.size = len(content)
    for key, x in more.items(): setattr(info, key, x)
    tar.addfile(info, io.BytesIO(content))


def test_a_hostile_shard_does_nothing_and_all_is_accounted_for(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video, label, canary = next(tiny.glob('val/*/*.mp4')).read_bytes(), b'{"label": "bars"}', tmp_path/'canary'
    with tarfile.open('evil.tar', 'w') as tar:
        member(tar, 'good.mp4', video); member(tar, 'good.json', label)
        for name in ('../../out.mp4', f'{tmp_path}/absolute.mp4'): member(tar, name, video)
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE): member(tar, f'link{kind.decode()}.mp4', type=kind, linkname='/etc/passwd')
        for kind in (tarfile.CHRTYPE, tarfile.FIFOTYPE): member(tar, f'device{kind.decode()}.mp4', type=kind)
        member(tar, 'pickle.pkl', b'cos\nsystem\n(S"touch %s"\ntR.' % str(canary).encode()); member(tar, 'pickle.json', label)
        member(tar, 'a.mp4', video); member(tar, 'b.mp4', video); member(tar, 'a.json', label); member(tar, 'b.json', label)      # interleaved
        member(tar, 'deep.mp4', video); member(tar, 'deep.json', b'['*100_000)
        member(tar, 'long.mp4', video); member(tar, 'long.json', b'{"label": "' + b'x'*(2 << 20) + b'"}')
        member(tar, 'good.mp4', video); member(tar, 'good.json', label)                                                          # again
        member(tar, 'two.mp4', video); member(tar, 'two.webm', video); member(tar, 'two.json', label)
        member(tar, 'number.mp4', video); member(tar, 'number.cls', b'7')
    with tarfile.open('sparse.tar', 'w') as tar:                       # a member of seven gigabytes in a few bytes
        info = tarfile.TarInfo('huge.mp4'); info.type = tarfile.GNUTYPE_SPARSE; info.size = 512
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        header[386:398], header[398:410], header[483:495] = b'%011o\0' % 0, b'%011o\0' % 512, b'%011o\0' % (7 << 30)
        header[148:156] = b' '*8; header[148:156] = b'%06o\0 ' % sum(header)
        tar.fileobj.write(bytes(header) + b'x'*512); tar.offset += 1024
        member(tar, 'after.mp4', video); member(tar, 'after.json', label)
    config_for_results = []
    samples = list(read_samples('evil.tar', config_for_results.append))
    assert [s.key for s in samples if not s.problem] == ['good', 'number'] and [s.key for s in samples] == ['good', 'pickle', 'a', 'b', 'a', 'b', 'deep', 'long', 'good', 'two', 'number']
    assert len(config_for_results) == 6 and sum('no plain file' in t for t in config_for_results) == 4 and sum('leads out' in t for t in config_for_results) == 2
    config_for_results = []
    assert [s.key for s in read_samples('sparse.tar', config_for_results.append) if not s.problem] == ['after'] and 'huge.mp4' in config_for_results[0]
    with tarfile.open('endless.tar', 'w') as tar:                      # one that claims to have 2**80 bytes
        info = tarfile.TarInfo('endless.mp4'); info.size = 1 << 80
        tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT)); tar.offset += 512
    with pytest.raises(OSError, match='claims to have'): list(read_again('endless.tar'))
    for command in ('pipe:touch ', 'pipe://../../bin/touch ', 'file://'):
        with pytest.raises(ValueError, match='is not read'): open_shards('evil.tar', f'{command}{canary}')
    assert not canary.exists() and sorted(p.name for p in tmp_path.iterdir()) == ['endless.tar', 'evil.tar', 'sparse.tar']


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


@pytest.mark.parametrize('data, says', [('pipe:cat {shards}/train-000000.tar', 'is not read'), ('file:{shards}/train-000000.tar', 'is not read'), ('{tiny}/train-000000.tar', 'says what is in the shards'),
                                        ('{shards}/train-000009.tar', 'is not in'), ('{shards}/train-00000{{0..1}}.tar', 'which need 4')])
def test_what_cannot_be_trained_on_is_one_sentence(eight, tiny, tmp_path, data, says):
    done = run('python', '-m', 'adafocus.train', '--data', 'wds:' + data.format(shards=eight, tiny=tiny), '--out', tmp_path/'run', *SMALL, '--workers', 4)
    assert done.returncode == 2 and says in done.stderr and 'Traceback' not in done.stderr, done.stderr


def test_training_on_shards(forking, eight, tmp_path):
    "Two processes; told to stop in the middle of an epoch it goes on to the same end."
    data, flags = f'wds:{eight}/train-{{000000..000007}}.tar', (*SMALL, '--epochs', 2, '--save-steps', 1, '--log-steps', 1, '--save-minutes', 0, '--num-frames', 4)
    done = run('python', '-m', *TWO_PROCESSES, 'adafocus.train', '--data', data, '--out', tmp_path/'whole', *flags, **CPU)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path/'whole'/'metrics.jsonl').open()]
    assert [m['videos'] for m in lines] == [20, 20] and [m['left_out'] for m in lines] == [0, 0]
    # the same run, without what came after the middle of the second epoch
    import shutil
    shutil.copytree(tmp_path/'whole', tmp_path/'cut')
    newest = checkpoints(tmp_path/'cut')[-2]
    assert not newest.name.endswith('step-000000'), 'the checkpoint before the last lies within an epoch'
    shutil.rmtree(checkpoints(tmp_path/'cut')[-1])
    one = run('python', '-m', 'adafocus.train', '--resume', tmp_path/'cut', **CPU)
    assert one.returncode == 2 and 'shards were dealt to 2 processes with --workers 1' in one.stderr
    statuses, said = forking.ranks(2, 'signal_at', 10**6, '--resume', tmp_path/'cut')
    assert statuses == [0, 0], said
    a, b = (load_file(checkpoints(tmp_path/name)[-1]/'model.safetensors') for name in ('whole', 'cut'))
    assert all((a[name] == b[name]).all() for name in a)
