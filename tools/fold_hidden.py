"Fold hidden cells in JupyterLab, and unfold others: python tools/fold_hidden.py NOTEBOOK..."
import json
import re
import sys
from pathlib import Path


def fold(path:Path)->bool: # whether the file has changed
    "Set `jupyter.source_hidden` on the cells that begin with `#| hide` or `#| hide_input`, and on no other."
    text = path.read_text(encoding='utf-8')
    notebook = json.loads(text)
    for cell in notebook['cells']:
        hidden = cell['cell_type'] == 'code' and re.search(r'^#\|\s*hide(_input)?\b', ''.join(cell['source']), re.M)
        jupyter = {**cell['metadata'].get('jupyter', {}), 'source_hidden': True}
        if hidden: cell['metadata']['jupyter'] = jupyter
        else: cell['metadata'].pop('jupyter', None)
    new = json.dumps(notebook, indent=1, ensure_ascii=False) + '\n'
    if new == text: return False
    path.write_text(new, encoding='utf-8')
    return True


if __name__ == '__main__':
    for name in sys.argv[1:]:
        if fold(Path(name)): print(f'folded {name}')
