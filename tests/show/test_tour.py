"The tour's notebooks, run as a person would run them."
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.thorough
def test_your_own_videos_trains_scores_and_shows(tmp_path):
    shutil.copy(ROOT/'nbs'/'tour'/'your_own_videos.ipynb', tmp_path)
    jupyter = Path(sys.executable).parent/'jupyter'
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'PATH': f'{jupyter.parent}:{os.environ["PATH"]}'}
    done = subprocess.run([jupyter, 'nbconvert', '--to', 'notebook', '--execute', '--inplace', 'your_own_videos.ipynb'], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path/'runs'/'mine'/'budgets.json').is_file()
