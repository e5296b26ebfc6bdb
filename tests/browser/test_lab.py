"The widgets as a person uses them, in JupyterLab and Notebook 7."
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from conftest import Notebook, axe, data, until

from adafocus.early_exit.predictor import Predictor
from adafocus.show.traces import Tracer, read_budget_stops

KEYS = '''(root) => { window.times = []; const slider = root.querySelector('input[aria-label=frame]');
  slider.addEventListener('keydown', e => { const before = root.dataset.index, from = e.timeStamp;
    const look = () => root.dataset.index !== before ? window.times.push(performance.now() - from) : requestAnimationFrame(look); requestAnimationFrame(look); }, true); slider.focus(); }'''
PIXELS = 'e => e.querySelector("canvas").toDataURL()'


def slide(page, view, label, to):
    "Drag a slider: input events, then the release."
    view.locator(f'input[aria-label={label}]').evaluate('(e, to) => { e.value = to; e.dispatchEvent(new Event("input", {bubbles: true})); e.dispatchEvent(new Event("change", {bubbles: true})); }', to)


def last_stop(view): return int(view.locator('input[aria-label=budget]').get_attribute('max'))    # all frames


def steps(page, count):
    "Arrow keys to the end and back; milliseconds from key to drawn frame."
    for k in range(count):
        page.keyboard.press('ArrowRight' if k // 7 % 2 == 0 else 'ArrowLeft')
        page.wait_for_timeout(40)
    return page.evaluate('window.times')


@pytest.fixture(scope='module')
def explore(browser, jupyter):
    n = Notebook(browser, jupyter('lab', 'explore.ipynb'))
    n.run_all()
    n.finish()
    yield n
    n.close()


def test_the_notebook_runs_and_its_numbers_are_those_of_prediction(explore, place):
    page, run = explore.page, place[1]
    view = explore.view('explorer')
    page.wait_for_timeout(400)
    explore.shot('explore', view)
    budget_stops, (_, video) = read_budget_stops(run), Tracer(run).some(24)[3]
    slide(page, view, 'budget', 5)
    view.locator('select[aria-label=policy]').select_option('learned')
    with Predictor(run, budget=budget_stops['stops'][5]['budget']) as predictor: p = predictor(video)
    for t in range(p.frames):
        slide(page, view, 'frame', t)
        d = data(view)
        assert np.allclose([float(x) for x in d['box'].split()], p.boxes[t]*np.array([1.]), atol=2e-3) and int(d['exit']) + 1 == p.frames, t
    until(page, view, f'e.querySelector("[role=status]").textContent.includes({json.dumps(p.label)})')
    text = view.locator('[role=status]').inner_text()
    assert f'{p.frames} of 8 frames' in text and f'{100*p.confidence:.1f} %' in text, text
    assert not explore.wrong and not explore.dialogs
    explore.shot('lab_explorer', view)


@pytest.mark.thorough
def test_frame_budget_and_policy_change_what_is_drawn_and_python_hears(explore):
    page, view = explore.page, explore.view('explorer')
    slide(page, view, 'frame', 0)
    before, pixels = data(view), view.evaluate(PIXELS)
    slide(page, view, 'frame', 3)
    after = data(view)
    assert before['box'] != after['box'] and pixels != view.evaluate(PIXELS)
    exits = []
    for stop in (0, 6, last_stop(view)):
        slide(page, view, 'budget', stop)
        exits.append(int(data(view)['exit']))
    assert exits == sorted(exits) and exits[0] < exits[-1]
    boxes = {}
    for policy in ('random', 'central', 'gaussian', 'learned'):
        view.locator('select[aria-label=policy]').select_option(policy)
        boxes[policy] = data(view)['box']
    assert len(set(boxes.values())) == 4
    page.wait_for_timeout(600)
    said = json.loads(explore.kernel('import json; print(json.dumps(explorer.state))'))
    assert said['index'] == 3 and said['policy'] == 'learned' and said['budget'] == pytest.approx(read_budget(explore, -1))
    explore.kernel('explorer.index = 1; explorer.policy = "central"')                      # and the other way
    until(page, view, 'd.index === "1"')
    assert view.locator('select[aria-label=policy]').input_value() == 'central'
    explore.kernel('explorer.policy = "learned"')
    view.locator('select[aria-label="order of frames"]').select_option('time')
    slide(page, view, 'frame', 0)
    assert explore.kernel('print(explorer.trace.numbers.argmin())').strip() == data(view)['index']
    view.locator('select[aria-label="order of frames"]').select_option('processing')


def read_budget(n, stop): return float(n.kernel(f'print(explorer.budget_stops["stops"][{stop}]["budget"])'))


@pytest.mark.thorough
def test_the_curve_moves_the_explorer_and_can_be_clicked(explore):
    page, view, curve = explore.page, explore.view('explorer'), explore.view('curve')
    explore.kernel('curve.budget = .026')
    page.wait_for_timeout(500)
    explore.shot('explore_curve', curve)
    slide(page, curve, 'budget', 0)
    low = data(view)['exit']
    slide(page, curve, 'budget', last_stop(curve))
    assert int(low) < int(data(view)['exit']) == 7
    box = curve.locator('canvas').first.bounding_box()
    curve.locator('canvas').first.click(position=dict(x=70, y=box['height']/2))
    assert int(data(curve)['stop']) < 8
    page.wait_for_timeout(800)
    assert explore.kernel('print(curve.budget == explorer.budget)').strip() == 'True'
    assert float(explore.kernel('print(curve.budget)')) == pytest.approx(read_budget(explore, data(curve)['stop']))
    explore.shot('lab_curve', curve)


@pytest.mark.thorough
def test_another_video_is_shown_and_says_that_it_works_on_it(explore):
    page, view = explore.page, explore.view('explorer')
    first = data(view)['video']
    view.evaluate('e => { window.busy = []; new MutationObserver(() => window.busy.push(e.getAttribute("aria-busy"))).observe(e, {attributes: true, attributeFilter: ["aria-busy"]}); }')
    view.locator('select[aria-label=video]').select_option('5')
    until(page, view, f'd.video !== {json.dumps(first)}')
    assert page.evaluate('window.busy') == ['true', None] and explore.kernel('print(explorer.sample)').strip() == '5'
    slide(page, view, 'frame', 2)
    assert int(data(view)['index']) == 2


@pytest.mark.thorough
def test_keys_play_and_steps_do_not_need_python(explore):
    page, view = explore.page, explore.view('explorer')
    slide(page, view, 'frame', 0)
    view.evaluate(KEYS)
    times = steps(page, 70)
    assert len(times) == 70                                                                 # every key moved it, JupyterLab took none
    print(f'\nstep in JupyterLab: median {statistics.median(times):.1f} ms, 95 % {np.quantile(times, .95):.1f} ms of {len(times)}')
    explore.kernel('import time; time.sleep(30)', wait=False)
    page.wait_for_timeout(500)
    page.evaluate('window.times = []')
    times = steps(page, 40)
    assert not page.evaluate('window.done') and len(times) == 40                            # it still sleeps; its status tells of comm messages too, which may have a thread of their own
    print(f'step while the kernel is busy: median {statistics.median(times):.1f} ms')
    page.evaluate('window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt()')
    slide(page, view, 'frame', 0)
    page.wait_for_timeout(100)
    page.keyboard.press('Space')
    until(page, view, 'd.index === "7"', 10_000)
    page.keyboard.press('3')
    assert data(view)['index'] == '2'
    page.keyboard.press('End')
    assert data(view)['index'] == '7'
    page.keyboard.press('<')
    assert data(view)['index'] == '6'
    pixels = view.evaluate(PIXELS)
    page.keyboard.press('d')
    assert view.evaluate(PIXELS) != pixels
    page.keyboard.press('d')


@pytest.mark.thorough
def test_python_hears_of_what_is_settled_only(explore):
    page, view = explore.page, explore.view('explorer')
    slide(page, view, 'frame', 0)
    page.wait_for_timeout(800)
    explore.kernel('heard = []; explorer.observe(lambda c: heard.append((c.name, c.new)), ["index", "budget"])')
    for k in range(1, 8):
        slide(page, view, 'frame', k)
        page.wait_for_timeout(40)
    for k in range(10):
        slide(page, view, 'budget', k)
        page.wait_for_timeout(40)
    page.wait_for_timeout(1000)
    heard = explore.kernel('print(len(heard), heard[0])').strip()
    assert heard.startswith("2 ('index', 7)") or heard.startswith("1 "), heard
    assert explore.kernel('print(heard[-1][0])').strip() == 'budget'
    slide(page, view, 'budget', last_stop(view))
    slide(page, view, 'frame', 0)
    page.wait_for_timeout(800)
    explore.kernel('heard.clear()')
    view.get_by_role('button', name='play').click()
    until(page, view, 'd.index === "7"', 10_000)
    page.wait_for_timeout(1200)
    assert explore.kernel('print(heard)').strip() == "[('index', 7)]"


@pytest.mark.thorough
def test_long_use_leaves_no_blank_and_no_growth(explore):
    page, view = explore.page, explore.view('explorer')
    go = '''async ([root, count, ms]) => { const s = root.querySelector('input[aria-label=frame]'), canvas = root.querySelector('canvas'), ctx = canvas.getContext('2d'); let blank = 0, shown = 0, seen = 0, last = null, run = true;
      const watch = () => { if (ctx.getImageData(canvas.width/2, canvas.height/2, 1, 1).data[3] === 0) blank++; if (root.dataset.index !== last) { last = root.dataset.index; shown++; } seen++; if (run) requestAnimationFrame(watch); }; requestAnimationFrame(watch);
      for (let k = 0; k < count; k++) { s.value = k % 8; s.dispatchEvent(new Event('input')); await new Promise(r => setTimeout(r, ms)); } run = false; return {blank, shown, seen}; }'''
    counts = page.evaluate(go, [view.element_handle(), 100, 40])
    print(f'\n100 steps at 25 a second: {counts}')
    assert counts['blank'] == 0 and counts['shown'] >= 90 and counts['seen'] > 50
    memory = 'async () => { for (let k = 0; k < 3; k++) { window.gc(); await new Promise(r => setTimeout(r, 200)); } return performance.memory.usedJSHeapSize/1024; }'
    page.evaluate(go, [view.element_handle(), 50, 15])
    page.wait_for_timeout(600)
    before = page.evaluate(memory)
    page.evaluate(go, [view.element_handle(), 300, 15])
    page.wait_for_timeout(600)
    after = page.evaluate(memory)
    print(f'300 steps: {after - before:+.0f} KB of {before:.0f} KB')
    assert after - before < 600, (before, after)


@pytest.mark.parametrize('theme', ['light', pytest.param('dark', marks=pytest.mark.thorough)])
def test_nothing_for_axe_to_complain_of(explore, theme):
    explore.page.evaluate('t => window.jupyterapp.commands.execute("apputils:change-theme", {theme: t})', 'JupyterLab Dark' if theme == 'dark' else 'JupyterLab Light')
    explore.page.wait_for_timeout(1500)
    for kind in ('explorer', 'curve', 'monitor'):
        view = explore.view(kind)
        view.locator('details').first.evaluate('e => e.open = true') if kind != 'monitor' else None
        explore.page.wait_for_timeout(400)
        ink, paper = view.evaluate('e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]')
        assert ('255' in ink) == (theme == 'dark'), (ink, paper)
        complaints = axe(explore.page, f'.adafocus[data-kind={kind}]')
        assert not complaints, (kind, complaints)
        explore.shot(f'{theme}_{kind}', view)
    explore.page.evaluate('() => window.jupyterapp.commands.execute("apputils:change-theme", {theme: "JupyterLab Light"})')


TWO = '''from adafocus.show.demo import demo_run
from adafocus.show.widgets import PatchExplorer, CropPlayground
one = PatchExplorer(demo_run(), upload_mb=1); two = PatchExplorer(demo_run(), index=5)
playground = CropPlayground()'''


@pytest.fixture(scope='module')
def two(browser, jupyter, place):
    cells = [TWO, 'one', 'two', 'playground']
    (place[0]/'two.ipynb').write_text(json.dumps(dict(nbformat=4, nbformat_minor=5, metadata=dict(kernelspec=dict(name='python3', display_name='Python 3', language='python')),
                                                      cells=[dict(cell_type='code', id=f'c{k}', metadata={}, source=c, outputs=[], execution_count=None) for k, c in enumerate(cells)])))
    n = Notebook(browser, jupyter('lab', 'two.ipynb'))
    n.run_all()
    n.finish()
    yield n
    n.close()


@pytest.mark.thorough
def test_two_explorers_do_not_disturb_each_other(two):
    page, a, b = two.page, two.view('explorer', 0), two.view('explorer', 1)
    before = data(b)
    slide(page, a, 'frame', 4)
    slide(page, a, 'budget', 1)
    a.locator('select[aria-label=policy]').select_option('random')
    page.wait_for_timeout(500)
    assert data(b) == before and before['index'] == '5' and data(a)['index'] == '4'
    assert two.kernel('print(two.policy, two.index, one.policy, one.index)').split() == ['learned', '5', 'random', '4']


@pytest.mark.thorough
def test_the_first_frame(two):
    "From running the cell to the first drawn frame."
    times = [two.page.evaluate('''async () => { const app = window.jupyterapp, nb = app.shell.currentWidget.content; nb.activeCellIndex = 1; const from = performance.now(); await app.commands.execute('notebook:run-cell');
        for (let k = 0; k < 2000; k++) { const e = nb.widgets[1].node.querySelector('.adafocus'); if (e && +e.dataset.ready > from) return +e.dataset.ready - from; await new Promise(r => setTimeout(r, 5)); } return null; }''') for _ in range(5)]
    assert None not in times
    print(f'\nfirst frame drawn after the cell was run: {sorted(round(t) for t in times)} ms')


def good_video(place): return sorted((place[0]/'my-videos'/'val').rglob('*.mp4'))[0] if (place[0]/'my-videos').exists() else Tracer(place[1]).some(1)[0][1].path


def test_uploads_good_and_bad(two, place, tmp_path):
    page, view = two.page, two.view('explorer', 0)
    field, message = view.locator('input[type=file]'), view.locator('[role=alert]')
    good = Path(good_video(place)).read_bytes()
    limit = 1 << 20
    def send(name, content, path=None):
        if path is None: field.set_input_files([dict(name=name, mimeType='video/mp4', buffer=content)])
        else: field.set_input_files(str(path))
        page.wait_for_function('e => !e.hasAttribute("aria-busy") && (e.querySelector("[role=alert]").textContent || e.dataset.video.includes("good"))', arg=view.element_handle(), timeout=60_000)
        return message.inner_text()
    bad = {'': (b'', 'empty'), 'one byte': (b'x', 'not a video'), 'text': (b'hello'*1000, 'something else'), 'playlist': (b'#EXTM3U\nfile:///etc/passwd\n', 'a playlist'), 'half': (good[:len(good)//3], 'half.mp4'),
           'limit - 1': (bytes(limit - 1), 'not a video'), 'limit': (bytes(limit), 'not a video'), 'limit + 1': (bytes(limit + 1), 'at most 1 MB')}
    for name, (content, says) in bad.items():
        said = send(f'{name.split()[0] if name else "none"}.mp4', content)
        assert says in said, (name, said)
        assert 'upload-' not in said and '/tmp' not in said
    for name in ('../../etc/x.mp4', '<img src=x onerror=alert(1)>.mp4', 'x'*200 + '.mp4', '\u202egpj.mp4'): assert 'not a video' in send(name, b'no')
    for size in (11, 70):
        big = tmp_path/'big.mp4'
        big.write_bytes(bytes(size << 20))
        assert 'at most 1 MB' in send(None, None, big)
    assert data(two.view('explorer', 1))['index'] == '5'
    assert send('../good <b>.mp4', good) == '' and 'good' in data(view)['video']
    view.locator('select[aria-label=policy]').select_option('learned')
    slide(page, view, 'frame', 6)
    assert data(view)['index'] == '6'
    with Predictor(place[1]) as predictor: p = predictor(good_video(place))
    assert np.allclose([float(x) for x in data(view)['box'].split()], p.boxes[6], atol=.05)       # decoded by PyAV, not decord
    assert two.kernel('print(list(one._uploads.folder.iterdir()))').strip() == '[]' and not two.dialogs and not view.locator('b, img').count()
    assert two.kernel('print(len(one.videos), len(two.videos))').split() == ['21', '20']
    two.shot('lab_uploaded', view)


@pytest.mark.thorough
def test_eleven_megabytes_arrive_piece_by_piece(two, tmp_path):
    page, view = two.page, two.view('explorer', 1)
    big = tmp_path/'big.mp4'
    big.write_bytes(b'\0\0\0\x20ftypisom' + bytes(11 << 20))
    view.locator('input[type=file]').set_input_files(str(big))
    page.wait_for_function('e => !e.hasAttribute("aria-busy") && e.querySelector("[role=alert]").textContent', arg=view.element_handle(), timeout=60_000)
    assert 'big.mp4' in view.locator('[role=alert]').inner_text() and two.kernel('print(1 + 1)').strip() == '2'


@pytest.mark.thorough
def test_the_playground_computes_what_the_package_does(two):
    from adafocus.show.playground import crop_loss, playground_picture
    page, view = two.page, two.view('playground')
    for x, y in ((.3, .7), (.123, .9), (1, 0)):
        two.kernel(f'playground.x, playground.y = {x}, {y}')
        until(page, view, f'Math.abs(e.querySelector("input[aria-label=x]").value - {x}) < 1e-6 && Math.abs(e.querySelector("input[aria-label=y]").value - {y}) < 1e-6')
        loss, gradient, patch = crop_loss(playground_picture(), (x, y), (.75, .3))
        d = data(view)
        assert np.allclose([float(d['loss']), float(d['gx']), float(d['gy']), float(d['value'])], [loss, *gradient, patch[8, 8, 0]], atol=1e-9), (x, y)
    two.kernel('playground.x, playground.y = .55, .45')
    page.wait_for_timeout(300)
    before = float(data(view)['loss'])
    for _ in range(30): view.get_by_role('button', name='a step downhill').click()
    assert float(data(view)['loss']) < before/20
    box = view.locator('canvas').first.bounding_box()
    page.mouse.move(box['x'] + 100, box['y'] + 100)
    page.mouse.down()
    page.mouse.move(box['x'] + 200, box['y'] + 250)
    page.mouse.up()
    page.wait_for_timeout(400)
    x, y = map(float, two.kernel('print(playground.x, playground.y)').split())
    assert abs(x - (200/8 - 8)/32) < .02 and abs(y - (250/8 - 8)/32) < .02
    assert not axe(page, '.adafocus[data-kind=playground]')
    two.shot('lab_playground', view)


@pytest.mark.thorough
def test_an_explorer_without_a_video_takes_one(two, place):
    two.kernel('''from IPython.display import display, clear_output
none = PatchExplorer(one._tracer, [], upload_mb=1)''')
    page = two.page
    page.evaluate('''async () => { const app = window.jupyterapp, nb = app.shell.currentWidget.content; nb.activeCellIndex = 3; nb.activeCell.model.sharedModel.setSource('none'); await app.commands.execute('notebook:run-cell'); }''')
    view = page.locator('.adafocus[data-kind=explorer]', has_text='There is no video to show')
    view.wait_for(timeout=30_000)
    field = page.locator('.jp-Cell').nth(3).locator('input[type=file]')
    field.set_input_files([dict(name='bad.mp4', mimeType='video/mp4', buffer=b'no')])
    page.get_by_text('bad.mp4: not a video').first.wait_for(timeout=30_000)
    field.set_input_files([dict(name='good.mp4', mimeType='video/mp4', buffer=Path(good_video(place)).read_bytes())])
    view = page.locator('.jp-Cell').nth(3).locator('.adafocus')
    until(page, view, 'd.video === "good.mp4"')
    slide(page, view, 'frame', 3)
    assert data(view)['index'] == '3' and not two.wrong


@pytest.mark.thorough
def test_a_broken_video_in_the_list_stops_nothing(two, place, tmp_path):
    (tmp_path/'broken.mp4').write_bytes(b'no video')
    good = Path(good_video(place))
    for first in ('broken', 'good'):
        names = [str(tmp_path/'broken.mp4'), str(good)] if first == 'broken' else [str(good), str(tmp_path/'broken.mp4')]
        two.kernel(f'listed = PatchExplorer(one._tracer, {names})')
        page = two.page
        page.evaluate('''async () => { const app = window.jupyterapp, nb = app.shell.currentWidget.content; nb.activeCellIndex = 3; nb.activeCell.model.sharedModel.setSource('listed'); await app.commands.execute('notebook:run-cell'); }''')
        view = page.locator('.jp-Cell').nth(3).locator('.adafocus')
        chosen = view.locator('select[aria-label=video]')
        alert = view.locator('[role=alert]')
        page.wait_for_function('e => e.querySelectorAll("select[aria-label=video] option").length === 2', arg=view.element_handle())
        if first == 'broken':
            alert.get_by_text('broken.mp4: not a video').wait_for()
            chosen.select_option('1')
        until(page, view, f'd.video === {json.dumps(good.name)}')
        assert alert.inner_text() == ''
        for _ in range(2):                                                                  # the same one again is an error again
            chosen.select_option('0' if first == 'broken' else '1')
            alert.get_by_text('broken.mp4: not a video').wait_for()
            until(page, view, '!e.hasAttribute("aria-busy")')
            slide(page, view, 'frame', 2)
            assert data(view)['index'] == '2'
            page.wait_for_timeout(500)
            assert chosen.input_value() == ('1' if first == 'broken' else '0') == two.kernel('print(listed.sample)').strip()
    assert not two.wrong


@pytest.mark.thorough
def test_a_closed_widget_leaves_nothing_behind(two):
    folder = two.kernel('print(one._uploads.folder)').strip()
    two.kernel('one.close()')
    assert not Path(folder).exists()


@pytest.mark.thorough
def test_notebook_7(browser, jupyter):
    n = Notebook(browser, jupyter('notebook', 'budget.ipynb'))
    n.run_all()
    n.finish()
    view = n.view('explorer')
    slide(n.page, view, 'frame', 0)
    view.evaluate(KEYS)
    times = steps(n.page, 20)
    assert len(times) == 20
    print(f'\nstep in Notebook 7: median {statistics.median(times):.1f} ms')
    slide(n.page, n.view('curve'), 'budget', 3)
    assert data(n.view('curve'))['stop'] == '3'
    n.page.wait_for_timeout(300)
    assert not n.wrong
    n.close()
