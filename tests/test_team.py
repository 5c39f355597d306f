"""Two clones share results through remote storage: real DVC, stages and servers, tiny images."""

import json
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT, environment, write_parameters
from tests.remotes import REMOTES, s3
from tests.test_rerun import commit, reproduce, repository, run_in  # noqa: F401

LOCAL = ("data/views", "data/default_activations")  # push: false


def clone(source: Path, target: Path, own: dict[str, str]) -> Path:
    """Clone `source`, with what is each user's own to know about the remote."""
    run_in(target.parent, "git", "clone", "--quiet", str(source), str(target))
    for option, value in own.items():
        run_in(target, "dvc", "remote", "modify", "--quiet", "--local", "team", option, value)
    return target


def set_head_units(project: Path, units: int) -> None:
    write_parameters(project, {"head.units": units}, project / "params.yaml")


def evaluation(project: Path) -> dict:
    return json.loads((project / "metrics/evaluation.json").read_text())


def reproduce_pulling(project: Path) -> set[str]:
    return reproduce(project, "--pull", "--allow-missing")


@pytest.fixture(scope="session")
def first_clone(repository, tmp_path_factory):  # noqa: F811
    """Clone A, which has its cache, and of which two commits have head.units 4 and then 8 again."""
    project = tmp_path_factory.mktemp("team") / "A"
    run_in(repository, "git", "clone", "--quiet", str(repository), str(project))
    shutil.copytree(repository / ".dvc/cache", project / ".dvc/cache")
    run_in(project, "dvc", "checkout", "--quiet", "--allow-missing")
    for units, ran in ((4, {"train_head", "evaluate"}), (8, set())):
        set_head_units(project, units)
        assert reproduce(project) == ran
        commit(project)
    return project


@pytest.mark.parametrize("kind", REMOTES)
def test_a_round_trip(kind, first_clone, tmp_path):
    with REMOTES[kind](tmp_path) as (url, shared, own):
        a = tmp_path / "A"
        shutil.copytree(first_clone, a, symlinks=True)
        run_in(a, "dvc", "remote", "add", "--quiet", "--default", "team", url)
        for option, value in shared.items():
            run_in(a, "dvc", "remote", "modify", "--quiet", "team", option, value)
        for option, value in own.items():
            run_in(a, "dvc", "remote", "modify", "--quiet", "--local", "team", option, value)
        commit(a)
        run_in(a, "git", "checkout", "--quiet", "HEAD~2")  # head.units 4
        run_in(a, "dvc", "checkout", "--quiet", "--allow-missing")
        run_in(a, "git", "checkout", "--quiet", "master", "--", ".dvc/config")
        run_in(a, "dvc", "push", "--quiet", "--run-cache")
        with_4_units = evaluation(a)
        run_in(a, "git", "checkout", "--quiet", "--force", "master")
        run_in(a, "dvc", "checkout", "--quiet")
        run_in(a, "dvc", "push", "--quiet", "--run-cache")

        b = clone(a, tmp_path / "B", own)
        run_in(b, "dvc", "pull", "--quiet", "--run-cache", "--allow-missing")
        assert reproduce(b, "--allow-missing") == set()
        assert run_in(b, "git", "status", "--porcelain") == ""
        for output in ("data/features/train.npy", "data/models/fine_tuned.keras"):
            assert (b / output).read_bytes() == (a / output).read_bytes()

        set_head_units(b, 3)
        assert reproduce(b, "--allow-missing") == {"train_head", "evaluate"}
        assert not any((b / output).exists() for output in LOCAL)
        commit(b)
        run_in(b, "dvc", "push", "--quiet", "--run-cache")
        run_in(a, "git", "pull", "--quiet", str(b), "master")
        run_in(a, "dvc", "pull", "--quiet")
        assert evaluation(a) == evaluation(b) != with_4_units
        assert reproduce(a) == set()

        set_head_units(b, 4)
        assert reproduce_pulling(b) == set()
        assert evaluation(b) == with_4_units

        c = clone(a, tmp_path / "C", own)
        assert reproduce_pulling(c) == set()
        assert not (c / "data").exists()
        set_head_units(c, 4)
        assert reproduce_pulling(c) == set()
        assert evaluation(c) == with_4_units
        assert (c / "data/models/head.keras").exists() and not (c / "data/raw/mine").exists()
