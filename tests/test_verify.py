"""What tools.verify makes of two dvc.lock files."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.shared.network import environment
from tests.conftest import refused, states
from tools import verify
from tools.verify import compare, explain

HERE = {"processor": ["here"], "cores": 2, "precision": ["float32"]}


def lock(**hashes: str) -> dict:
    """Return the stages of a dvc.lock with data/features and its environment, and the split."""
    return {
        "split_dataset": {"outs": [{"path": "data/splits", "md5": hashes["splits"]}]},
        "extract_features": {
            "outs": [
                {"path": "data/features", "md5": hashes["features"]},
                {"path": "data/environment/extract_features.json", "md5": hashes["machine"]},
            ]
        },
    }


RECORDED = lock(splits="a", features="b", machine="c")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with a dvc.yaml and a clone that has run extract_features."""
    (tmp_path / "dvc.yaml").write_text("stages:\n  split_dataset:\n  extract_features:\n")
    environment = tmp_path / "clone/data/environment/extract_features.json"
    environment.parent.mkdir(parents=True)
    environment.write_text(json.dumps(HERE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_another_machine_with_the_same_results_is_no_difference(project):
    assert compare(RECORDED, lock(splits="a", features="b", machine="other")) == {}


def test_stages_that_differ_come_in_their_order(project):
    found = dict(reversed(lock(splits="x", features="y", machine="c").items()))
    assert list(compare(RECORDED, found).items()) == [
        ("split_dataset", ["data/splits"]),
        ("extract_features", ["data/features"]),
    ]


def test_a_clone_in_which_dvc_has_not_run_yet(project, monkeypatch):
    ran = []
    monkeypatch.setattr(verify, "call", lambda *command: "")
    monkeypatch.setattr(verify, "run_again", lambda clone: ran.append(clone) or sys.exit())
    (project / ".dvc").mkdir()
    with refused("dvc.lock", "dvc repro"):
        verify.main()
    (project / "dvc.lock").touch()
    with pytest.raises(SystemExit):
        verify.main()
    assert len(ran) == 1 and not list((project / ".dvc/tmp").iterdir())


def test_it_says_which_stage_differs_first(project, monkeypatch, capsys):
    def run_again(clone: Path) -> Path:
        shutil.copytree(project / "clone", clone)
        YAML().dump({"stages": found}, clone / "dvc.lock")
        return clone

    monkeypatch.setattr(verify, "call", lambda *command: "")
    monkeypatch.setattr(verify, "run_again", run_again)
    (project / ".dvc").mkdir()
    YAML().dump({"stages": RECORDED}, project / "dvc.lock")
    found = lock(splits="a", features="b", machine="other")
    assert verify.main()
    assert states(capsys.readouterr().out, "All", "2 outputs", "2 stages", "dvc.lock")
    found = lock(splits="a", features="y", machine="c")
    assert not verify.main()
    of_stage, first, *_ = capsys.readouterr().out.strip().splitlines()
    assert states(of_stage, "extract_features", "data/features")
    assert states(first, "extract_features", "first", "does not explain")


def test_what_is_recorded_of_the_machine_is_no_secret(monkeypatch):
    monkeypatch.setenv("TF_VAR_database_password", "secret")  # Terraform's
    settings = {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_DISABLE_MKL": "0", "DNNL_MAX_CPU_ISA": "AVX2"}
    settings |= {"TF_SET_ONEDNN_FPMATH_MODE": "BF16", "NPY_DISABLE_CPU_FEATURES": "FMA3"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    described = environment.describe()
    assert settings.items() <= described["settings"].items() and "secret" not in json.dumps(described)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")  # as our code has it: nothing of the machine's
    assert "TF_ENABLE_ONEDNN_OPTS" not in environment.describe()["settings"]


def test_what_the_machine_explains(project, monkeypatch):
    def said(stage: str, machine: str) -> str:
        return explain(stage, RECORDED, lock(splits="x", features="y", machine=machine), project / "clone")

    assert states(said("split_dataset", "c"), "does not record")
    assert states(said("extract_features", "c"), "does not explain")

    class Files:
        def __init__(self, rev):
            assert rev == "HEAD"

        def read(self, path):
            return Path(path).read_bytes()

    monkeypatch.setattr("tools.verify.Files", Files)
    assert states(said("extract_features", "d"), "dvc pull data/environment/extract_features.json")
    monkeypatch.setattr(Files, "read", lambda self, path: json.dumps({**HERE, "cores": 8}))
    sentence, *changes = said("extract_features", "d").splitlines()
    assert states(sentence, "explains") and len(changes) == 1 and states(changes[0], "cores", 8, 2)
