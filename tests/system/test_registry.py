"Tables of parts: where a part came from, names that are taken, and entry points of installed packages."
import sys
from types import ModuleType

import pytest

from adafocus.system import registry as module
from adafocus.system.bringing import import_module
from adafocus.system.registry import Registry


def register_from(file, table):
    "Run a file as a module that sees the table."
    name = file.stem
    sys.modules[name] = loaded = ModuleType(name)
    loaded.__file__, loaded.TABLE = str(file), table
    try: exec(compile(file.read_text(), str(file), 'exec'), loaded.__dict__)
    finally: del sys.modules[name]


def test_two_files_cannot_share_a_name(tmp_path):
    table = Registry('policy')
    for name in ('one', 'two'): (tmp_path/f'{name}.py').write_text(f"TABLE.register('mine')(len) # {name}")
    register_from(tmp_path/'one.py', table)
    register_from(tmp_path/'one.py', table)                  # the same file again, as when a notebook reloads it
    with pytest.raises(ValueError, match=r'one\.py already'): register_from(tmp_path/'two.py', table)
    assert table.sources['mine'].file == str(tmp_path/'one.py')


def test_a_script_is_itself_when_it_is_imported_by_name(tmp_path):
    table = Registry('policy')
    (tmp_path/'script.py').write_text("TABLE.register('mine')(len)")
    register_from(tmp_path/'script.py', table)
    (tmp_path/'copy.py').write_text("TABLE.register('mine')(len)")
    register_from(tmp_path/'copy.py', table)                 # the same bytes elsewhere are the same part


def test_packages_offer_parts(monkeypatch):
    table, asked = Registry('policy'), []

    class Point:
        value = 'some_package.parts'
        def load(self): table.register('packaged')(len)
    monkeypatch.setattr(module, 'entry_points', lambda group: asked.append(group) or [Point()])
    assert table.lookup('packaged') is len and asked == ['adafocus.parts']
    with pytest.raises(ValueError, match="policy is 'nothing'"): table.lookup('nothing')


@pytest.mark.parametrize('text, said', [('import no_such_library', 'no_such_library'), ('raise RuntimeError("its own fault")', 'its own fault')])
def test_a_module_that_fails_is_not_kept(tmp_path, text, said):
    (tmp_path/'broken.py').write_text(text)
    with pytest.raises((ValueError, RuntimeError), match=said): import_module(str(tmp_path/'broken.py'))
    assert 'broken' not in sys.modules


def test_a_file_with_a_taken_name_is_another_module(tmp_path):
    (tmp_path/'json.py').write_text('mine = 1')
    name = import_module(str(tmp_path/'json.py'))
    assert name != 'json' and sys.modules[name].mine == 1 and hasattr(sys.modules['json'], 'dumps')
    del sys.modules[name]
