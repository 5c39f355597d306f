"""python -m tools.check --stored and --remote name what is damaged or missing, and a command that mends it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from stages.shared.pipeline.cached import mending, object_behind
from tests.conftest import call, commit, reproduce, run_in, states, variables_for
from tests.faults.trying import read_lock
from tests.remotes import REMOTES
from tests.warm_python import warm_python

FEATURES, MODEL, TEST = "data/features/train.npy", "data/models/head.keras", "data/activations/test.npy"
PHOTO, METRIC = "data/raw/mine/apple/0.png", "metrics/head.json"
STORED = ("python", "-m", "tools.check", "--stored")
REMOTE = ("python", "-m", "tools.check", "--remote")


@pytest.fixture
def project(repository, tmp_path, monkeypatch) -> Path:
    """A copy of `repository` with hard links to its cache."""
    copy = shutil.copytree(repository, tmp_path / "copy", symlinks=True)
    link_by(copy, "hardlink")
    monkeypatch.chdir(copy)
    return copy


def link_by(project: Path, kind: str) -> None:
    run_in(project, "dvc", "config", "--local", "cache.type", kind)
    run_in(project, "dvc", "checkout", "--quiet", "--relink")


def damage(file: Path) -> None:
    """Flip a bit, with size, time and permissions as they were."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(before.st_mode)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def cached(path: str) -> Path:
    found = object_behind(Path(path))
    assert found
    return found


def found_wrong(project: Path, *command: str) -> list[str]:
    """Return the sentences of a check that ends with 1, and [] for one that ends with 0."""
    ended = call(project, *command)
    lines = [line for line in ended.stderr.splitlines() if ": " in line and re.match(r"[\w./]+[:, ]", line)]
    lines = [line for line in lines if line.startswith(("data/", "metrics/", ".dvc/", "the "))]
    assert ended.returncode == bool(lines), ended.stdout + ended.stderr
    assert "checked: " in ended.stdout
    return lines


def shell(project: Path, command: str) -> None:
    variables = variables_for(project)
    variables["PATH"] = os.pathsep.join([str(warm_python()), variables["PATH"]])
    ended = subprocess.run(command, shell=True, cwd=project, env=variables, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def command_of(sentence: str) -> str:
    return "rm -f" + sentence.partition("rm -f")[2].partition("; ")[0]


def test_all_is_hashed_and_nothing_written(project):
    def times() -> dict[Path, int]:
        files = (path for folder in ("data", "metrics", ".dvc") for path in Path(folder).rglob("*"))
        return {path: path.lstat().st_mtime_ns for path in files if not path.is_dir() and path.name != "lock"}

    before = times()
    said = run_in(project, *STORED)
    assert times() == before
    counted = re.search(r"checked: (\d+) files and DVC's cache behind them \(([\d.]+) GB", said)
    assert counted
    outputs = [Path(out["path"]) for stage in read_lock(project).values() for out in stage["outs"]]
    files = [path for out in outputs for path in (out, *out.rglob("*")) if path.is_file()]
    for name in ("apple", "pear"):
        files += Path("data/raw").glob(f"*/{name}/[0-9]*.png")
    assert int(counted[1]) == len(files)
    everything = {path.stat().st_ino: path.stat().st_size for path in files}
    assert float(counted[2]) == pytest.approx(sum(everything.values()) / 1e9, abs=0.006)


@pytest.mark.parametrize("kind", ["hardlink", "symlink", "copy"])
def test_damaged_results_come_back_as_they_were(project, kind):
    """A single file, a file in a folder, and one that two outputs share."""
    link_by(project, kind)
    lock = Path("dvc.lock").read_bytes()
    content = {path: Path(path).read_bytes() for path in (FEATURES, MODEL, TEST)}
    for path, whole in content.items():
        found = cached(path)
        assert found.read_bytes() == whole
        damage(found)
        if kind == "copy":
            damage(Path(path))
            damage(Path("data/default_activations/test.npy")) if path == TEST else None
    assert reproduce(project) == set()  # DVC notices nothing
    said = found_wrong(project, *STORED)
    assert len(said) == 3
    for path in content:
        (line,) = [line for line in said if path in line]
        assert states(line, "damaged", cached(path), mending(Path(path)))
        assert command_of(line).endswith(" && dvc repro")
        shell(project, command_of(line).removesuffix(" && dvc repro"))
    assert not Path("data/default_activations/test.npy").exists()
    assert reproduce(project) == {"extract_features", "train_head"}
    assert Path("dvc.lock").read_bytes() == lock
    assert content == {path: Path(path).read_bytes() for path in content}
    assert found_wrong(project, *STORED) == []


@pytest.mark.parametrize("kind", ["hardlink", "copy"])
def test_an_object_that_is_missing_is_taken_from_the_workspace(project, kind):
    link_by(project, kind)
    lock, objects = Path("dvc.lock").read_bytes(), [cached(path) for path in (FEATURES, MODEL, PHOTO)]
    before = [found.read_bytes() for found in objects]
    for found in objects:
        found.unlink()
    said = found_wrong(project, *STORED)
    assert len(said) == 3
    for found, line in zip(sorted(map(str, objects)), sorted(said), strict=True):
        assert states(line, found, "missing", "whole", "dvc commit")
        shell(project, command_of(line))
    assert [found.read_bytes() for found in objects] == before
    assert reproduce(project) == set() and Path("dvc.lock").read_bytes() == lock
    assert found_wrong(project, *STORED) == []


def test_a_file_that_is_damaged_or_missing_is_taken_from_the_cache(project):
    link_by(project, "copy")
    lock = Path("dvc.lock").read_bytes()
    damage(Path(FEATURES))
    damage(Path(PHOTO))
    Path(MODEL).unlink()
    Path(METRIC).write_text("{}")
    said = found_wrong(project, *STORED)
    of = {path: line for path in (FEATURES, PHOTO, METRIC) for line in said if line.startswith(path)}
    assert len(said) == 3 and states(of[PHOTO], "dvc add data/raw/mine", f"dvc checkout {PHOTO}")
    shell(
        project, f"dvc checkout {MODEL}"
    )  # of an output that is not in the workspace at all, a notice says so
    for line in of.values():
        shell(project, command_of(line))
    assert found_wrong(project, *STORED) == []
    assert reproduce(project) == set() and Path("dvc.lock").read_bytes() == lock


def test_an_image_is_never_just_deleted(project):
    """Where dvc add took it, DVC's copy may be the only one."""
    original = Path(PHOTO).read_bytes()
    damage(cached(PHOTO))
    (said,) = found_wrong(project, *STORED)
    assert states(
        said, PHOTO, cached(PHOTO), "ORIGINAL", "dvc add data/raw/mine", "dvc pull data/raw/mine.dvc"
    )
    Path("../0.png").write_bytes(original)
    record = Path("data/raw/mine.dvc").read_bytes()
    by_original = re.search(r"by (rm .*?); or", said)
    assert by_original
    shell(project, by_original[1].replace("ORIGINAL", "../0.png"))
    assert Path(PHOTO).read_bytes() == original and Path("data/raw/mine.dvc").read_bytes() == record
    assert found_wrong(project, *STORED) == []


def test_the_list_of_a_folder(project):
    lock, found = (
        Path("dvc.lock").read_text(),
        re.search(r"path: data/features\n +hash: md5\n +md5: (\w\w)(\S+)", Path("dvc.lock").read_text()),
    )
    assert found
    folder = Path(".dvc/cache/files/md5", found[1], found[2])
    damage(folder)
    (said,) = found_wrong(project, *STORED)
    assert states(said, folder, "data/features", "damaged")
    shell(project, command_of(said))
    assert Path("dvc.lock").read_text() == lock and found_wrong(project, *STORED) == []


def test_an_output_that_is_nowhere(project):
    cached(MODEL).unlink()
    Path(MODEL).unlink()
    (said,) = found_wrong(project, *STORED)
    assert states(said, MODEL, "missing", "dvc pull", "dvc repro")
    shutil.rmtree("data/views")
    views = re.search(r"path: data/views\n +hash: md5\n +md5: (\w\w)(\S+)", Path("dvc.lock").read_text())
    assert views
    Path(".dvc/cache/files/md5", views[1], views[2]).unlink()
    assert len(found_wrong(project, *STORED)) == 1  # the views stay local: each machine computes them


@pytest.mark.parametrize("kind", REMOTES)
def test_a_remote_that_lost_objects(kind, repository, tmp_path, monkeypatch):
    with REMOTES[kind](tmp_path) as (url, shared, own):
        a = shutil.copytree(repository, tmp_path / "A", symlinks=True)
        monkeypatch.chdir(a)
        run_in(a, "dvc", "remote", "add", "--quiet", "--default", "team", url)
        run_in(a, "dvc", "remote", "modify", "team", "verify", "true")
        for level, options in (("--project", shared), ("--local", own)):
            for option, value in options.items():
                run_in(a, "dvc", "remote", "modify", "--quiet", level, "team", option, value)
        commit(a)
        run_in(a, "dvc", "push", "--quiet")
        assert found_wrong(a, *REMOTE) == []
        storage = next(
            path for path in (tmp_path / "shared", tmp_path / "buckets/team/freezepoint") if path.exists()
        )
        there = {
            path: storage / cached(path).relative_to(".dvc/cache") for path in (FEATURES, MODEL, PHOTO, TEST)
        }
        for path in (MODEL, PHOTO):
            remote = Repo(".").cloud.get_remote_odb()  # a server that forgets nothing that it did not see go
            remote.fs.remove(remote.oid_to_path("".join(there[path].parts[-2:])))
        for path in (FEATURES, TEST):
            damage(there[path])
        said = found_wrong(a, *REMOTE)
        assert len(said) == 4
        for path in there:
            (line,) = [line for line in said if path in line]
            assert states(
                line, "missing" if path in (MODEL, PHOTO) else "altered", "tools.check --remote --push"
            )

        run_in(a, "dvc", "push", "--quiet")  # takes most of it for pushed
        assert not there[PHOTO].exists() and len(found_wrong(a, *REMOTE)) in (3, 4)
        b = tmp_path / "B"
        run_in(tmp_path, "git", "clone", "--quiet", str(a), str(b))
        for option, value in own.items():
            run_in(b, "dvc", "remote", "modify", "--quiet", "--local", "team", option, value)
        call(b, "dvc", "pull", "--allow-missing")
        assert not (b / TEST).exists() and not (b / FEATURES).exists()  # verified, so not installed
        assert call(b, *STORED).returncode == 1

        cached(TEST).rename(a / "aside")
        (left,) = found_wrong(a, *REMOTE, "--push")
        assert states(left, TEST, "not whole", "--stored")
        (a / "aside").rename(cached(TEST))
        assert found_wrong(a, *REMOTE, "--push") == found_wrong(a, *REMOTE) == []
        run_in(b, "dvc", "pull", "--quiet", "--allow-missing")
        for path in there:
            assert (b / path).read_bytes() == (a / path).read_bytes()


def test_a_project_without_a_remote(project):
    ended = call(project, *REMOTE)
    assert ended.returncode == 1 and states(ended.stderr, "no remote", "docs/team.md")
    run_in(project, "dvc", "remote", "add", "--default", "team", "s3://nowhere/here")
    run_in(project, "dvc", "remote", "modify", "team", "endpointurl", "http://127.0.0.1:9")
    run_in(project, "dvc", "remote", "modify", "--local", "team", "access_key_id", "me")
    run_in(project, "dvc", "remote", "modify", "--local", "team", "secret_access_key", "me")
    ended = call(project, *REMOTE)
    assert ended.returncode == 1 and states(ended.stderr, "nowhere/here", "cannot be read")
