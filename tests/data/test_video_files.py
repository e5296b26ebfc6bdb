"What is found out about a file before it is decoded."
import os

import av
import numpy as np
import pytest

from adafocus.data.video.files import VideoError, examine, frame_files, read_packets
from adafocus.data.video.writing import drop_pictures, numbered_clip, write_video


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp('files')/'clip.mp4'
    write_video(path, numbered_clip(24))
    return path


@pytest.mark.parametrize('turn', [0, 90, 180, 270])
def test_turns_are_read_from_the_file(clip, tmp_path, turn):
    with av.open(str(clip)) as source, av.open(str(tmp_path/'turned.mp4'), 'w') as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        if turn: stream.set_display_rotation(turn)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    turns = examine(tmp_path/'turned.mp4')[2]
    assert turns % 2 == turn//90 % 2 and (turns == 0) == (turn == 0)


def test_an_answer_is_remembered_until_the_file_changes(clip, tmp_path):
    path = tmp_path/'clip.mp4'
    path.write_bytes(clip.read_bytes())
    os.utime(path, (1, 1))
    assert examine(path) is examine(path) and examine(path)[0].frames == 24
    write_video(path, numbered_clip(12))
    os.utime(path, (2, 2))
    assert examine(path)[0].frames == 12


def test_damage_is_an_error_or_is_counted(clip, tmp_path):
    (tmp_path/'cut.mp4').write_bytes(clip.read_bytes()[:1500])
    with pytest.raises(VideoError, match='not a video that can be opened'): examine(tmp_path/'cut.mp4')
    assert VideoError.status == 1
    drop_pictures(clip, tmp_path/'spoilt.mp4', good=16)
    assert (read_packets(clip).empty, read_packets(tmp_path/'spoilt.mp4').empty, read_packets(tmp_path/'spoilt.mp4').count) == (0, 8, 24)


@pytest.mark.parametrize('size', [b'\0\0\0\1' + b'free' + b'\xff'*8, b'\0\0\0\3free', b'\0\0\0\0free', b'\0\0\0\x10moov' + b'\0\0\0\x08tkhd'])
def test_boxes_whose_sizes_lie_end_in_an_error_of_ours(tmp_path, clip, size):
    "In front of a file that is in order, and alone."
    from adafocus.data.video.files import _has_matrix
    for content in (size, size + clip.read_bytes()):
        (tmp_path/'boxes.mp4').write_bytes(content)
        _has_matrix(tmp_path/'boxes.mp4')
        try: examine(tmp_path/'boxes.mp4')
        except VideoError as e: assert 'boxes.mp4' in str(e)


def test_writing_refuses_what_cannot_be_written(clip, tmp_path):
    with pytest.raises(ValueError, match='both sides must be even'): write_video(tmp_path/'odd.mp4', np.zeros((2, 31, 32, 3), np.uint8))
    with pytest.raises(ValueError, match='uint8'): write_video(tmp_path/'odd.mp4', np.zeros((2, 32, 32, 3)))
    write_video(tmp_path/'again.mp4', numbered_clip(24))
    assert clip.read_bytes() == (tmp_path/'again.mp4').read_bytes()


def test_one_series_of_frames_is_found_among_others(tmp_path):
    for f in range(1, 25):
        for name in ('img', 'flow_x', 'flow_y'): (tmp_path/f'{name}_{f:05d}.jpg').touch()
    (tmp_path/'img_00002.jpg').rename(tmp_path/'img_00002.JPEG')
    assert len(frame_files(tmp_path)) == 24 and frame_files(tmp_path)[1] == 'img_00002.JPEG'
    for f in range(24): (tmp_path/f'b_{f}.jpg').touch()
    with pytest.raises(VideoError, match='two series of frames of the same length, img_N.jpg and b_N.jpg|b_N.jpg and img_N.jpg'): frame_files(tmp_path)
