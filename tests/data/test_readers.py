"The same index gives the same frame: from every decoder, in every order, in every kind of file."
import sys
from fractions import Fraction
from importlib import import_module

import av
import numpy as np
import pytest
from PIL import Image

from adafocus.data.video.files import VideoError
from adafocus.data.video.readers import check_decoder, open_video
from adafocus.data.video.writing import drop_pictures, numbered_clip, write_video

FRAMES, BITS, BLOCK, HEIGHT = 80, 8, 16, 96


def usable(decoder):
    "Skip where a decoder cannot be used."
    if decoder == 'torchcodec':
        try: import_module('torchcodec.decoders')
        except (ImportError, OSError, RuntimeError): pytest.skip('torchcodec, or the FFmpeg that it needs, is not installed')
    return decoder


def numbered(height=HEIGHT, width=BITS*BLOCK + 32):
    "Frames that carry their number as a bar code in the upper third, over a picture that moves."
    yy, xx = np.mgrid[:height, :width]
    for n in range(FRAMES):
        frame = np.stack([128 + 60*np.sin((xx + 2*n)/17), 128 + 60*np.sin((yy - n)/11), 120 + .3*xx], -1)
        for bit in range(BITS): frame[:height//3, bit*BLOCK:(bit + 1)*BLOCK] = 255*(n >> bit & 1)
        yield frame.clip(0, 255).astype(np.uint8)


def numbers(frames):
    "The numbers that frames carry."
    row = np.asarray(frames)[:, 4:HEIGHT//3 - 4]
    bits = np.stack([row[:, :, bit*BLOCK + 5:(bit + 1)*BLOCK - 5].mean((1, 2, 3)) > 128 for bit in range(BITS)], 1)
    return (bits << np.arange(BITS)).sum(1)


def encode(path, codec='libx264', size=(HEIGHT, BITS*BLOCK + 32), pix_fmt='yuv420p', start=0, variable=False, rotation=0, frames=FRAMES, **options):
    "Write numbered frames."
    options = dict(dict(crf='16', threads='1') if codec == 'libx264' else dict(deadline='realtime', crf='10', b='2M'), **{k: str(v) for k, v in options.items()})
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        if rotation: stream.set_display_rotation(rotation)
        gaps = np.random.default_rng(0).integers(1, 5, frames) if variable else np.ones(frames, int)
        if variable: stream.codec_context.time_base = Fraction(1, 100)
        for pts, frame in zip(start + np.concatenate([[0], gaps.cumsum()]), list(numbered(*size))[:frames]):
            picture = av.VideoFrame.from_ndarray(frame, format='rgb24').reformat(format=pix_fmt)
            picture.pts = int(pts)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


FILES = dict(plain=('mp4', {}), variable_rate=('mp4', dict(variable=True)), b_frames=('mp4', dict(bf=3, preset='medium')), no_b_frames=('mp4', dict(bf=0)), every_frame_a_key=('mp4', dict(g=1)), keys_every_12=('mp4', dict(g=12, bf=2)),
             one_key=('mp4', dict(g=250, bf=3)), open_gop=('mp4', {'g': 12, 'bf': 3, 'x264-params': 'open-gop=1'}), late_start=('mkv', dict(start=40)), odd_size=('mp4', dict(size=(HEIGHT + 1, BITS*BLOCK + 33), pix_fmt='yuv444p')),
             one_frame=('mp4', dict(frames=1)), mkv=('mkv', dict(bf=2)), ts=('ts', dict(bf=2)), avi=('avi', dict(bf=0)), flv=('flv', {}), vp9=('webm', dict(codec='libvpx-vp9')))


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    here = tmp_path_factory.mktemp('frames')
    return {name: encode(here/f'{name}.{suffix}', **options) for name, (suffix, options) in FILES.items()}


@pytest.mark.parametrize('decoder', ['decord', 'pyav', 'torchcodec'])
def test_frames_that_an_edit_hides_are_not_counted(made, tmp_path, decoder):
    "A video cut without encoding it anew begins at a key frame, and says from where on it is to be shown."
    with av.open(str(made['keys_every_12'])) as source, av.open(str(tmp_path/'cut.mp4'), 'w') as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        step = None
        for packet in source.demux(video=0):
            step = step or packet.duration
            if packet.dts is None or packet.pts < 24*step: continue
            packet.pts -= 33*step
            packet.dts -= 33*step                    # shown from frame 33 on
            packet.stream = stream
            target.mux(packet)
    with open_video(tmp_path/'cut.mp4', usable(decoder)) as reader:
        got = numbers(reader.read(range(len(reader)))).tolist()
    assert got == list(range(80 - len(got), 80)) and len(got) == 47


def wrong(reader, rng, reads=6, each=12):
    "How many of many frames, read in all orders, are not the ones asked for."
    missed = 0
    for k in range(reads):
        asked = rng.integers(0, len(reader), each)
        asked = (asked, np.sort(asked)[::-1], np.sort(asked))[k % 3]
        missed += int((numbers(reader.read(asked)) != asked).sum())
    return missed


@pytest.mark.parametrize('decoder', ['decord', 'pyav', 'torchcodec'])
@pytest.mark.parametrize('name', FILES)
def test_the_frame_that_is_asked_for_is_the_one_that_comes(made, name, decoder):
    with open_video(made[name], usable(decoder)) as reader:
        assert len(reader) == (1 if name == 'one_frame' else FRAMES)
        assert wrong(reader, np.random.default_rng(len(name))) == 0


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('decoder', ['decord', 'torchcodec'])
def test_decoders_agree_on_pixels(made, name, decoder):
    every = [0] if name == 'one_frame' else range(0, FRAMES, 3)
    for shorter_side, mean, within in ((None, 1, .99), (64, 2, .8)):
        with open_video(made[name], usable(decoder), shorter_side) as one, open_video(made[name], 'pyav', shorter_side) as other:
            far = np.abs(one.read(every).astype(int) - other.read(every))
        assert far.mean() < mean and (far <= 3).mean() > within, (far.mean(), (far <= 3).mean())


@pytest.mark.parametrize('rotation', [0, 90, 180, 270])
@pytest.mark.parametrize('decoder', ['decord', 'pyav', 'torchcodec'])
def test_turned_videos_are_upright(tmp_path, rotation, decoder):
    path = encode(tmp_path/'turned.mp4', rotation=rotation, g=12)
    with open_video(path, usable(decoder)) as reader:
        frames = reader.read([50, 3, 20])
        assert frames.shape[1:3] == reader.size == ((HEIGHT, BITS*BLOCK + 32), (BITS*BLOCK + 32, HEIGHT))[rotation//90 % 2]
    back = [np.rot90(frames, k, (1, 2)) for k in range(4)]
    assert [50, 3, 20] in [numbers(x).tolist() for x in back if x.shape[1] == HEIGHT]
    with open_video(path, 'pyav') as reader: assert np.abs(reader.read([50, 3, 20]).astype(int) - frames).mean() < 1
    with open_video(path, decoder, 48) as reader: assert min(reader.read([7]).shape[1:3]) == 48


def test_a_control_a_reader_that_is_one_off_is_found(made):
    class Late:
        def __init__(self, reader): self.reader = reader
        def __len__(self): return len(self.reader) - 1
        def read(self, indices): return self.reader.read(np.asarray(indices) + 1)
    with open_video(made['plain'], 'pyav') as reader: assert wrong(Late(reader), np.random.default_rng(0)) > 60


@pytest.mark.parametrize('width', [2, 6, 8, 12, 16, 24, 32, 40, 48, 64, 72, 80, 96, 144])
def test_any_width(tmp_path, width):
    "decord misreads rows of some widths, whether a video has that width or is asked for at it."
    own = encode(tmp_path/'own.mp4', size=(width, width), frames=6)
    with open_video(own) as reader, open_video(own, 'pyav') as other:
        ours, theirs = reader.read([5, 0]), other.read([5, 0])
        assert ours.shape == (2, width, width, 3) and np.abs(ours.astype(int) - theirs).mean() < 6
    wide = encode(tmp_path/'wide.mp4', size=(200, 200), frames=6)
    with open_video(wide, shorter_side=width) as reader: assert reader.read([5, 0]).shape == (2, width, width, 3)


def test_decoders_that_cannot_be_used_are_refused(tmp_path, monkeypatch):
    write_video(tmp_path/'clip.mp4', numbered_clip(4))
    with pytest.raises(ValueError, match='it may be decord, pyav, torchcodec'): open_video(tmp_path/'clip.mp4', 'ffmpeg')
    monkeypatch.setitem(sys.modules, 'torchcodec', None)
    with pytest.raises(ValueError, match='cannot be used here'): check_decoder('torchcodec')


def test_pyav_names_the_frame_that_is_made_up(tmp_path):
    write_video(tmp_path/'clip.mp4', numbered_clip(24))
    drop_pictures(tmp_path/'clip.mp4', tmp_path/'spoilt.mp4', good=16)
    with open_video(tmp_path/'spoilt.mp4', 'pyav', frames=24) as reader, pytest.raises(VideoError, match='frame 1[67] is corrupt|cannot be decoded'): reader.read(range(24))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path/'frames'
    folder.mkdir()
    for f, frame in enumerate(numbered_clip(24), 1): Image.fromarray(frame).save(folder/f'img_{f:05d}.jpg', quality=95, subsampling=0)
    return folder


def test_an_image_that_is_cut_off_or_of_another_size_is_named(images):
    one = images/'img_00007.jpg'
    one.write_bytes(one.read_bytes()[:-300])
    with open_video(images) as reader, pytest.raises(VideoError, match='img_00007.jpg: the image is cut off'): reader.read([5, 6])
    Image.new('RGB', (20, 20)).save(one)
    with open_video(images) as reader, pytest.raises(VideoError, match='img_00007.jpg: is 20 x 20, the first frame 64 x 48; they must be alike'): reader.read([5, 6])
    one.write_bytes(b'GIF89a, but no more')
    with open_video(images) as reader, pytest.raises(VideoError, match='img_00007.jpg: not an image'): reader.read([6])
    Image.new('L', (6000, 6000)).save(images/'img_00001.jpg')
    with pytest.raises(VideoError, match='33.2 million pixels'): open_video(images)


@pytest.mark.parametrize('suffix', ['mkv', 'ts', 'flv', 'avi', 'mov'])
def test_containers(tmp_path, suffix):
    clip = numbered_clip(24)
    write_video(tmp_path/f'clip.{suffix}', clip)
    with open_video(tmp_path/f'clip.{suffix}') as reader:
        assert len(reader) == 24 and np.abs(reader.read([7])[0].astype(int) - clip[7]).mean() < 4
