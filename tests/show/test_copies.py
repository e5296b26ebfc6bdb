"Copies of notebooks: only what is meant to be shown."
import json

import nbformat
import pytest

from adafocus.show.page.copies import NOTICE, copy_notebooks, index_page

ODD = '<img src=x onerror=alert(1)>'


def write(path, *cells):
    new = dict(md=nbformat.v4.new_markdown_cell, code=nbformat.v4.new_code_cell)
    nbformat.write(nbformat.v4.new_notebook(cells=[new[kind](source) for kind, source in cells]), path)
    return path


@pytest.fixture
def copied(tmp_path):
    (tmp_path/'copies').mkdir()
    explore = write(tmp_path/'explore.ipynb', ('md', '# Watch the network look\n\n> Drag a slider.'), ('md', 'See [the other](a%20b.ipynb#x), not [the third](../x/26.ipynb).'),
                    ('code', '#| app: false\nexplorer.static()'), ('code', '#| eval: false\n#| app: false\nexplorer.state'), ('md', '<!-- app: false -->\nRun it.'), ('code', '1 + 1'))
    book = json.loads(explore.read_text())
    book['cells'][-1]['outputs'] = [dict(output_type='stream', name='stdout', text=['a secret'])]
    explore.write_text(json.dumps(book))
    paths = [explore, write(tmp_path/'a b.ipynb', ('md', '# <b>Budgets</b> & more')), write(tmp_path/f'{ODD}.ipynb', ('code', '2'))]
    return copy_notebooks(paths, tmp_path/'copies'), tmp_path/'copies'


def test_names_links_outputs_and_cells_that_stay_out(copied):
    pages, folder = copied
    assert [p.name for p in pages] == ['explore', 'a-b', 'img-src-x-onerror-alert-1'] and pages[0].subtitle == 'Drag a slider.'
    assert sorted(p.name for p in folder.iterdir()) == sorted(f'{p.name}.ipynb' for p in pages)
    book = nbformat.read(folder/'explore.ipynb', as_version=4)
    assert book.cells[1].source == 'See [the other](a-b.ipynb#x), not the third.'
    assert [c.source for c in book.cells if c.cell_type == 'code'] == ['1 + 1']
    assert 'a secret' not in (folder/'explore.ipynb').read_text() and 'Run it' not in (folder/'explore.ipynb').read_text()
    assert book.cells[-1].source.startswith('[All pages](/)') and NOTICE in book.cells[-1].source
    assert '$' not in NOTICE and '`' not in NOTICE and '\n\n' not in NOTICE                    # it goes through Markdown


def test_titles_are_text(copied):
    index = index_page(copied[0])
    assert '<b>' not in index and '<img' not in index and '&lt;b&gt;Budgets' in index


def test_two_of_one_name_and_what_is_no_notebook(tmp_path):
    for name in ('one', 'two', 'both'): (tmp_path/name).mkdir()
    paths = [write(tmp_path/folder/'a b.ipynb', ('md', 'x')) for folder in ('one', 'two')]
    assert [p.name for p in copy_notebooks(paths, tmp_path/'both')] == ['a-b', 'a-b-2']
    (tmp_path/'no.ipynb').write_text('{"a": 1}')
    with pytest.raises(ValueError, match='is no notebook'): copy_notebooks([tmp_path/'no.ipynb'], tmp_path/'both')
    with pytest.raises(ValueError, match='cannot be read \\(No such file'): copy_notebooks([tmp_path/'absent.ipynb'], tmp_path/'both')
