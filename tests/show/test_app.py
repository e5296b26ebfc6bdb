"The web page: what it serves, what it does not, and what it leaves behind."
import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip('voila', reason='voila, which is in the dev extra, is not installed')
requests = pytest.importorskip('requests')
import nbformat  # noqa: E402

SECRET, TOKEN = 'xyzzy-in-the-source', 'a-token-of-the-test'
ODD = '<img src=x onerror=alert(1)>'
SERVE = '''import json, sys
from adafocus.show import app
given = json.loads(sys.argv[1])
for name in ('IDLE_SECONDS', 'MOST_PAGES'): setattr(app, name, given.pop(name, getattr(app, name)))
app.serve(**given)'''


def write(path, *cells):
    nbformat.write(nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, cells)]), path)
    return str(path)


class Page:
    def __init__(self, folder, **options):
        self.folder, self.temp = folder, folder/'temp'
        self.temp.mkdir(exist_ok=True)
        (folder/'run').mkdir(exist_ok=True)
        notebooks = [write(folder/'small.ipynb', f"SECRET_SOURCE = '{SECRET}'\nimport ipywidgets; ipywidgets.Text('shown')"), write(folder/f'{ODD}.ipynb', '1 + 1'),
                     write(folder/'fails.ipynb', f"raise RuntimeError('{SECRET}')")]
        given = dict(notebooks=notebooks, run=str(folder/'run'), token=TOKEN, **options)
        self.process = subprocess.Popen([sys.executable, '-c', SERVE, json.dumps(given)], cwd=ROOT, stdout=subprocess.PIPE, stderr=open(folder/'errors.log', 'w'), text=True, env={**os.environ, 'TMPDIR': str(self.temp)})
        line = self.process.stdout.readline()
        self.port = int(re.fullmatch(rf'http://127\.0\.0\.1:(\d+)/\?token={TOKEN}\n', line)[1])
        self.address = f'http://127.0.0.1:{self.port}'

    def kernels(self):
        "Processes of kernels below the server."
        kernels = []
        for p in Path('/proc').iterdir():
            try:
                if p.name.isdigit() and b'ipykernel' in (p/'cmdline').read_bytes() and int((p/'stat').read_text().rsplit(')', 1)[1].split()[1]) == self.process.pid: kernels.append(int(p.name))
            except (OSError, ValueError): pass
        return kernels

    def get(self, path, token=TOKEN, timeout=60): return requests.get(self.address + path, params=dict(token=token) if token else None, timeout=timeout)

    def close(self):
        if self.process.poll() is None: self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    p = Page(tmp_path_factory.mktemp('app'), IDLE_SECONDS=300)
    yield p
    p.close()


def test_a_page_needs_the_token_and_holds_no_source(page):
    for path in ('/', '/voila/render/small.ipynb', '/api/kernels/00000000-0000-0000-0000-000000000000'):
        without = page.get(path, None)
        assert without.status_code in (401, 403) or 'login' in without.url, path
        assert SECRET not in without.text and 'shown' not in without.text
        assert page.get(path, 'wrong').status_code in (401, 403) or 'login' in page.get(path, 'wrong').url
    answer = page.get('/voila/render/small.ipynb')
    assert answer.status_code == 200 and 'widget-view' in answer.text and SECRET not in answer.text and 'SECRET_SOURCE' not in answer.text
    failed = page.get('/voila/render/fails.ipynb')
    assert SECRET not in failed.text and 'Traceback' not in failed.text


def test_it_listens_on_this_machine_only(page):
    listening = [row.split()[1] for name in ('tcp', 'tcp6') for row in Path(f'/proc/net/{name}').read_text().splitlines()[1:] if row.split()[3] == '0A']
    ours = [a for a in listening if int(a.split(':')[1], 16) == page.port]
    assert ours == [f'0100007F:{page.port:04X}'], ours


def test_a_name_is_text(page):
    index = page.get('/').text
    assert ODD not in index and '&lt;img src=x' in index and 'small' in index
    name = re.search(r'/voila/render/([^"]*img[^"]*)"', index)[1]
    shown = page.get(f'/voila/render/{name}')
    assert shown.status_code == 200 and ODD not in shown.text


SPELLINGS = ['/static/etc/passwd', '/static/../../etc/passwd', '/static//etc/passwd', '/voila/static//etc/passwd', '/voila/static/../../../../etc/passwd', '/voila/files/..%2f..%2fetc/passwd', '/voila/files/%252e%252e/%252e%252e/etc/passwd',
             '/voila/files/small.ipynb', '/files/small.ipynb', '/files/etc/passwd', '/nbconvert/html/small.ipynb', '/api/contents', '/api/contents/small.ipynb', '/api/terminals', '/api/kernelspecs', '/api/kernels', '/api/sessions', '/api/config/x',
             '/voila/render/../small.ipynb', '/voila/render/..%2f..%2fsmall.ipynb', '/voila/tree/', '/voila/tree/..', '/lab', '/tree', '/notebooks/small.ipynb', '/voila/render/%2fetc%2fpasswd', '/voila/templates/lab/static/..%2f..%2f..%2f..%2fetc/passwd']


@pytest.mark.parametrize('path', SPELLINGS)
def test_nothing_else_is_served(page, path):
    c = http.client.HTTPConnection('127.0.0.1', page.port, timeout=60)
    c.request('GET', path, headers={'Authorization': f'token {TOKEN}'})                    # as it is, nobody tidies it up
    answer = c.getresponse()
    text = answer.read().decode(errors='replace')
    assert 'root:' not in text and SECRET not in text and 'cells' not in text, text[:300]
    assert answer.status in (302, 400, 401, 403, 404, 405, 500), (path, answer.status, text[:300])


def test_a_page_may_not_run_code(page, tmp_path):
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect
    session = requests.Session()
    text = session.get(f'{page.address}/voila/render/small.ipynb', params=dict(token=TOKEN), timeout=60).text
    kernel = re.search(r'"kernelId": ?"([0-9a-f-]+)"', text)[1]
    message = lambda kind, content: json.dumps(dict(channel='shell', header=dict(msg_id=uuid.uuid4().hex, msg_type=kind, username='', session='s', version='5.3', date=''), parent_header={}, metadata={}, content=content))
    mark = tmp_path/'written'
    async def talk():
        request = HTTPRequest(f'ws://127.0.0.1:{page.port}/api/kernels/{kernel}/channels', headers={'Cookie': '; '.join(f'{c.name}={c.value}' for c in session.cookies), 'Origin': page.address})
        socket = await asyncio.wait_for(websocket_connect(request), 30)
        await socket.write_message(message('execute_request', dict(code=f'open({str(mark)!r}, "w").close()', silent=False, store_history=False, user_expressions={}, allow_stdin=False, stop_on_error=True)))
        await socket.write_message(message('kernel_info_request', {}))
        kinds = []
        while 'kernel_info_reply' not in kinds:                                             # the kernel answers, in order
            got = json.loads(await asyncio.wait_for(socket.read_message(), 30))
            kinds.append(got['header']['msg_type'])
        socket.close()
        return kinds
    kinds = asyncio.run(talk())
    assert 'execute_reply' not in kinds and not mark.exists()


@pytest.mark.slow
def test_closed_or_forgotten_pages_leave_no_kernels_and_the_end_leaves_nothing(tmp_path):
    p = Page(tmp_path, IDLE_SECONDS=2, MOST_PAGES=30)
    try:
        with ThreadPoolExecutor(4) as pool: codes = list(pool.map(lambda _: p.get('/voila/render/small.ipynb', timeout=120).status_code, range(20)))
        assert codes == [200]*20
        end = time.monotonic() + 60
        while len(p.kernels()) > 1 and time.monotonic() < end: time.sleep(.3)
        assert len(p.kernels()) <= 1
        p.get('/voila/render/small.ipynb')
    finally: status = p.close()
    assert status == 0 and not p.kernels()
    end = time.monotonic() + 10
    while list(p.temp.glob('adafocus-app-*')) and time.monotonic() < end: time.sleep(.2)
    assert not list(p.temp.glob('adafocus-app-*'))


def test_too_many_pages_are_refused(tmp_path):
    p = Page(tmp_path, IDLE_SECONDS=300, MOST_PAGES=1)
    try:
        assert p.get('/voila/render/small.ipynb').status_code == 200
        assert p.get('/voila/render/small.ipynb').status_code in (500, 503) and len(p.kernels()) == 1
    finally: p.close()


@pytest.mark.parametrize('args, says', [(['nowhere'], 'run is nowhere, which holds no model.safetensors'), (['--token', 'a b'], 'token is')])
def test_what_cannot_be_is_said_in_a_sentence(args, says):
    from conftest import run
    done = run('python', '-m', 'adafocus.show.app', *args)
    assert done.returncode == 2 and says in done.stderr and 'Traceback' not in done.stderr


def test_without_a_run_it_says_what_makes_one(tmp_path):
    done = subprocess.run([sys.executable, '-m', 'adafocus.show.app'], capture_output=True, text=True, cwd=tmp_path,
                          env={**{k: v for k, v in os.environ.items() if k != 'ADAFOCUS_DEMO'}, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 1 and 'make demo makes one' in done.stderr and 'Traceback' not in done.stderr


def test_a_voila_with_the_hole_or_none_is_refused(monkeypatch):
    from importlib import metadata

    from adafocus.show import app
    for version in ('0.5.5', '0.4.4', '0'):
        with pytest.raises(ValueError, match='CVE-2024-30265'): app.check_voila(version)
    def absent(name): raise metadata.PackageNotFoundError(name)
    monkeypatch.setattr(metadata, 'version', absent)
    with pytest.raises(ValueError, match="pip install 'voila>=0.5.6'"): app.check_voila()


def test_a_port_that_is_taken_or_none(page):
    from adafocus.show.app import check_port
    for port in (-1, 65536):
        with pytest.raises(ValueError, match=f'port is {port}; it must be 0 to 65535'): check_port(port)
    with pytest.raises(ValueError, match='which cannot be used'): check_port(page.port)


def test_a_closed_page_ends_its_kernel(tmp_path):
    p = Page(tmp_path, IDLE_SECONDS=300)
    try:
        session = requests.Session()
        text = session.get(f'{p.address}/voila/render/small.ipynb', params=dict(token=TOKEN), timeout=60).text
        path = f'{p.address}/voila/api/shutdown/' + re.search(r'"kernelId": ?"([0-9a-f-]+)"', text)[1]
        assert session.post(path, headers={'Origin': 'http://elsewhere.example'}).status_code == 403 and len(p.kernels()) == 1
        assert requests.post(path, headers={'Origin': p.address}).status_code in (401, 403) and len(p.kernels()) == 1     # no cookie
        assert session.post(path, headers={'Origin': p.address}).status_code == 204
        end = time.monotonic() + 20
        while p.kernels() and time.monotonic() < end: time.sleep(.2)
        assert not p.kernels()
    finally: p.close()
