"A real browser, a real JupyterLab, and a run with budgets."
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from shown_run import shown_run

ROOT = Path(__file__).parents[2]
NOTEBOOKS = 'explore', 'budget', 'your_own_videos', 'read_the_paper'
SHOTS = Path(os.environ.get('ADAFOCUS_SCREENSHOTS') or ROOT/'build'/'screenshots')
BIN = Path(sys.executable).parent


def find_chromium():
    names = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
    path = os.environ.get('CHROMIUM') or next(filter(None, map(shutil.which, names)), None)
    if not path: pytest.exit(f'no browser was found: none of {", ".join(names)} is installed; apt-get install chromium gets one, or $CHROMIUM names one', returncode=2)
    return path


@pytest.fixture(scope='session')
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=find_chromium(), args=['--no-sandbox', '--js-flags=--expose-gc', '--enable-precise-memory-info'])
        yield b
        b.close()


@pytest.fixture(scope='session')
def place(tmp_path_factory, tiny):
    "A folder with the notebooks as they are, and a run with budgets and epochs (or $ADAFOCUS_BROWSER_RUN)."
    find_chromium()
    here = tmp_path_factory.mktemp('notebooks')
    for name in NOTEBOOKS: shutil.copy(ROOT/'nbs'/'tour'/f'{name}.ipynb', here)
    if run := os.environ.get('ADAFOCUS_BROWSER_RUN'): return here, Path(run)
    run, _, _ = shown_run(here/'runs'/'demo', tiny, (.02, .03, .05))
    for epoch in range(4):
        cells = [[1 + epoch*(row == column) for column in range(12)] for row in range(12)]
        line = dict(epoch=epoch, train=dict(classifier=2/(epoch + 1)), val=dict(accuracy=[.2*epoch]*8), positions=cells, train_seconds=1., val_seconds=1.)
        with (run/'metrics.jsonl').open('a') as f: f.write(json.dumps(line) + '\n')
    return here, run


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def serve(command, url, cwd, env, patience=120):
    "Start a server and wait until it answers."
    log = open(cwd/f'{command[1]}-{free_port()}.log', 'w')
    process = subprocess.Popen([str(c) for c in command], cwd=cwd, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, 'PATH': f'{BIN}:{os.environ["PATH"]}', **env}, start_new_session=True)
    end = time.monotonic() + patience
    while True:
        try:
            urllib.request.urlopen(url, timeout=5)
            return process
        except OSError as e:
            if getattr(e, 'code', 0) in (401, 403): return process
            if process.poll() is not None or time.monotonic() > end: raise RuntimeError(Path(log.name).read_text()[-3000:]) from None
            time.sleep(.3)


def stop(process):
    os.killpg(process.pid, signal.SIGTERM)
    try: process.wait(15)
    except subprocess.TimeoutExpired: os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope='session')
def jupyter(place, tmp_path_factory):
    "A function from an application, lab or notebook, and a path to an address with its token."
    here, run = place
    token, port, home = secrets.token_hex(8), free_port(), tmp_path_factory.mktemp('jupyter')
    settings = home/'settings'/'@jupyterlab'/'apputils-extension'
    settings.mkdir(parents=True)
    (settings/'notification.jupyterlab-settings').write_text('{"fetchNews": "false", "checkForUpdates": false}')
    command = [BIN/'jupyter', 'lab', '--no-browser', '--allow-root', '--expose-app-in-browser', '--ServerApp.ip=127.0.0.1', f'--ServerApp.port={port}', f'--IdentityProvider.token={token}',
               f'--ServerApp.root_dir={here}', '--JupyterNotebookApp.expose_app_in_browser=True', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate']
    process = serve(command, f'http://127.0.0.1:{port}/api', here, dict(ADAFOCUS_DEMO=str(run), JUPYTER_CONFIG_DIR=str(home), JUPYTERLAB_SETTINGS_DIR=str(home/'settings'), OMP_NUM_THREADS='2'))
    yield lambda app, path: f'http://127.0.0.1:{port}/{dict(lab=f"lab/workspaces/{secrets.token_hex(4)}/tree", notebook="notebooks")[app]}/{path}?token={token}'
    stop(process)


class Notebook:
    "A notebook in the browser."
    def __init__(self, browser, address, scheme='light'):
        self.context = browser.new_context(viewport=dict(width=1400, height=1100), color_scheme=scheme)
        self.page = self.context.new_page()
        self.dialogs, self.wrong = [], []
        self.page.on('dialog', lambda d: (self.dialogs.append(d.message), d.dismiss()))
        self.page.on('pageerror', lambda e: 'blob:' in (e.stack or '') and self.wrong.append(f'{e}\n{e.stack}'))   # a widget's script; applications have errors of their own
        self.page.goto(address)
        self.page.wait_for_function('window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel', timeout=120_000)

    def run_all(self):
        self.page.evaluate('() => { window.ran = null; window.jupyterapp.commands.execute("notebook:run-all-cells").then(x => window.ran = true, e => window.ran = String(e)); }')

    def finish(self, timeout=300_000):
        self.page.wait_for_function('window.ran !== null', timeout=timeout)
        outputs = self.page.evaluate('''() => { const out = []; for (const c of window.jupyterapp.shell.currentWidget.content.model.cells) if (c.type === 'code') for (let k = 0; k < c.outputs.length; k++) { const o = c.outputs.get(k).toJSON(); if (o.output_type === 'error') out.push(o.ename + ': ' + o.evalue); } return out; }''')
        assert not outputs, outputs

    def kernel(self, code, wait=True):
        "Run code in the notebook's kernel; what it prints."
        return self.page.evaluate('''async ([code, wait]) => {
            const future = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code}); let text = '';
            future.onIOPub = m => { if (m.header.msg_type === 'stream') text += m.content.text; if (m.header.msg_type === 'error') text += m.content.ename + ': ' + m.content.evalue; };
            window.done = false; const done = future.done.then(() => { window.done = true; }, () => { window.done = true; }); if (wait) await done; return text; }''', [code, wait])

    def view(self, kind, number=0):
        "A widget, drawn."
        view = self.page.locator(f'.adafocus[data-kind={kind}]').nth(number)
        view.wait_for(state='attached', timeout=240_000)
        view.scroll_into_view_if_needed()
        if kind == 'explorer': self.page.wait_for_function('e => e.dataset.ready', arg=view.element_handle())
        return view

    def shot(self, name, of=None):
        SHOTS.mkdir(parents=True, exist_ok=True)
        (of or self.page).screenshot(path=SHOTS/f'{name}.png')

    def close(self): self.context.close()


def data(view): return view.evaluate('e => ({...e.dataset})')


def until(page, view, condition, timeout=60_000): # a condition in JavaScript on the dataset `d`
    page.wait_for_function('([e, c]) => new Function("d", "e", "return " + c)(e.dataset, e)', arg=[view.element_handle(), condition], timeout=timeout)


def axe(page, context='.adafocus'):
    from axe_playwright_python.sync_playwright import Axe
    answer = Axe().run(page, context=context).response
    return [(v['id'], v['impact'], [n['html'][:200] for n in v['nodes']][:3]) for v in answer['violations']]
