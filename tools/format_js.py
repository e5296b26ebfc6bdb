"""Format the JavaScript of the widgets with Prettier, or check it: python tools/format_js.py [--check] [NOTEBOOK...]

JavaScript lies in exported cells as `NAME = r'''...'''`: a raw string of whole functions.
"""
import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRETTIER = 'npx', '--yes', 'prettier@3'
OPTIONS = '--print-width', '120', '--single-quote', '--log-level', 'error'
SCRIPT = re.compile(r"^(\w+)( = r''')\n(.*?)^(''')", re.M | re.S)


def why_absent()->str|None:
    "Say why Prettier cannot run here. Returns None if it can."
    if not shutil.which('npx'): return 'npx is not installed'
    done = subprocess.run([*PRETTIER, '--version'], capture_output=True, text=True)
    if done.returncode == 0: return None
    return 'npx cannot start Prettier: ' + (done.stderr.strip() or 'no reason given').splitlines()[0]


def prettier(texts:list[str])->list[str]:
    "Format scripts. ValueError with Prettier's words if one of them is no JavaScript."
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder)/f'{k:03d}.js' for k in range(len(texts))]
        for file, text in zip(files, texts): file.write_text(text, encoding='utf-8')
        done = subprocess.run([*PRETTIER, *OPTIONS, '--write', folder], capture_output=True, text=True)
        if done.returncode: raise ValueError(done.stderr.strip())
        return [file.read_text(encoding='utf-8') for file in files]


def exported(notebook:dict)->list[dict]: # its cells that export
    return [c for c in notebook['cells'] if c['cell_type'] == 'code' and ''.join(c['source']).startswith('#| export')]


def format_scripts(paths:list[Path], write:bool)->dict[Path,list[str]]: # by notebook, the scripts that Prettier changes
    "Format all scripts of some notebooks in one go."
    notebooks = {path: json.loads(path.read_text(encoding='utf-8')) for path in paths}
    old = [m for n in notebooks.values() for cell in exported(n) for m in SCRIPT.finditer(''.join(cell['source']))]
    new = dict(zip([m[3] for m in old], prettier([m[3] for m in old]) if old else []))
    changed = {}
    for path, notebook in notebooks.items():
        for cell in exported(notebook):
            text = ''.join(cell['source'])
            names = [m[1] for m in SCRIPT.finditer(text) if new[m[3]] != m[3]]
            if not names: continue
            changed[path] = changed.get(path, []) + names
            rewritten = SCRIPT.sub(lambda m: f'{m[1]}{m[2]}\n{new[m[3]]}{m[4]}', text)
            cell['source'] = rewritten.splitlines(keepends=True)
        if write and path in changed:
            path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    return changed


def main(check:bool, notebooks:list[Path])->int: # exit status
    "Format or check notebooks, and say what differs."
    if reason := why_absent():
        print(f'JavaScript is not checked: {reason}')
        return 0
    changed = format_scripts(notebooks, not check)
    for path, names in changed.items(): print(f'{path}: {", ".join(names)} {"differ" if check else "rewritten"}')
    if changed: print('Next: ' + ('python tools/format_js.py, and ' if check else '') + 'nbdev_export')
    return 1 if check and changed else 0


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='change nothing; status 1 if Prettier would')
    parser.add_argument('notebooks', nargs='*', type=Path, default=sorted((ROOT/'nbs').rglob('*.ipynb')))
    given = parser.parse_args()
    sys.exit(main(given.check, given.notebooks))
