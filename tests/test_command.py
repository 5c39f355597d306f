"""How a stage ends when what it needs is not there, or the machine refuses."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.shared.pipeline.arrays import array_file
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import write_json
from tests.conftest import PROJECT, arguments, call, refused, states, variables_for


def fail(stage: str, *paths: str) -> str:
    """Run a stage that fails and return its last line of standard error."""
    ended = call(Path.cwd(), "python", "-m", f"stages.{stage}", *paths)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    return ended.stderr.splitlines()[-1]


@pytest.mark.slow
def test_paths_that_are_missing_or_unknown(workspace):
    assert states(
        fail("split_dataset", "--splits", "data/splits"), "required: --unused, --metrics", "dvc.yaml"
    )
    given = (*arguments("split_dataset"), "--more", "data")
    assert states(fail("split_dataset", *given), "--more", "dvc repro")


@pytest.mark.slow
def test_inputs_that_are_not_there(workspace):
    assert states(fail("train_head", *arguments("train_head")), "data/splits/train.csv", "dvc repro")


@pytest.mark.slow
def test_outputs_that_cannot_be_written(workspace):
    Path("metrics").write_text("a file where the folder should be")
    assert states(fail("split_dataset", *arguments("split_dataset")), "metrics", "File exists")


@pytest.mark.parametrize("error", [OSError("no room in HDF5"), FileNotFoundError("no room in HDF5")])
def test_what_a_library_says_without_naming_a_file(monkeypatch, error):
    def main() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["stage"])
    with refused("no room in HDF5"):
        run(main)


def test_no_room_for_an_array(tmp_path):
    """The disk is not filled up to find that out: some file systems would."""
    too_large = array_file(tmp_path / "large.npy", (10**9,), (1000,), "float32")
    with refused(tmp_path, "4016.0 GB", "are free"), too_large:
        pass
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_a_file(tmp_path, monkeypatch):
    def main() -> None:
        write_json(tmp_path / "metrics/large.json", {"text": "x" * 10**5})

    monkeypatch.setattr(sys, "argv", ["stage"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**4, limits[1]))
    try:
        with refused(tmp_path / "metrics", "File too large"):
            run(main)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "metrics").iterdir()) == []


def test_an_array_that_fails_half_way_leaves_nothing(tmp_path):
    def fail_half_way() -> None:
        with array_file(tmp_path / "a.npy", (2,), (3,), "float32") as array:
            array.write([0], np.ones((1, 3), "float32"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_rows_names_the_folder_of_their_array(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with array_file(tmp_path / "views/a.npy", (2,), (10**4,), "float32") as array:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**4, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large") as end:
                array.write([1], np.ones((1, 10**4), "float32"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert end.value.filename == "views"


NOISY = """
import os
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
os.write(2, b"I0000 00:00:1 1 port.cc:153] oneDNN custom operations are on. You may see slightly different ...\\n")
os.write(2, b"a fault\\n")
"""


def test_of_what_tensorflow_says_at_its_start_only_its_notices_are_left_out(tmp_path):
    (tmp_path / "tensorflow.py").write_text(NOISY)
    variables = variables_for() | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROJECT)])}
    command = [sys.executable, "-c", "import stages, tensorflow"]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert ended.stderr == "a fault\n"


@pytest.mark.slow
def test_the_real_one_says_nothing():
    command = [sys.executable, "-c", "import stages, tensorflow, keras"]
    ended = subprocess.run(command, env=variables_for(), capture_output=True, text=True, check=True)
    assert ended.stdout == ended.stderr == ""


@pytest.mark.slow
def test_names_in_a_process_that_reads_none_in_utf_8(workspace):
    (workspace / "images/pear").rename(workspace / "images/pêche")
    variables = variables_for() | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "stages.split_dataset", *arguments("split_dataset")]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert states(ended.stderr.splitlines()[-1], "ascii", "PYTHONUTF8=1")


@pytest.mark.parametrize("package", ["stages", "tools"])
def test_what_standard_output_cannot_print_comes_out_escaped(package):
    variables = variables_for() | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", f"import {package}; print('p\\u00eache \\udcff')"]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert ended.stdout == "p\\xeache \\udcff\n"
