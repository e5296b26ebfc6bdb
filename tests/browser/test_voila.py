"The widget notebooks as a web page."
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SHOTS, axe, data, free_port, serve, stop, until
from test_lab import KEYS, PIXELS, good_video, last_stop, slide, steps

from adafocus.early_exit.predictor import Predictor
from adafocus.show.traces import Tracer, read_budget_stops


@pytest.fixture(scope='module')
def page(browser, place, tmp_path_factory):
    "The page of explore, drawn."
    here, run = place
    token, port = 'a-token-of-the-test', free_port()
    address = f'http://127.0.0.1:{port}'
    process = serve([sys.executable, '-m', 'adafocus.show.app', run, '--port', port, '--token', token], address, tmp_path_factory.mktemp('app'), dict(OMP_NUM_THREADS='2'))
    context = browser.new_context(viewport=dict(width=1200, height=1000))
    page = context.new_page()
    page.seen = []
    page.on('dialog', lambda d: (page.seen.append(d.message), d.dismiss()))
    page.on('pageerror', lambda e: page.seen.append(str(e)))
    page.asked = []
    page.on('response', lambda r: page.asked.append(r.url))
    page.goto(f'{address}/?token={token}')
    link = page.locator('a[href$="explore.ipynb"]')
    link.click()
    view = page.locator('.adafocus[data-kind=explorer]').first
    view.wait_for(state='attached', timeout=240_000)
    page.wait_for_function('e => e.dataset.ready', arg=view.element_handle(), timeout=60_000)
    yield page
    context.close()
    stop(process)


@pytest.mark.thorough
def test_no_code_is_shown_and_the_widgets_work(page, place):
    view = page.locator('.adafocus[data-kind=explorer]').first
    text = page.locator('body').inner_text()
    assert 'demo_run()' not in text and 'PatchExplorer(' not in text and 'Watch the network look' in text and 'Traceback' not in text
    budget_stops, (_, video) = read_budget_stops(place[1]), Tracer(place[1]).some(24)[3]
    view.locator('select[aria-label=policy]').select_option('learned')
    slide(page, view, 'budget', 5)
    with Predictor(place[1], budget=budget_stops['stops'][5]['budget']) as predictor: p = predictor(video)
    for t in range(p.frames):
        slide(page, view, 'frame', t)
        d = data(view)
        assert np.allclose([float(x) for x in d['box'].split()], p.boxes[t], atol=2e-3) and int(d['exit']) + 1 == p.frames
    pixels = view.evaluate(PIXELS)
    view.locator('select[aria-label=policy]').select_option('central')
    assert view.evaluate(PIXELS) != pixels
    view.locator('select[aria-label=policy]').select_option('learned')
    slide(page, view, 'frame', 0)
    view.evaluate(KEYS)
    times = steps(page, 40)
    assert len(times) == 40
    print(f'\nstep in Voila: median {statistics.median(times):.1f} ms')
    curve = page.locator('.adafocus[data-kind=curve]').first
    slide(page, curve, 'budget', 0)
    low = int(data(view)['exit'])
    slide(page, curve, 'budget', last_stop(curve))
    assert low < int(data(view)['exit'])
    assert not axe(page) and not page.seen
    assert page.asked and all(url.startswith(('http://127.0.0.1:', 'ws://127.0.0.1:', 'data:', 'blob:')) for url in page.asked), page.asked
    assert page.locator('a[href="/"]', has_text='All pages').count() == 1


@pytest.mark.thorough
def test_visitors_may_bring_a_video_and_only_a_video(page, place, tmp_path):
    view = page.locator('.adafocus[data-kind=explorer]').first
    field, message = view.locator('input[type=file]'), view.locator('[role=alert]')
    good = Path(good_video(place)).read_bytes()
    def send(name, content):
        field.set_input_files([dict(name=name, mimeType='video/mp4', buffer=content)])
        page.wait_for_function('e => !e.hasAttribute("aria-busy") && (e.querySelector("[role=alert]").textContent || e.dataset.video.includes("good"))', arg=view.element_handle(), timeout=60_000)
        return message.inner_text()
    assert 'a playlist' in send('<img src=x onerror=alert(1)>.mp4', b'#EXTM3U\nfile:///etc/passwd')
    with (tmp_path/'large.mp4').open('wb') as f: f.truncate((64 << 20) + 1)
    field.set_input_files(str(tmp_path/'large.mp4'))
    page.get_by_text('large.mp4 is 64.0 MB; at most 64 MB').wait_for()
    assert 'half.mp4' in send('half.mp4', good[:len(good)//3])
    assert send('../../good.mp4', good) == '' and 'good' in data(view)['video'] and not page.seen and not view.locator('img').count()
    slide(page, view, 'frame', 5)
    assert data(view)['index'] == '5'
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS/'voila.png')


@pytest.mark.thorough
def test_a_page_of_its_own_needs_nobody(browser, place, tmp_path):
    from adafocus.show.widgets import PatchExplorer
    explorer = PatchExplorer(place[1])
    path = explorer.html(tmp_path/'page.html', 'a <b>page</b>')
    for scheme in ('light', 'dark'):
        context = browser.new_context(viewport=dict(width=960, height=900), color_scheme=scheme)
        page = context.new_page()
        wrong, asked = [], []
        page.on('pageerror', lambda e: wrong.append(str(e)))
        page.on('request', lambda r: asked.append(r.url))
        page.goto(path.as_uri())
        view = page.locator('.adafocus')
        page.wait_for_function('e => e.dataset.ready', arg=view.element_handle())
        slide(page, view, 'frame', 3)
        slide(page, view, 'budget', 0)
        view.locator('select[aria-label=policy]').select_option('random')
        look = explorer.data['video']['looks']['random']
        d = data(view)
        assert np.allclose([float(x) for x in d['box'].split()], look['boxes'][3]) and int(d['exit']) == look['exits'][0]
        until(page, view, 'e.querySelector("[role=status]").textContent.includes("policy random")')
        assert not axe(page) and not wrong and asked == [path.as_uri()], (wrong, asked)
        assert page.title() == 'a <b>page</b>' and not view.locator('input[type=file]').count()
        page.screenshot(path=SHOTS/f'page_{scheme}.png', full_page=True)
        context.close()
