"""What users have set for other projects changes nothing here: not a number, and not a picture."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import run, variables_for
from tests.test_honesty import read_outputs

STAGES = ("extract_features", "audit_leakage", "train_head", "draw_plots", "explain", "report")
RUN = f"from tests.conftest import run; run{STAGES}"  # one process, as to load the libraries takes longest
KERAS = {"floatx": "float16", "epsilon": "small", "backend": "torch", "image_data_format": "channels_first"}
MATPLOTLIB = "backend: tkagg\nfont.size: 20\naxes.facecolor: red\nsavefig.bbox: tight\naxes.grid: True\n"


@pytest.fixture
def users_home(tmp_path) -> dict[str, str]:
    """What the environment says of the home and the settings of someone who has much else to do."""
    home = tmp_path / "home"
    for file, content in {
        home / ".keras/keras.json": json.dumps(KERAS),
        home / ".config/matplotlib/matplotlibrc": MATPLOTLIB,
        home / "matplotlibrc": MATPLOTLIB,
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return {
        "HOME": str(home),
        "KERAS_BACKEND": "jax",
        "KERAS_MAX_EPOCHS": "1",
        "KERAS_MAX_STEPS_PER_EPOCH": "1",
        "KERAS_NNX_ENABLED": "true",
        "PYTHONWARNINGS": "error",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": str(home / "matplotlibrc"),
    }


@pytest.mark.slow
def test_results_and_pictures_have_the_same_bytes(trained_copy, users_home):
    run("draw_plots", "explain", "report")
    before = read_outputs(*STAGES)
    assert {"data/features/train.npy", "metrics/roc_curves.png", "metrics/report.html"} <= set(before)
    Path("matplotlibrc").write_text(MATPLOTLIB)
    ended = call(RUN, users_home)
    assert ended.returncode == 0, ended.stderr
    assert read_outputs(*STAGES) == before


def call(program: str, settings: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=variables_for() | settings, capture_output=True, text=True)


LOADED = """
import os
before = dict(os.environ)
import stages
import matplotlib, keras
from keras.src.backend import config
print(keras.config.floatx(), keras.config.backend(), keras.config.max_epochs(), matplotlib.rcParams["font.size"])
print({name for name in before if os.environ.get(name) != before[name]})
"""


@pytest.mark.slow
def test_processes_that_a_stage_starts_see_what_the_user_has_set(users_home, tmp_path):
    """And Keras leaves no settings of ours in a home that has none."""
    (tmp_path / "home/.keras/keras.json").unlink()
    (tmp_path / "home/.keras").rmdir()
    ended = call(LOADED, users_home)
    assert ended.stdout == "float32 tensorflow None 10.0\nset()\n"
    assert not (tmp_path / "home/.keras").exists()


UNUSED = """
import gc, sys
import stages
{before}
import keras
print(sorted({{"matplotlib", "sklearn"}} & set(sys.modules)))
print(gc.isenabled(), gc.get_freeze_count() > 10**5)
import matplotlib, sklearn
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "loaded"), [("", []), ("import sklearn", ["sklearn"]), ("import tensorflow", [])]
)
def test_keras_is_loaded_without_what_no_stage_uses(before, loaded):
    """So a process with it starts, and ends, in half the time. Others find those libraries, and garbage is collected."""
    ended = call(UNUSED.format(before=before), {})
    assert ended.stdout == f"{loaded}\nTrue True\n", ended.stderr
    assert ended.returncode == 0
