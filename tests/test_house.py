"How the house is kept: floors, circles, names of notebooks, sizes. Each guard has a control that must fail."
import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
MODULES = sorted(p for p in (ROOT/'adafocus').rglob('*.py') if p.name != '_modidx.py')
MOST_LINES, MOST_CELL_LINES, LEAST_SHOWN = 300, 30, .9


def lint_imports(folder):
    "Run the contracts of pyproject.toml on the package in a folder."
    command = [Path(sys.executable).parent/'lint-imports', '--no-cache', '--config', ROOT/'pyproject.toml']
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120,
                          env=dict(PATH='/usr/bin:/bin', PYTHONPATH=str(folder), COLUMNS='200', HOME=str(folder)))


def copy_of_package(folder): shutil.copytree(ROOT/'adafocus', folder/'adafocus', ignore=shutil.ignore_patterns('__pycache__'))


def test_imports_run_downwards_without_a_circle():
    done = lint_imports(ROOT)
    assert done.returncode == 0 and '2 kept, 0 broken' in done.stdout, done.stdout[-3000:] + done.stderr


@pytest.mark.parametrize('module, line', [
    ('data/sampling.py', 'from adafocus.data.loading import VideoDataset'),     # a circle within a chapter
    ('run/config.py', 'from adafocus.run.scoring import evaluate'),
    ('method/crop.py', 'from adafocus.run.config import Config'),               # upwards
    ('evaluate.py', 'from adafocus.predict import main'),                       # a job that imports a job
    ('trainer/steps.py', 'import adafocus.early_exit.solver'),                  # sideways
])
def test_control_an_import_inside_a_function_breaks_a_contract(tmp_path, module, line):
    copy_of_package(tmp_path)
    with (tmp_path/'adafocus'/module).open('a') as f: f.write(f'\ndef late():\n    {line}\n')
    done = lint_imports(tmp_path)
    assert done.returncode == 1 and ' 0 broken' not in done.stdout and 'Could not' not in done.stdout, done.stdout + done.stderr


def cells(path, kind='code'): return [c for c in json.loads(path.read_text())['cells'] if c['cell_type'] == kind]


def source(cell): return ''.join(cell['source'])


def directive(cell, name): return re.search(rf'^\s*#\|\s*{name}\b', source(cell), re.M)


def exported_module(path):
    "The module that a notebook exports, or None."
    for cell in cells(path):
        if name := re.search(r'^#\|\s*default_exp\s+(\S+)', source(cell), re.M): return name[1]


def expected_module(path):
    "The module that a notebook's place stands for: numbers and chapter words taken off."
    folders = [re.sub(r'^\d+_', '', part) for part in path.relative_to(ROOT/'nbs').parts[:-1]]
    if folders and folders[0] == 'appendix_system': folders[0] = 'system'
    if folders and folders[0] == 'jobs': folders = folders[1:]
    name = re.sub(r'^\d+_', '', path.stem)
    if path.stem in ('index', 'names'): return '.'.join([*folders, '__init__'])
    if folders and name == folders[-1]: return '.'.join([*folders, '__main__'])
    return '.'.join([*folders, name])


@pytest.mark.parametrize('path', [p for p in NOTEBOOKS if exported_module(p)], ids=lambda p: p.stem)
def test_a_notebook_is_named_after_its_module(path):
    assert exported_module(path) == expected_module(path)


def test_numbers_of_notebooks_are_used_once():
    for folder in {p.parent for p in NOTEBOOKS}:
        numbers = [p.name.split('_')[0] for p in folder.iterdir() if re.match(r'\d+_', p.name)]
        assert len(numbers) == len(set(numbers)), folder


def test_every_module_has_a_notebook():
    exported = {exported_module(p) for p in NOTEBOOKS} - {None}
    for module in MODULES:
        name = '.'.join(module.relative_to(ROOT/'adafocus').with_suffix('').parts)
        assert name in exported or not module.read_text().strip(), name


def too_long(folder): return [p for p in folder.rglob('*.py') if len(p.read_text().splitlines()) > MOST_LINES and p.name != '_modidx.py']


def wide_lines(text):
    "Lines over 120 columns, but for those that nbdev writes itself."
    generated = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '__all__':
            generated |= set(range(node.lineno, node.end_lineno + 1))
    return [n for n, line in enumerate(text.splitlines(), 1) if len(line) > 120 and n not in generated]


def test_modules_fit_on_few_screens(tmp_path):
    assert not too_long(ROOT/'adafocus')
    assert not [(m.name, wide_lines(m.read_text())) for m in MODULES if wide_lines(m.read_text())]
    (tmp_path/'long.py').write_text('x = 1\n'*(MOST_LINES + 1))
    assert too_long(tmp_path) and wide_lines('x = ' + '1 + '*40 + '1')                       # controls


def code_lines(cell): return [line for line in source(cell).splitlines() if not line.startswith('#|')]


def defines(cell):
    kinds = ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef
    return directive(cell, 'export') and any(isinstance(n, kinds) for n in ast.parse(source(cell)).body)


def long_cells(code):
    "Lines of exported cells that are too long. Imports alone may be longer; the training loop is one screen of at most 60."
    lengths = []
    for cell in code:
        only_imports = all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(source(cell)).body) if directive(cell, 'export') else True
        most = 60 if re.search(r'^def fit\(', source(cell), re.M) else MOST_CELL_LINES
        if not only_imports and len(code_lines(cell)) > most: lengths.append(len(code_lines(cell)))
    return lengths


def shown(code):
    "For each cell that exports a definition: is it followed by a code cell that shows it?"
    return [k + 1 < len(code) and not directive(code[k + 1], 'export') and not directive(code[k + 1], 'hide')
            for k, cell in enumerate(code) if defines(cell)]


def test_exported_cells_are_short_and_shown():
    every = []
    for path in NOTEBOOKS:
        code = cells(path)
        assert not long_cells(code), (path.name, long_cells(code))
        every += shown(code)
    assert sum(every)/len(every) >= LEAST_SHOWN, f'{sum(every)} of {len(every)}'
    long, hidden = dict(source='#| export\n' + 'x = 1\n'*31), dict(source='#| hide\n1')
    function = dict(source='#| export\ndef f(): pass')
    assert long_cells([long]) == [31]
    assert shown([function, hidden]) == [False] and shown([function, dict(source='f()')]) == [True]   # controls


def test_hidden_cells_are_folded():
    for path in NOTEBOOKS:
        for cell in cells(path):
            if directive(cell, 'hide') or directive(cell, 'hide_input'):
                assert cell['metadata'].get('jupyter', {}).get('source_hidden'), (path.name, source(cell)[:60])


def test_ruff_finds_nothing(tmp_path):
    ruff = [sys.executable, '-m', 'ruff', 'check', '-q', '--no-cache', '--config', ROOT/'pyproject.toml']
    assert subprocess.run([*ruff, 'adafocus', 'nbs', 'tests', 'tools'], cwd=ROOT).returncode == 0
    (tmp_path/'bad.py').write_text('import os\n')
    assert subprocess.run([*ruff, tmp_path], capture_output=True).returncode == 1            # control


def test_the_package_needs_nothing_that_only_development_needs():
    for module in MODULES:
        assert not re.search(r'^\s*(from|import) (fastcore\.test|nbdev|execnb|ghapi|pytest)', module.read_text(), re.M), module
