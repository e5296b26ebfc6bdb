"Execute notebooks in place: python tools/run_notebooks.py [--all] NOTEBOOK..."
import re
import sys
import time
from pathlib import Path

import nbformat
from clear_widgets import clear
from fold_hidden import fold
from nbclient import NotebookClient

LONG = re.compile(r'^#\|\s*eval:\s*false', re.M)


def execute(path:Path, everything:bool=False)->None: # everything: also cells with `#| eval: false`
    "Run a notebook in its own folder and save what it shows. Cells with `#| eval: false` keep what they show."
    notebook = nbformat.read(path, 4)
    kept = [] if everything else [c for c in notebook.cells if c.cell_type == 'code' and LONG.search(c.source)]
    for cell in kept: cell.cell_type = 'raw'
    place = dict(metadata=dict(path=str(path.parent)))
    NotebookClient(notebook, timeout=900, store_widget_state=False, resources=place).execute()
    for cell in kept: cell.cell_type = 'code'
    nbformat.write(notebook, path)
    clear(path)
    fold(path)


if __name__ == '__main__':
    names = [name for name in sys.argv[1:] if name != '--all']
    for name in names:
        begin = time.perf_counter()
        execute(Path(name), '--all' in sys.argv)
        print(f'{name}: {time.perf_counter() - begin:.0f} s', flush=True)
