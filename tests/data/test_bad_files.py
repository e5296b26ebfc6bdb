"Files that lie: none ends the process that reads them, none is trained on in silence, all are named."
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SMALL, run
from hostile import encode, make_files, picture

from adafocus.check import check_data
from adafocus.data.loading import SampleConfig, VideoDataset
from adafocus.data.records import Video
from adafocus.data.video.files import VideoError
from adafocus.data.video.guard import DecodeProcess, open_guarded
from adafocus.data.video.readers import open_video
from adafocus.data.video.writing import write_video

DECODERS = 'decord', 'pyav'


@pytest.fixture(scope='module')
def made(tmp_path_factory): return make_files(tmp_path_factory.mktemp('made'))


def refused(path, decoder):
    "The message with which a file is refused, when it is opened or when all its frames are read."
    with pytest.raises(VideoError) as e:
        with open_guarded(path, decoder, timeout=20.) as reader: reader.read(range(len(reader)))
    assert Path(path).name in str(e.value)
    return str(e.value)


@pytest.mark.parametrize('decoder', DECODERS)
class TestWhatMustHappen:
    @pytest.mark.parametrize('name', ['empty', 'text', 'truncated', 'audio_only', 'liar'])
    def test_what_is_no_video_is_an_error_that_names_it(self, made, decoder, name):
        refused(made/f'{name}.mp4', decoder)

    @pytest.mark.parametrize('name', ['undecodable_tail_silent', 'undecodable_tail_error', 'cut'])
    def test_frames_that_are_not_there_are_noticed(self, made, decoder, name): refused(made/f'{name}.mp4', decoder)

    @pytest.mark.parametrize('name, frames', [('one_frame', 1), ('tiny', 30), ('good', 300), ('front', 300)])
    def test_what_is_in_order_is_read(self, made, decoder, name, frames):
        with open_guarded(made/f'{name}.mp4', decoder) as reader: assert len(reader.read(range(len(reader)))) == frames


def test_a_control_decord_alone_notices_nothing(made):
    "Without our checks, the frames that are made up come without a word."
    import decord
    reader = decord.VideoReader(str(made/'undecodable_tail_silent.mp4'), num_threads=1)
    assert len(reader.get_batch(range(0, 300, 30)).asnumpy()) == 10


def test_a_check_counts_what_truly_decodes(made, tmp_path):
    _, rows, _ = check_data(str(made), out=tmp_path/'manifest.jsonl', progress=False)
    checked = {r['path'].rsplit('/', 1)[-1].removesuffix('.mp4'): r for r in rows}
    for name, frames in (('one_frame', 1), ('tiny', 30), ('good', 300), ('front', 300)):
        assert checked[name]['error'] is None and checked[name]['frames_good'] == checked[name]['frames_declared'] == frames
    assert checked['liar']['frames_declared'] == 2**31 - 1 and checked['liar']['frames_good'] == 30
    for name in ('empty', 'text', 'truncated', 'audio_only'): assert checked[name]['error'] and not checked[name]['frames_good'], name
    for name in ('undecodable_tail_silent', 'undecodable_tail_error'):
        assert checked[name]['frames_declared'] == 300 and 195 <= checked[name]['frames_good'] <= 201, checked[name]
        with open_guarded(made/f'{name}.mp4', frames=checked[name]['frames_good']) as reader: assert np.abs(reader.read(range(len(reader))).astype(int) - _pixels(made, 'sliced.mp4' if 'silent' in name else 'good.mp4', len(reader))).mean() < .5
    assert checked['cut']['frames_declared'] == 300 and 20 < checked['cut']['frames_good'] < 290


def _pixels(made, name, count):
    with open_video(made/name) as reader: return reader.read(range(count))


def test_the_shared_broken_clips(beside):
    folder = beside('clips_bad')
    for name in ('empty', 'text', 'truncated', 'audio_only', 'undecodable_tail_error', 'undecodable_tail_silent'):
        for decoder in DECODERS: refused(folder/f'{name}.mp4', decoder)
    for name, frames, size in (('one_frame', 1, (240, 320)), ('tiny', 30, (48, 64))):
        with open_guarded(folder/f'{name}.mp4') as reader: assert reader.read(range(len(reader))).shape == (frames, *size, 3)
    with open_guarded(folder/'undecodable_tail_silent.mp4', frames=199) as reader: assert len(reader.read(range(199))) == 199


def test_playlists_are_refused_before_a_decoder_sees_them(made, tmp_path):
    target = (made/'good.mp4').resolve()
    lists = {'concat': f'ffconcat version 1.0\nfile {target.name}\n', 'concat_space': f'\nffconcat version 1.0\nfile {target}\n', 'hls': f'#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{target}\n#EXT-X-ENDLIST\n',
             'dash': f'<?xml version="1.0"?><MPD><BaseURL>{target}</BaseURL></MPD>', 'sdp': 'v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n', 'url': 'http://127.0.0.1/x.mp4', 'imf': '<?xml version="1.0"?><AssetMap/>'}
    for name, content in lists.items():
        (tmp_path/f'{name}.mp4').write_text(content)
        for decoder in DECODERS:
            with pytest.raises(VideoError, match='by its first bytes'): open_video(tmp_path/f'{name}.mp4', decoder)


def test_pictures_that_unfold_into_gigabytes_are_refused(tmp_path):
    "In a process that may take 4 GB, and takes no more than one."
    from PIL import Image
    encode(tmp_path/'large.ts', [(8192, 8192)], 2)
    encode(tmp_path/'grows.ts', [(64, 64), (8192, 8192)], 2)
    for suffix in ('jpg', 'png'):
        (tmp_path/suffix).mkdir()
        Image.new('L', (14000, 14000)).save(tmp_path/suffix/f'00001.{suffix}')
    process = DecodeProcess(30.)
    for name in ('large.ts', 'grows.ts'):
        _, rows, _ = check_data(_folder_of(tmp_path, name), progress=False, out=tmp_path/f'{name}.jsonl')
        assert 'million pixels' in rows[0]['error'] and name in rows[0]['error'], rows
    with pytest.raises(VideoError, match='million pixels'): process.ask('open', tmp_path/'large.ts', str(tmp_path/'large.ts'), 'decord', None, None)
    peak = int(next(line for line in Path(f'/proc/{process._process.pid}/status').read_text().splitlines() if line.startswith('VmHWM')).split()[1])
    assert peak < 1_000_000
    process.close()
    for suffix in ('jpg', 'png'):
        with pytest.raises(VideoError, match='pixels'): open_video(tmp_path/suffix)
    write_video(tmp_path/'long.mp4', picture(40, 640, 640))
    with open_video(tmp_path/'long.mp4') as reader, pytest.raises(VideoError, match='at most 2048 are read at once'): reader.read(list(range(40))*50)


def _folder_of(tmp_path, name):
    (tmp_path/f'of_{name}').mkdir()
    shutil.copy(tmp_path/name, tmp_path/f'of_{name}'/name)
    return str(tmp_path/f'of_{name}')


FAKE = '''
import ctypes, os, sys
sys.path.remove(__file__.rsplit('/', 1)[0]); del sys.modules['decord']
import decord
read = decord.VideoReader
def VideoReader(path, **kwargs):
    if path.rsplit('/')[-1].startswith('hang'):
        lock, buffer = ctypes.PyDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
        lock(buffer); lock(buffer)
    if path.rsplit('/')[-1].startswith('abort'): os.abort()
    return read(path, **kwargs)
decord.VideoReader = VideoReader
'''


@pytest.fixture
def fifty(tmp_path):
    "Fifty clips of two classes, one of which hangs the decoder for ever and one of which aborts it; and an environment in which they do."
    (tmp_path/'fake').mkdir()
    (tmp_path/'fake'/'decord.py').write_text(FAKE)
    for k in range(50):
        path = tmp_path/'data'/('train' if k < 40 else 'val')/f'class{k % 2}'/f'{ {7: "hang", 12: "abort"}.get(k, "clip")}{k}.mp4'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, picture(8, 112, 112, k))
    return tmp_path/'data', dict(PYTHONPATH=os.pathsep.join([str(tmp_path/'fake'), str(ROOT)]))


def children(env):
    "Decoding processes of these commands that are still there, wherever they have gone: they carry the commands' own environment."
    def ours(process):
        try: return b'adafocus.data.video.guard' in (process/'cmdline').read_bytes() and env['PYTHONPATH'].encode() in (process/'environ').read_bytes()
        except OSError: return False
    return [process.name for process in Path('/proc').glob('[0-9]*') if ours(process)]


def test_a_hang_and_an_abort_among_fifty(fifty):
    data, env = fifty
    begin = time.monotonic()
    done = run('python', '-m', 'adafocus.check', data, '--workers', 2, '--timeout', 4, timeout=120, **env)
    assert done.returncode == 1 and time.monotonic() - begin < 60, done.stderr
    rows = {r['path'].rsplit('/', 1)[-1]: r for r in map(json.loads, (data/'manifest.jsonl').open())}
    assert len(rows) == 50 and sum(r['error'] is None and r['frames_good'] == 8 for r in rows.values()) == 48
    assert 'nothing was decoded for 4 seconds' in rows['hang7.mp4']['error'] and 'SIGABRT' in rows['abort12.mp4']['error']
    assert not children(env)


@pytest.mark.slow
def test_training_goes_on_after_a_hang_and_an_abort(fifty, tmp_path):
    data, env = fifty
    done = run('python', '-m', 'adafocus.train', '--data', data, '--out', tmp_path/'run', '--epochs', 2, *SMALL, '--decode-timeout', 3, '--cache-mb', 0, timeout=240, **env)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count('hang7.mp4: nothing was decoded for 3 seconds') == 1 and done.stderr.count('abort12.mp4: the decoder died of it (SIGABRT') == 1
    assert json.loads((tmp_path/'run'/'metrics.jsonl').read_text().splitlines()[-1])['left_out'] == 2 and not children(env)
    for path in list(data.rglob('abort12.mp4')): path.rename(data/'val'/path.parent.name/path.name)                # and in evaluation it is an error that names it
    refused = run('python', '-m', 'adafocus.evaluate', tmp_path/'run', timeout=240, **env)
    assert refused.returncode == 1 and 'abort12.mp4: the decoder died of it (SIGABRT' in refused.stderr and 'Traceback' not in refused.stderr
    assert run('python', '-m', 'adafocus.evaluate', tmp_path/'run', '--skip-bad', timeout=240, **env).returncode == 0
    named = run('python', '-m', 'adafocus.predict', tmp_path/'run', data, timeout=240, **env)
    assert named.returncode == 1 and len(named.stdout.splitlines()) == 48 and not children(env), named.stderr
    assert 'hang7.mp4: nothing was decoded for 3 seconds' in named.stderr and 'abort12.mp4: the decoder died of it (SIGABRT' in named.stderr and '2 of 50 videos' in named.stderr


@pytest.mark.slow
def test_a_control_without_the_guard_the_abort_ends_the_run(fifty, tmp_path):
    data, env = fifty
    for path in data.rglob('hang*'): path.unlink()
    done = run('python', '-m', 'adafocus.train', '--data', data, '--out', tmp_path/'run', '--epochs', 2, *SMALL, '--workers', 0, '--decode-timeout', 0, timeout=240, **env)
    assert done.returncode not in (0, 1, 2)


@pytest.mark.parametrize('name, status', [('abort12.mp4', -6), ('hang7.mp4', -9)])
def test_a_control_unguarded_decoding_dies_or_never_ends(fifty, name, status):
    "An abort takes its process along; a hang heeds no signal but the last."
    data, env = fifty
    path = next(data.rglob(name))
    alone = subprocess.Popen([sys.executable, '-c', f'import signal; signal.signal(signal.SIGTERM, lambda *_: exit(3)); from adafocus.data.video.readers import open_video; print("go", flush=True); open_video({str(path)!r})'],
                             env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    alone.stdout.readline()
    time.sleep(1)
    alone.terminate()
    try: alone.wait(3)
    except subprocess.TimeoutExpired:
        alone.kill()
        alone.wait()
    assert alone.returncode == status


def test_a_killed_parent_leaves_no_decoder(fifty):
    data, env = fifty
    parent = subprocess.Popen([sys.executable, '-m', 'adafocus.check', str(data), '--workers', '2', '--timeout', '300'], cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (data/'manifest.jsonl').exists() or len(children(env)) < 2 and time.monotonic() < deadline: time.sleep(.1)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while children(env) and time.monotonic() < deadline: time.sleep(.1)
    assert not children(env)


def test_mutants_never_end_the_process(made):
    "Files with random damage: frames of the right shape, or an error that names the file."
    rng, process = np.random.default_rng(0), DecodeProcess(20.)
    sources = [(made/name).read_bytes() for name in ('tiny.mp4', 'one_frame.mp4')]
    write_video(made/'small.mkv', picture(20, 48, 64))
    write_video(made/'small.avi', picture(20, 48, 64))
    sources += [(made/f'small.{s}').read_bytes() for s in ('mkv', 'avi')]
    path, kinds = made/'mutant.mp4', {}
    for k in range(240):
        data = bytearray(sources[k % len(sources)])
        at, size = int(rng.integers(len(data))), int(rng.integers(1, 60))
        kind = k//len(sources) % 6
        if kind == 0: data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1: data[at:at + size] = rng.bytes(size)
        elif kind == 2: data = data[:at]
        elif kind == 3: data[at:at] = rng.bytes(size)
        elif kind == 4: del data[at:at + size]
        else: data[at:at + size] = bytes(size)
        path.write_bytes(data)
        for decoder in DECODERS:
            try:
                opened = process.ask('open', path, str(path), decoder, 32, None)
                shape = process.ask('read', path, [0, opened['frames'] - 1])['shape']
                assert shape == [2, *opened['size'], 3] and min(opened['size']) <= 32
                kinds['frames'] = kinds.get('frames', 0) + 1
            except VideoError as e:
                assert 'mutant.mp4' in str(e), e
                kinds['error'] = kinds.get('error', 0) + 1
    process.close()
    path.unlink()
    (made/'small.mkv').unlink()
    (made/'small.avi').unlink()
    assert kinds['frames'] > 20 and kinds['error'] > 100


def _memory(): return int(Path('/proc/self/statm').read_text().split()[1])*os.sysconf('SC_PAGE_SIZE')


def growth(read, repeats=2000, warm=500):
    "Bytes a call by which this process grows, and file descriptors."
    for _ in range(warm): read()
    at, files = _memory(), len(os.listdir('/proc/self/fd'))
    for _ in range(repeats - warm): read()
    return (_memory() - at)/(repeats - warm), len(os.listdir('/proc/self/fd')) - files


@pytest.mark.slow
def test_memory_stays_flat_over_two_thousand_clips(made):
    "This process, and the one that decodes for it."
    dataset = VideoDataset([Video(made/'tiny.mp4', (0,))], SampleConfig(num_frames=4, frame_size=32, resize=48), True)
    from adafocus.data.video.guard import _here
    dataset[0, 0]
    child = Path(f'/proc/{_here.process._process.pid}')
    resident = lambda: int((child/'statm').read_text().split()[1])*os.sysconf('SC_PAGE_SIZE')
    marks = []
    def read():
        dataset[len(marks), 0]
        marks.append(resident() if len(marks) in (500, 1999) else 0)
    bytes_a_clip, files = growth(read)
    assert bytes_a_clip < 10_000 and files <= 2
    assert (marks[1999] - marks[500])/1500 < 10_000 and len(os.listdir(child/'fd')) < 20


def test_a_control_readers_that_are_not_closed_grow(made):
    import av
    kept = []
    bytes_a_clip, files = growth(lambda: kept.append(av.open(str(made/'tiny.mp4'))), 300, 100)
    assert files > 100 or bytes_a_clip > 10_000
    for container in kept: container.close()


@pytest.mark.slow
def test_an_idle_loader_does_not_grow(tmp_path):
    "A decoder that is left open goes on decoding: ours is closed before the sample is returned."
    write_video(tmp_path/'long.mp4', picture(10, 720, 1280).repeat(30, 0), 30)
    with open_guarded(tmp_path/'long.mp4') as reader: reader.read([0, 1])
    from adafocus.data.video.guard import _here
    resident = lambda: int(Path(f'/proc/{_here.process._process.pid}/statm').read_text().split()[1])*os.sysconf('SC_PAGE_SIZE')
    before = resident()
    time.sleep(4)
    assert resident() - before < 100e6
