"Decoding in a process that may die: where it stands, what it says, and that it is used again."
import os

import numpy as np
import pytest

from adafocus.data.video.files import VideoError
from adafocus.data.video.guard import _here, open_guarded
from adafocus.data.video.writing import numbered_clip, write_video


@pytest.fixture
def clip(tmp_path):
    "A clip, and some of its frames; the decoding process ends with the test."
    write_video(tmp_path/'clip.mp4', numbered_clip(24))
    with open_guarded(tmp_path/'clip.mp4', timeout=0) as reader: frames = reader.read([0, 8, 16, 23])
    yield tmp_path/'clip.mp4', frames
    _here.process.close()


def read(path):
    with open_guarded(path) as reader: return reader.read([0, 8, 16, 23])


def test_paths_are_relative_to_where_the_asking_process_is(clip, monkeypatch):
    path, frames = clip
    assert (read(path) == frames).all()                                  # the process is started elsewhere
    monkeypatch.chdir(path.parent)
    assert (read('clip.mp4') == frames).all()


def test_a_folder_that_is_gone_is_no_reason_to_die(clip, monkeypatch):
    path, frames = clip
    (path.parent/'gone').mkdir()
    monkeypatch.chdir(path.parent/'gone')
    assert (read(path) == frames).all()
    monkeypatch.chdir(path.parent)
    (path.parent/'gone').rmdir()
    process = _here.process._process.pid
    assert (read(path) == frames).all() and _here.process._process.pid == process


def test_errors_of_the_asking_kind_come_through(clip):
    path, _ = clip
    with pytest.raises(ValueError, match='it may be decord'): open_guarded(path, 'ffmpeg')
    with open_guarded(path) as reader, pytest.raises(IndexError, match=r'frame 24 is not in 0\.\.23'): reader.read([24])
    with open_guarded(path) as reader: assert reader.read([]).shape == (0, 48, 64, 3)


def test_what_ffmpeg_says_of_damage_is_an_error(clip, tmp_path):
    read(clip[0])
    write_video(tmp_path/'noise.mp4', np.random.default_rng(0).integers(0, 255, (24, 64, 64, 3), dtype=np.uint8))
    data = bytearray((tmp_path/'noise.mp4').read_bytes())
    at = data.index(b'mdat') + len(data)//2
    data[at:at + 3000] = bytes(range(1, 251))*12
    (tmp_path/'damaged.mp4').write_bytes(data)
    with pytest.raises(VideoError, match='damaged|cannot be decoded|no picture'):
        with open_guarded(tmp_path/'damaged.mp4') as reader: reader.read(range(24))


def test_the_process_that_decodes_has_no_pytorch(clip):
    read(clip[0])
    maps = open(f'/proc/{_here.process._process.pid}/maps').read()
    assert 'decord' in maps and 'libtorch' not in maps
    assert os.path.exists(f'/proc/{_here.process._process.pid}')
