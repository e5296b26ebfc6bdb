"What a run writes about itself is plain, and true."
import importlib.util
import json
from importlib.metadata import version

from accelerate import Accelerator

from adafocus.run.presets import preset
from adafocus.trainer.journal import end_trackers, environment, start_trackers, tracker_names


def test_the_environment_is_plain_values():
    values = environment(Accelerator(cpu=True))
    assert values['torch'] == version('torch') and values['device'] == 'cpu' and values['device_name'] and json.dumps(values)


def test_tensorboard_is_the_default_where_it_is_installed(tmp_path):
    installed = bool(importlib.util.find_spec('tensorboard'))
    assert tracker_names('none') == [] and tracker_names(None) == ['tensorboard']*installed
    accelerator = Accelerator(cpu=True)
    start_trackers(accelerator, tmp_path, preset('needle'), 0)
    accelerator.log(dict(loss=1.), 1)
    end_trackers(accelerator)
    assert any(p.name.startswith('events') for p in tmp_path.rglob('*')) == installed
