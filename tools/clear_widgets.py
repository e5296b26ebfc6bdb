"Take widgets out of saved notebooks: without a kernel they show an error message. Their printed twins stay."
import json
import sys
from pathlib import Path

WIDGET = 'application/vnd.jupyter.widget-view+json'


def clear(path):
    "Whether anything was taken out."
    notebook = json.loads(Path(path).read_text())
    before = json.dumps(notebook)
    notebook['metadata'].pop('widgets', None)
    for cell in notebook['cells']:
        if 'outputs' in cell: cell['outputs'] = [o for o in cell['outputs'] if WIDGET not in o.get('data', {})]
    if json.dumps(notebook) == before: return False
    Path(path).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + '\n')
    return True


if __name__ == '__main__':
    for name in sys.argv[1:]:
        if clear(name): print(f'{name}: widgets taken out')
