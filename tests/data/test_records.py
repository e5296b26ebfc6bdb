"Lists and tables that somebody else wrote, and splits drawn from them."
import pytest
from layouts import text

from adafocus.data.datasets import open_data
from adafocus.data.records import class_order, read_json, split_name

BY_HAND = {
    'bytes.csv': (b'\xff\xfep\0a\0', 'zero byte'), 'latin.csv': ('path,label\nä.mp4,x\n'.encode('latin-1'), 'is not UTF-8'), 'empty.csv': (b'', 'has no column path'), 'header.csv': (b'path,label\n', 'names no videos'),
    'headless.csv': (b'a.mp4,x\nb.mp4,y\n', ':1: has no column path'), 'cells.csv': (b'path,label\na.mp4,x,y\n', ':2: has 3 cells'), 'long.csv': (b'path,label\n' + b'a'*10_000_000 + b',x\n', 'csv:2: is not CSV'),
    'split.csv': (b'path,label,split\na.mp4,x,trian\n', ":2: split is 'trian'"), 'twice.csv': (b'path,label,split\na.mp4,x,train\na.mp4,x,val\n', 'comes twice'), 'some.csv': (b'path,label,split\na.mp4,x,train\nb.mp4,x,\n', 'has no split'),
    'deep.jsonl': (b'['*100_000 + b'\n', 'is not JSON'), 'digits.jsonl': (b'9'*5000, 'is not JSON'), 'nan.jsonl': (b'{"path": "a.mp4", "label": NaN}', 'label is nan'), 'list.jsonl': (b'[]', 'must be an object'),
    'path.jsonl': (b'{"path": 3, "label": "x"}', 'path is 3; it must be text'), 'none.jsonl': (b'{"path": "a.mp4", "label": []}', 'has no label'), 'gone.csv': (b'path,label\n../../x.mp4,x\n', 'none of the 1 videos is there')}


@pytest.mark.parametrize('name', BY_HAND)
def test_tables_with_one_fault(name, tmp_path):
    content, says = BY_HAND[name]
    for video_name in 'ab': (tmp_path/f'{video_name}.mp4').touch()
    (tmp_path/name).write_bytes(content)
    with pytest.raises(ValueError) as e: open_data(str(tmp_path/name))
    assert says in str(e.value) and name in str(e.value) and len(str(e.value)) < 600


def test_one_file_under_two_spellings_is_one_video(tmp_path):
    for name in 'abcd': (tmp_path/f'{name}.mp4').touch()
    rows = 'path,label\na.mp4,x\nb.mp4,x\nc.mp4,y\nd.mp4,y\n'
    text(tmp_path/'same.csv', rows + './a.mp4,x\n')
    text(tmp_path/'other.csv', rows + f'{tmp_path}/a.mp4,y\n')
    assert len(open_data(str(tmp_path/'same.csv')).train + open_data(str(tmp_path/'same.csv')).val) == 4
    with pytest.raises(ValueError, match=r'other.csv:6: .*a.mp4 comes twice, first in .*other.csv:2'): open_data(str(tmp_path/'other.csv'))


def test_a_drawn_split_stays_when_a_file_goes(tmp_path):
    for name in ('cat', 'dog'):
        (tmp_path/name).mkdir()
        for k in range(50): (tmp_path/name/f'{k}.mp4').touch()
    before = open_data(str(tmp_path))
    for k in (3, 17): (tmp_path/'cat'/f'{k}.mp4').unlink()
    after = open_data(str(tmp_path))
    trained = {v.path for v in before.train}
    assert sum(v.path in trained for v in after.val) <= 2 and len(after.val) >= 19


def test_classes_that_are_numbers_are_in_the_order_of_the_numbers():
    assert class_order(['10', '2', '0', '2']) == ['0', '2', '10'] and class_order(['10', '2', 'a']) == ['10', '2', 'a']


@pytest.mark.parametrize('content', ['['*100_000, '1'*5000, None])
def test_json_of_no_use_is_a_sentence(tmp_path, content):
    if content: (tmp_path/'all.json').write_text(content)
    with pytest.raises(ValueError, match='all.json.* (is not JSON|cannot be read)'): read_json(tmp_path/'all.json')


def test_a_split_by_another_name_is_refused_by_line():
    with pytest.raises(ValueError, match="list.csv:4: split is 'trian'; it may be train"): split_name('trian', 'list.csv:4')
