"Files in pieces from anybody: names, sizes, order, and what is left behind."
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from adafocus.data.video.writing import write_video
from adafocus.show.page.uploads import UploadRejected, Uploads, upload_folder

NAMES = ['../../etc/x', 'a\0b', 'x'*300, 'a\\b', '-rf.mp4', '~', '<img onerror=1>', 'a\nb', '\u202egpj', '', '.', '..', '/etc/passwd', 'C:\\x', 'a/b', 'con', '%2e%2e%2f']


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp('clip')/'a.mp4'
    write_video(path, np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), dtype=np.uint8))
    return path.read_bytes()


@pytest.fixture
def uploads():
    u = Uploads(limit_mb=.5)
    yield u
    u.close()


def send(uploads, name, content, size=None, step=100_000):
    size, at = len(content) if size is None else size, 0
    while True:
        if file := uploads.take('one', name, size, at, content[at:at + step]): return file
        at += step


@pytest.mark.parametrize('name', NAMES)
def test_a_name_is_only_shown(uploads, good, name):
    path = send(uploads, name, good)
    assert path.parent == uploads.folder and re.fullmatch(r'upload-\d{4}', path.name) and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UploadRejected) as e: send(uploads, name, b'no')
    assert str(e.value).isprintable() and str(uploads.folder) not in str(e.value) and 'upload-' not in str(e.value)
    assert list(uploads.folder.iterdir()) == [] and uploads.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize('content, says', [(b'not a video', 'something else'), (b'', 'empty'), (b'#EXTM3U\n/etc/passwd', 'playlist'), (bytes(600_000), 'at most 0.5 MB')])
def test_what_is_no_video_is_refused_in_a_sentence(uploads, content, says):
    with pytest.raises(UploadRejected, match=says): send(uploads, 'a.mp4', content)
    assert not uploads.folder or list(uploads.folder.iterdir()) == []


def test_the_limit_is_the_last_size_that_fits(uploads, good):
    for size, fits in ((uploads.limit - 1, True), (uploads.limit, True), (uploads.limit + 1, False)):
        try: send(uploads, 'x.mp4', (good + bytes(uploads.limit))[:size])
        except UploadRejected as e: assert ('at most' in str(e)) != fits, e
        else: assert fits


@pytest.mark.parametrize('args', [('one', 'x', 10, 5, b'12345'), ('two', 'x', 10, 0, b'12345678901'), ('one', 'x', '10', 0, b''), ('one', 'x', 10, -1, b''), (3, 'x', 10, 0, b''), ('one', 'x', True, 0, b'')])
def test_pieces_that_make_no_sense(uploads, args):
    with pytest.raises(UploadRejected): uploads.take(*args)


def test_another_upload_does_not_continue_the_first(uploads):
    uploads.take('one', 'x', 10, 0, b'12345')
    with pytest.raises(UploadRejected, match='in order'): uploads.take('other', 'x', 10, 5, b'12345')


def test_folders_go_with_their_process():
    stale = Path(tempfile.gettempdir())/'adafocus-upload-99999999-x'
    stale.mkdir(exist_ok=True)
    folder = upload_folder()
    assert not stale.exists() and folder.exists()
    other = upload_folder()
    assert folder.exists()                                                                     # of a process that lives
    for f in (folder, other): shutil.rmtree(f)
