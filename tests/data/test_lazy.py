"Frames on demand are those that the loader reads, and decoding begins where the decoder begins."
import av
import decord
import numpy as np
import pytest
import torch
from fastcore.test import test_eq as equal

from adafocus.data.lazy import LazyFrames
from adafocus.data.loading import SampleConfig, VideoDataset
from adafocus.data.records import Video
from adafocus.data.video.files import VideoError, examine
from adafocus.data.video.readers import open_video
from adafocus.data.video.writing import write_video

CONFIG = SampleConfig(num_frames=16, frame_size=112, resize=128)


def write(path, every):
    "Ten seconds of a picture that moves, with a key frame in `every` frames."
    picture = np.random.default_rng(0).integers(0, 255, (8, 14, 3)).repeat(20, 0).repeat(20, 1).astype(np.uint8)
    options = dict(crf='20', preset='ultrafast', threads='1', g=str(every), keyint_min=str(every), sc_threshold='0')
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=24, options=options)
        stream.height, stream.width, stream.pix_fmt = 160, 280, 'yuv420p'
        for f in range(240):
            pixels = np.roll(picture, 3*f, 1).copy()
            pixels[:8, :f + 1] = 255
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        out.mux(stream.encode())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Videos with a key frame every twelve and every 24 frames, with one, and one of three frames."
    folder = tmp_path_factory.mktemp('lazy')
    for name, every in (('twelve', 12), ('seconds', 24), ('single', 240)): write(folder/f'{name}.mp4', every)
    write_video(folder/'short.mp4', np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3)).astype(np.uint8))
    return folder


def loaded(path, config): return VideoDataset([Video(path, (0,))], config, training=False)[0, 0]['frames']


def test_sampled_frames_that_come_along_are_kept(folder):
    frames = LazyFrames(folder/'seconds.mp4', CONFIG)
    frames.read(1)
    first = frames.numbers[0]
    assert frames.shown == (160, 280)
    assert frames.decoded == 1 + sum((first//24*24 <= frames.numbers) & (frames.numbers < first))


@pytest.mark.parametrize('decoder', ['decord', 'pyav'])
@pytest.mark.parametrize('reorder', [True, False])
def test_one_by_one_they_are_the_loader_s(folder, decoder, reorder):
    config = SampleConfig(num_frames=7, frame_size=64, resize=64, decoder=decoder, reorder=reorder)
    frames, expected = LazyFrames(folder/'seconds.mp4', config), loaded(folder/'seconds.mp4', config)
    for k in range(7):
        frames.read(k + 1)
        equal(frames[k], expected[k])


def test_a_video_with_fewer_frames_than_are_sampled(folder):
    frames = LazyFrames(folder/'short.mp4', CONFIG)
    frames.read(16)
    assert frames.decoded == 3
    equal(torch.stack([frames[k] for k in range(16)]), loaded(folder/'short.mp4', CONFIG))


def test_a_file_that_changes_or_is_missing_is_an_error(folder, tmp_path):
    path = tmp_path/'video.mp4'
    path.write_bytes((folder/'seconds.mp4').read_bytes())
    frames = LazyFrames(path, CONFIG)
    frames.read(1)
    write_video(path, np.zeros((9, 64, 64, 3), np.uint8))
    with pytest.raises(VideoError, match='changed while it was read'): frames.read(2)
    with pytest.raises(VideoError, match='No such file'): LazyFrames(tmp_path/'none.mp4', CONFIG).read(1)


@pytest.mark.parametrize('name', ['single', 'short', 'twelve', 'seconds'])
def test_decoding_begins_by_the_packets_where_decord_begins(folder, name):
    path = folder/f'{name}.mp4'
    assert list(examine(path)[1].keys) == decord.VideoReader(str(path)).get_key_indices()


def test_where_readers_begin(folder):
    with open_video(folder/'twelve.mp4') as one, open_video(folder/'twelve.mp4', 'pyav') as other:
        assert list(one.starts([0, 11, 12, 239])) == [0, 0, 12, 228]
        assert list(other.starts([0, 11, 12, 239])) == [0]*4
