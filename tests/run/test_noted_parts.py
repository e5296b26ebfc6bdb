"Which parts a configuration names, before any of them is registered."
from adafocus.run.parts import named_parts, without_files
from adafocus.run.presets import preset

NOTED = dict(module='gone', file='/nowhere/gone.py', sha256='0'*64)


def test_a_format_that_is_noted_is_named_before_it_is_known():
    config = preset('needle')
    config.data.data = 'gone:/videos'
    names = lambda: [(registry.kind, name) for registry, name in named_parts(config)]
    assert ('dataset', 'gone') not in names()                 # control: a path with a colon names no format
    config.parts = {'dataset gone': NOTED}
    assert ('dataset', 'gone') in names()


def test_what_is_published_keeps_name_and_hash():
    config = preset('needle')
    config.parts = {'policy gone': NOTED}
    assert without_files(config).parts == {'policy gone': dict(NOTED, file=None)} and config.parts['policy gone'] is NOTED
