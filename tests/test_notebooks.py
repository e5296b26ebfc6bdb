"How the notebooks are kept."
import json
import re

import pytest
from clear_widgets import WIDGET, clear
from conftest import ROOT

NOTEBOOKS = sorted((ROOT/'nbs').glob('*.ipynb'))


def cells(path, kind=None): return [c for c in json.loads(path.read_text())['cells'] if kind in (None, c['cell_type'])]


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_can_be_read_without_a_kernel(path):
    first = ''.join(cells(path)[0]['source'])
    assert re.match(r'# \S.*\n\n> \S', first), 'the first cell is a title and a one-line subtitle'
    outputs = [o for c in cells(path, 'code') for o in c['outputs']]
    assert outputs, 'saved without what it shows'
    assert not any(o['output_type'] == 'error' for o in outputs)
    text = json.dumps(outputs)
    assert not any('<Figure size' in json.dumps(o) and not any(kind.startswith('image/') for kind in o.get('data', {})) for o in outputs), 'a figure is saved as its name only'
    assert not re.search(r'(/home/|/root/|/tmp/|site-packages)', text), 'an output holds a path of the machine it ran on'
    assert path.stat().st_size < 2_000_000
    assert WIDGET not in text and 'widgets' not in json.loads(path.read_text())['metadata'], 'a widget is saved, which shows an error without a kernel; tests/clear_widgets.py takes it out'


def test_widgets_are_taken_out(tmp_path):
    outputs = [dict(output_type='display_data', data={WIDGET: dict(model_id='1'), 'text/plain': 'x'}), dict(output_type='stream', text='stays')]
    (tmp_path/'a.ipynb').write_text(json.dumps(dict(cells=[dict(cell_type='code', outputs=outputs), dict(cell_type='markdown')], metadata=dict(widgets={}, kernelspec={}))))
    assert clear(tmp_path/'a.ipynb') and not clear(tmp_path/'a.ipynb')
    assert json.loads((tmp_path/'a.ipynb').read_text()) == dict(cells=[dict(cell_type='code', outputs=outputs[1:]), dict(cell_type='markdown')], metadata=dict(kernelspec={}))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_links_between_notebooks_lead_somewhere(path):
    for c in cells(path, 'markdown'):
        for link in re.findall(r'\]\(([^)#]+\.(?:ipynb|png|md))\)', ''.join(c['source'])):
            assert (path.parent/link).exists() or link.startswith('http'), link


def test_the_package_knows_nothing_of_what_only_development_needs():
    for module in (ROOT/'adafocus').rglob('*.py'):
        if module.name == '_modidx.py': continue
        assert not re.search(r'^\s*(from|import) (fastcore|nbdev|execnb|ghapi|pytest)', module.read_text(), re.M), module


METHOD = 'crop', 'encoders', 'policy', 'classifiers', 'model', 'losses', 'v1'


def imported(module):
    "Modules of the package that a module imports at its top, as `data.video` or `config`."
    here = module.relative_to(ROOT/'adafocus').with_suffix('').parts
    found = set()
    for dots, name in re.findall(r'^from (\.+)([\w.]*) import', module.read_text(), re.M): found.add('.'.join((*here[:len(here) - len(dots)], name)))
    return found


def test_imports_run_one_way():
    "Method and data know nothing of jobs; nothing but a command line's last step knows of show; no circle."
    graph = {'.'.join(m.relative_to(ROOT/'adafocus').with_suffix('').parts): imported(m) for m in (ROOT/'adafocus').rglob('*.py') if m.name not in ('_modidx.py', '__init__.py')}
    assert graph['train'] >= {'config', 'evaluate', 'model', 'data.datasets'}                      # it sees imports
    for name, needs in graph.items():
        if name in METHOD: assert needs <= set(METHOD), (name, needs)
        if name.startswith('data.'): assert all(n.startswith('data') for n in needs), (name, needs)
        if not name.startswith('show.'): assert not any(n.startswith('show') for n in needs), (name, needs)
        assert not any(name in graph.get(n, ()) for n in needs), (name, needs)
