"The demo: what is left to do, and that nothing is trained unasked."
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from adafocus.show import demo


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv('ADAFOCUS_DEMO', raising=False)
    folder = tmp_path.resolve()/'project'
    (folder/'nbs'/'tour').mkdir(parents=True)
    (folder/'settings.ini').touch()
    monkeypatch.chdir(folder)
    return folder


def finish(run, *names):
    run.mkdir(parents=True, exist_ok=True)
    for name in names: (run/name).touch()
    return run


WHOLE = 'config.yaml', 'evaluation.json', 'model.safetensors', 'budgets.json', 'exit.json'


def test_where_it_is_and_what_is_left_to_do(project, tmp_path, monkeypatch):
    run = project/'runs'/'demo'
    assert demo.find_demo(project/'nbs'/'tour') == run and demo.find_demo(tmp_path) == tmp_path.resolve()/'runs'/'demo'
    train, score = demo.demo_commands(run)
    assert train[:5] == ['adafocus.train', '--out', str(run), '--resume', 'auto'] and score == ['adafocus.evaluate', str(run), '--budgets']
    finish(run, 'config.yaml', 'model.safetensors')                                            # weights of an epoch, not the end
    assert len(demo.demo_commands(run)) == 2
    finish(run, *WHOLE[:3])
    assert demo.demo_commands(run) == [score]
    finish(run, *WHOLE)
    assert demo.demo_commands(run) == [] and demo.find_demo(project/'nbs'/'tour') == run
    monkeypatch.setenv('ADAFOCUS_DEMO', str(run))
    assert demo.find_demo(tmp_path) == run
    monkeypatch.setenv('ADAFOCUS_DEMO', str(tmp_path))
    with pytest.raises(ValueError, match='ADAFOCUS_DEMO is'): demo.demo_run(tmp_path)


def test_nothing_is_trained_unasked(project, monkeypatch):
    ran = []
    monkeypatch.setattr(demo, 'run_with_bar', ran.append)
    with pytest.raises(demo.NoDemo, match='`make demo` makes it; here, demo_run\\(train=True\\)') as e: demo.demo_run(project/'nbs'/'tour')
    assert not ran and e.value._render_traceback_() == [str(e.value)]
    assert demo.demo_run(project, train=True) == project/'runs'/'demo' and [arguments[0] for arguments in ran] == ['adafocus.train', 'adafocus.evaluate']
    finish(project/'runs'/'demo', *WHOLE)
    assert demo.demo_run(project) == project/'runs'/'demo' and len(ran) == 2


def test_a_finished_demo_does_nothing_and_says_what_is_next(project):
    finish(project/'runs'/'demo', *WHOLE)
    began = time.monotonic()
    done = subprocess.run([sys.executable, '-m', 'adafocus.show.demo'], capture_output=True, text=True, cwd=project, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0 and 'make lab' in done.stdout and 'make app' in done.stdout and not done.stderr
    assert time.monotonic() - began < 10


def test_a_failed_command_ends_it_with_its_status(project, monkeypatch, capsys):
    monkeypatch.setattr(demo, 'demo_commands', lambda run: [['adafocus.evaluate', str(run/'none')], ['never']])
    with pytest.raises(SystemExit) as e: demo.main()
    assert e.value.code == 2 and 'adafocus.evaluate ended with status 2; make demo resumes' in capsys.readouterr().err
    with pytest.raises(demo.DemoFailed, match='status 2'): demo.run_with_bar(['adafocus.evaluate', 'none'])


WAITS = '''import signal, sys, time
def end(number, frame):
    print("saved", flush=True)
    sys.exit(143 if number == signal.SIGTERM else 130)
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, end)
print("ready", flush=True)
time.sleep(60)'''
STARTS = 'import sys; from adafocus.show import demo; demo.demo_commands = lambda run: [["waits"], ["never"]]; demo.main()'


@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_may_save_its_state(project, number, status):
    (project/'waits.py').write_text(WAITS)
    process = subprocess.Popen([sys.executable, '-c', STARTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=project, start_new_session=True,
                               env={**os.environ, 'PYTHONPATH': f'{ROOT}:{project}'})
    assert process.stdout.readline() == 'ready\n'
    if number == signal.SIGINT: os.killpg(process.pid, number)                                 # as a terminal does
    else: process.send_signal(number)
    said, errors = process.communicate(timeout=30)
    assert said == 'saved\n' and process.returncode == status and 'make demo resumes' in errors, (said, errors)
