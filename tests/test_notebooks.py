"How the notebooks are kept."
import ast
import json
import re

import pytest
from clear_widgets import WIDGET, clear
from conftest import ROOT

NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)


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


def shows(source):
    "Does a cell print, or end in a value? A call that ends a cell may return None, and is not counted."
    if re.search(r'^#\|\s*(export|exporti|hide|default_exp)', source, re.M) or source.rstrip().endswith(';'): return False
    try: lines = ast.parse(re.sub(r'^([!%].*)$', 'pass', source, flags=re.M)).body
    except SyntaxError: return False
    calls = [x.value for x in lines if isinstance(x, ast.Expr) and isinstance(x.value, ast.Call)]
    if any(getattr(call.func, 'id', '') == 'print' for call in calls): return True
    return bool(lines) and isinstance(lines[-1], ast.Expr) and isinstance(lines[-1].value, (ast.Tuple, ast.List, ast.Dict, ast.DictComp, ast.ListComp, ast.Compare, ast.Attribute))


def unsaved(path): return [c['id'] for c in cells(path, 'code') if not c['outputs'] and shows(''.join(c['source']))]


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_what_a_cell_shows_is_saved(path): assert not unsaved(path), 'make notebooks NOTEBOOKS=... runs them and saves what they show'


def test_control_a_cell_without_its_output(tmp_path):
    source = {'a': 'x = 1\nx, 2', 'b': '#| export\nx, 2', 'c': 'print(x)', 'd': 'close()', 'e': 'x, 2;'}
    for outputs, expected in (([], ['a', 'c']), (['1'], [])):
        notebook = dict(cells=[dict(cell_type='code', id=name, source=[text], outputs=outputs) for name, text in source.items()])
        (tmp_path/'a.ipynb').write_text(json.dumps(notebook))
        assert unsaved(tmp_path/'a.ipynb') == expected


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_links_between_notebooks_lead_somewhere(path):
    for c in cells(path, 'markdown'):
        for link in re.findall(r'\]\(([^)#]+\.(?:ipynb|png|md))\)', ''.join(c['source'])):
            assert (path.parent/link).exists() or link.startswith('http'), link
