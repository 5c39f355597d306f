"""Two clones share results through remote storage: real DVC, stages and servers, tiny images."""

import configparser
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import (
    PIPELINE,
    PROJECT,
    class_folders,
    commit,
    draw_images,
    reproduce,
    run_in,
    write_parameters,
)
from tests.remotes import REMOTES

STAGES = PIPELINE["stages"]
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


def share(
    repository: Path, project: Path, url: str, shared: dict[str, str], own: dict[str, str]
) -> tuple[Path, dict[int, dict]]:
    """Copy `repository`, and commit and push it with head.units 4 and then 8; return it and both evaluations."""
    shutil.copytree(repository, project, symlinks=True)
    run_in(project, "dvc", "remote", "add", "--quiet", "--default", "team", url)
    run_in(project, "dvc", "remote", "modify", "--quiet", "team", "verify", "true")
    for option, value in shared.items():
        run_in(project, "dvc", "remote", "modify", "--quiet", "team", option, value)
    for option, value in own.items():
        run_in(project, "dvc", "remote", "modify", "--quiet", "--local", "team", option, value)
    evaluations = {}
    for units in (4, 8):
        set_head_units(project, units)
        assert reproduce(project) == {"model_card"}
        commit(project)
        run_in(project, "dvc", "push", "--quiet", "--run-cache")
        evaluations[units] = evaluation(project)
    return project, evaluations


@pytest.mark.parametrize("kind", REMOTES)
def test_a_round_trip(kind, repository, tmp_path):
    with REMOTES[kind](tmp_path) as (url, shared, own):
        a, results = share(repository, tmp_path / "A", url, shared, own)
        b = clone(a, tmp_path / "B", own)
        run_in(b, "dvc", "pull", "--quiet", "--run-cache", "--allow-missing")
        assert reproduce(b, "--allow-missing") == set()
        assert run_in(b, "git", "status", "--porcelain") == ""
        for output in ("data/features/train.npy", "data/models/fine_tuned.keras"):
            assert (b / output).read_bytes() == (a / output).read_bytes()

        set_head_units(b, 4)
        assert reproduce_pulling(b) == {"model_card"}
        assert evaluation(b) == results[4]
        assert not any((b / output).exists() for output in LOCAL)
        commit(b)
        run_in(b, "dvc", "push", "--quiet", "--run-cache")
        run_in(a, "git", "pull", "--quiet", str(b), "main")
        run_in(a, "dvc", "pull", "--quiet", "--allow-missing")
        assert evaluation(a) == evaluation(b) != results[8]
        assert reproduce(a) == set()

        for option, secret in own.items():
            found = run_in(b, "git", "log", "--all", "--oneline", f"-S{secret}")
            assert option == "user" or found == ""


def test_an_empty_clone_takes_only_what_it_needs_and_gives_what_it_computes(repository, tmp_path):
    a, results = share(repository, tmp_path / "A", str(tmp_path / "shared"), {}, {})
    c = clone(a, tmp_path / "C", {})
    assert reproduce_pulling(c) == set()
    said = run_in(c, "python", "-m", "tools.compare", "HEAD~1", "HEAD")
    assert "head:\n  HEAD~1: " in said and said.count(" of 8 correct, ") == 6
    assert not (c / "data/features").exists() and not (c / "data/evaluation").exists()
    set_head_units(c, 4)
    assert "Running" not in run_in(c, "dvc", "repro", "--pull", "--allow-missing", "evaluate")
    assert evaluation(c) == results[4]
    assert (c / "data/models/head.keras").exists() and not (c / "data/raw/mine").exists()
    assert reproduce_pulling(c) == {"model_card"}
    assert (c / "metrics/report.html").exists()  # the images are here too now, as the report shows some

    set_head_units(c, 3)  # which nobody has run
    ran = {"train_head", "cross_validate", "evaluate", "draw_plots", "report", "model_card"}
    assert reproduce_pulling(c) == ran
    assert not any((c / output).exists() for output in LOCAL)
    commit(c)
    run_in(c, "dvc", "push", "--quiet", "--run-cache")
    run_in(a, "git", "pull", "--quiet", str(c), "main")
    run_in(a, "dvc", "pull", "--quiet", "--allow-missing")
    assert evaluation(a) == evaluation(c) not in results.values()
    assert reproduce(a) == set()


def test_no_secret_is_in_the_committed_configuration():
    """What DVC may be told of a remote here is where it is; who asks is for .dvc/config.local."""
    config = configparser.ConfigParser()
    config.read(PROJECT / ".dvc/config")
    public = {"analytics", "check_update", "autostage", "type", "remote", "url", "endpointurl", "region"}
    assert {option for section in config.sections() for option in config[section]} <= public
    assert run_in(PROJECT, "git", "check-ignore", ".dvc/config.local") == ".dvc/config.local\n"


def test_large_outputs_are_links_and_protected(repository, tmp_path):
    """A user's edit asks for dvc unprotect first, and then leaves the cache as it is."""
    project = clone(repository, tmp_path / "linked", {})
    (project / ".dvc/cache").symlink_to(repository / ".dvc/cache")
    run_in(project, "dvc", "checkout", "--quiet", "--allow-missing")
    draw_images(project / "data/raw/more", class_folders(), seed=2)
    run_in(project, "dvc", "add", "--quiet", "data/raw/more")
    for file in ("data/views/activations.npy", "data/models/head.keras", "data/raw/more/apple/0.png"):
        assert (project / file).stat().st_nlink > 1 and not (project / file).stat().st_mode & 0o222, file
    photo = project / "data/raw/mine/apple/0.png"
    original = photo.read_bytes()
    assert not photo.stat().st_mode & 0o222
    run_in(project, "dvc", "unprotect", "data/raw/mine")
    photo.write_bytes(b"edited")
    assert "modified" in run_in(project, "dvc", "status", "data/raw/mine.dvc")
    run_in(project, "dvc", "checkout", "--quiet", "--force", "data/raw/mine.dvc")
    assert photo.read_bytes() == original


def test_photos_that_lie_elsewhere_stay_as_they_are(tmp_path):
    """With dvc add --out; dvc add of links to them would make the photos themselves read-only links of the cache."""
    project, photos = tmp_path / "project", tmp_path / "photos"
    draw_images(photos, ["apple/0.png", "pear/0.png"])
    (photos / "apple/link.png").symlink_to(photos / "pear/0.png")
    before = (photos / "pear/0.png").stat()
    (project / "data/raw").mkdir(parents=True)
    run_in(project, "git", "init", "--quiet")
    run_in(project, "dvc", "init", "--quiet")
    shutil.copy(PROJECT / ".dvc/config", project / ".dvc/config")
    run_in(project, "dvc", "add", "--quiet", "--out", "data/raw/mine", str(photos))
    assert len(list((project / "data/raw/mine").rglob("*.png"))) == 3
    after = (photos / "pear/0.png").stat()
    assert (after.st_ino, after.st_mode, after.st_nlink) == (before.st_ino, before.st_mode, 1)


def test_two_branches_merge(repository, tmp_path):
    """As docs/team.md says: take either dvc.lock, and dvc repro restores what both branches computed."""
    project = clone(repository, tmp_path / "merged", {})
    (project / ".dvc/cache").symlink_to(repository / ".dvc/cache")
    run_in(project, "dvc", "checkout", "--quiet", "--allow-missing")
    for branch, change, ran in (
        ("narrow", {"head.units": 4}, {"model_card"}),
        (
            "faster",
            {"fine_tune.learning_rate": 1e-3},
            {"fine_tune", "evaluate", "draw_plots", "explain", "report", "model_card"},
        ),
    ):
        run_in(project, "git", "checkout", "--quiet", "-b", branch, "main")
        write_parameters(project, change, project / "params.yaml")
        assert reproduce(project) == ran
        commit(project)
    merge = subprocess.run(
        ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "merge", "narrow"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert "CONFLICT (content): Merge conflict in dvc.lock" in merge.stdout
    run_in(project, "git", "checkout", "--ours", "dvc.lock", "metrics")
    assert reproduce(project) == {"evaluate", "draw_plots", "report", "model_card"}
    commit(project)
    models = evaluation(project)
    run_in(project, "git", "checkout", "--quiet", "narrow")
    assert evaluation(project)["head"] == models["head"]
    run_in(project, "git", "checkout", "--quiet", "faster", "--force")
    assert evaluation(project)["fine_tuned"] == models["fine_tuned"] != evaluation(repository)["fine_tuned"]


def test_queued_experiments_share_the_features(repository, tmp_path):
    project = clone(repository, tmp_path / "queue", {})
    (project / ".dvc/cache").symlink_to(repository / ".dvc/cache")
    run_in(project, "dvc", "checkout", "--quiet", "--allow-missing")
    run_in(project, "dvc", "exp", "run", "--queue", "-S", "head.units=4,5", "--name", "grid")
    run_in(project, "dvc", "queue", "start")
    try:
        status = ""
        for _ in range(200):
            status = run_in(project, "dvc", "queue", "status")
            if status.count("Success") + status.count("Failed") == 2:
                break
            time.sleep(1)
        assert status.count("Success") == 2, status
    finally:
        run_in(project, "dvc", "queue", "stop", "--kill")
    names = ["grid-1", "grid-2"]
    for name, ran in zip(
        names,
        ({"model_card"}, {"train_head", "cross_validate", "evaluate", "draw_plots", "report", "model_card"}),
        strict=True,
    ):
        logs = run_in(project, "dvc", "queue", "logs", name)
        assert {stage for stage in STAGES if f"Running stage '{stage}'" in logs} == ran
    shown = run_in(project, "dvc", "exp", "show", "--csv")
    assert all(name in shown for name in names)
    run_in(project, "dvc", "exp", "apply", names[1])
    assert "units: 5" in (project / "params.yaml").read_text() and reproduce(project) == set()
    run_in(project, "git", "checkout", "--quiet", ".")
    run_in(project, "dvc", "exp", "branch", names[0], "four-units")
    assert "units: 4" in run_in(project, "git", "show", "four-units:params.yaml")
