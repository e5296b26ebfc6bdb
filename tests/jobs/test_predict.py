"Prediction as a person types it: files, folders, patterns, names on standard input, films, and what ends with a sentence."
import json
import subprocess
import sys

import pytest
from conftest import ROOT, command, run

from adafocus.data.video.files import probe
from adafocus.early_exit.predictor import Predictor
from adafocus.predict import main

PREDICT = sys.executable, '-m', 'adafocus.predict'


@pytest.fixture
def some(trained): return sorted((trained.data/'val').glob('*/*.mp4'))[:5]


def test_files_folders_and_patterns(trained, some, tmp_path):
    bad = tmp_path/'videos'/'notes.mp4'
    bad.parent.mkdir()
    bad.write_text('not a video')
    for path in some[:2]: (bad.parent/path.name).symlink_to(path)
    pattern = f'{trained.data}/val/bars/*.mp4'
    count = 2 + len(list((trained.data/'val'/'bars').glob('*.mp4')))
    status, out, err = command(main, trained.run, bad.parent, pattern, '--budget', trained.budgets[1])
    assert status == 1 and len(out.splitlines()) == count
    assert 'notes.mp4: not a video' in err and f'1 of {count + 1} videos could not be read' in err and 'Traceback' not in err


def test_json_lines_are_what_the_predictor_says(trained, some, tmp_path):
    bad = tmp_path/'notes.mp4'
    bad.write_text('not a video')
    names = [str(path) for path in (*some, bad)]
    status, out, _ = command(main, trained.run, '-', '--json', '--budget', trained.budgets[1], stdin='\n'.join(names))
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row['path'] for row in rows] == names and status == 1 and 'not a video' in rows[-1]['error']
    with Predictor(trained.run, budget=trained.budgets[1]) as predictor: expected = predictor(some)
    for row, p in zip(rows, expected):
        assert (row['label'], row['frames'], row['frame_numbers']) == (p.label, p.frames, p.numbers.tolist())
        assert abs(row['confidence'] - p.confidence) < 1e-4


def test_films(trained, some, tmp_path):
    budget = '--budget', trained.budgets[1]
    status, _, err = command(main, trained.run, some[0], *budget, '--draw', tmp_path/'film.mp4')
    with Predictor(trained.run, budget=trained.budgets[1]) as predictor: frames = predictor(some[0]).frames
    assert status == 0 and probe(tmp_path/'film.mp4').frames == 4*(frames - 1) + 12, err
    assert command(main, trained.run, *some[:2], '--draw', tmp_path/'films')[0] == 0
    assert len(list((tmp_path/'films').glob('*.mp4'))) == 2


@pytest.mark.parametrize('args, says', [
    (['RUN'], 'there is no video to look at'), (['nowhere', 'a.mp4'], 'nowhere holds no config.yaml'),
    (['RUN', 'VIDEO', '--budget', '0.001'], 'budget is 0.001 GFLOPs a video; it must be at least 0.0'),
    (['RUN', 'VIDEO', '--budget', 'BUDGET', '--thresholds', '.5', '.5'], 'can be one of them'),
    (['RUN', 'VIDEO', '--thresholds', '.5', '.5'], 'there must be 8 numbers'), (['RUN', 'VIDEO', '--batch-size', '0'], 'batch_size is 0'),
    (['RUN', 'VIDEO', 'VIDEO', '--draw', 'one.mp4'], 'it may be a folder'),
])
def test_what_cannot_be_done_is_one_sentence(trained, some, args, says, tmp_path):
    names = {'RUN': trained.run, 'VIDEO': some[0], 'BUDGET': trained.budgets[1], 'one.mp4': tmp_path/'one.mp4'}
    status, _, err = command(main, *(names.get(a, a) for a in args))
    assert status == 2 and says in ' '.join(err.split()) and 'Traceback' not in err


def test_names_are_taken_as_they_come(trained, some):
    "A program that asks for one video, waits for the answer, and asks for the next."
    with subprocess.Popen([*PREDICT, trained.run, '-'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        for path in some[:3]:
            process.stdin.write(f'{path}\n')
            process.stdin.flush()
            assert process.stdout.readline().startswith(f'{path}: ')
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_reader_that_has_had_enough(trained):
    line = f'{" ".join(PREDICT)} {trained.run} {trained.data}/val | head -1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(line, shell=True, executable='/bin/bash', capture_output=True, text=True, cwd=ROOT)
    assert len(done.stdout.splitlines()) == 2 and done.stdout.splitlines()[1] == '141' and 'Traceback' not in done.stderr, done.stderr


def test_exits_for_other_weights_are_refused(trained, some, tmp_path):
    for name in ('config.yaml', 'model.safetensors', 'exit.json', 'exit_calibration.safetensors'):
        (tmp_path/name).write_bytes((trained.run/name).read_bytes())
    assert run('python', '-m', 'adafocus.predict', tmp_path, some[0], '--budget', trained.budgets[1]).returncode == 0
    weights = bytearray((tmp_path/'model.safetensors').read_bytes())
    weights[-1] ^= 1
    (tmp_path/'model.safetensors').write_bytes(weights)
    status, _, err = command(main, tmp_path, some[0], '--budget', trained.budgets[1])
    assert status == 2 and 'is for other weights' in err
