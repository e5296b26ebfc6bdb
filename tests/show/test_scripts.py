"The JavaScript: what it may not hold, that no name is used twice, and that it is formatted."
import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from adafocus.show.page.canvas import CSS, PAGE_MODEL, SCRIPT
from adafocus.show.page.copies import NOTICE

sys.path.insert(0, str(ROOT/'tools'))
import format_js  # noqa: E402


@pytest.mark.parametrize('text', [SCRIPT, PAGE_MODEL, NOTICE], ids=['script', 'page', 'notice'])
def test_a_script_fetches_nothing_and_writes_no_html(text):
    for a, b in ('()', '[]', '{}'): assert text.count(a) == text.count(b)
    for word in ('import ', 'http', 'innerHTML', 'eval(', 'document.write'): assert word not in text
    assert text is NOTICE or 'fetch(' not in text


def test_every_function_has_a_name_of_its_own_and_is_used():
    names = re.findall(r'^(?:async )?function (\w+)', SCRIPT, re.M) + re.findall(r'^const (\w+)', SCRIPT, re.M)
    assert len(names) > 100 and len(names) == len(set(names))
    unused = [n for n in names if len(re.findall(rf'\b{n}\b', SCRIPT)) == 1]
    assert unused == ['render']
    assert not re.search(r'https?:|@import|url\(', CSS)


def notebook(path, script):
    cell = dict(cell_type='code', id='a', metadata={}, outputs=[], execution_count=None, source=f"#| export\nSCRIPT = r'''\n{script}'''\n".splitlines(True))
    path.write_text(json.dumps(dict(cells=[cell], metadata={}, nbformat=4, nbformat_minor=5)))
    return path


@pytest.fixture
def prettier():
    if reason := format_js.why_absent(): pytest.skip(reason)


@pytest.mark.slow
def test_the_scripts_are_formatted(prettier):
    assert format_js.format_scripts(sorted((ROOT/'nbs').rglob('*.ipynb')), write=False) == {}


@pytest.mark.slow
def test_control_an_unformatted_script_is_found_and_rewritten(prettier, tmp_path, capsys):
    path = notebook(tmp_path/'a.ipynb', 'function f( x ){return x}\n')
    assert format_js.main(True, [path]) == 1 and 'SCRIPT differ' in capsys.readouterr().out
    assert format_js.main(False, [path]) == 0
    assert "function f(x) {\n  return x;\n}\n'''" in ''.join(json.loads(path.read_text())['cells'][0]['source'])
    assert format_js.main(True, [path]) == 0
    with pytest.raises(ValueError, match='SyntaxError'): format_js.format_scripts([notebook(path, 'function {\n')], write=False)


def test_without_npx_it_says_so_and_passes(tmp_path):
    done = subprocess.run([sys.executable, ROOT/'tools'/'format_js.py', '--check'], capture_output=True, text=True, env=dict(PATH=str(tmp_path)))
    assert done.returncode == 0 and 'JavaScript is not checked: npx is not installed' in done.stdout
