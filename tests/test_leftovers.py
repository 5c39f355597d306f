"""What a killed run leaves is mended by python -m tools.check, and dvc repro then gives the undisturbed hashes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import call, refused, reproduce, run_in, states
from tools.check.leftovers import RWLOCK, find_leftovers, mend_leftovers
from tools.check.project import read_project
from tools.shared.scratch import IN_USE, left_behind, scratch_folder

LOCK = Path("dvc.lock")
USED = {
    "write": {"/data/features": {"pid": 4194305, "cmd": "dvc repro"}},
    "read": {},
}  # a number beyond Linux's


@pytest.fixture(scope="module")
def shared(repository, tmp_path_factory) -> Path:
    """A copy of `repository` that ends each test as it was."""
    copy = shutil.copytree(repository, tmp_path_factory.mktemp("leftovers") / "copy", symlinks=True)
    assert reproduce(copy) == set()
    return copy


@pytest.fixture
def project(shared, monkeypatch) -> Path:
    monkeypatch.chdir(shared)
    assert mend_leftovers() == []
    return shared


@pytest.mark.parametrize("part", [0, 0.4, 0.9])  # 0: within the first stage
def test_a_lock_that_was_cut_keeps_its_whole_stages(project, part):
    """At any length: dvc repro then gives the undisturbed dvc.lock and runs at most the card, which has no run-cache."""
    whole = LOCK.read_bytes()
    length = whole.index(b"hash: md5", int(len(whole) * part)) + 6  # within a word, which no YAML ends with
    LOCK.write_bytes(whole[:length])
    broken = call(project, "dvc", "status")
    assert broken.returncode and "dvc.lock" in broken.stderr
    said = run_in(project, "python", "-m", "tools.check")
    kept = LOCK.read_bytes() if LOCK.exists() else b""
    assert whole.startswith(kept) and bool(kept) == (part > 0)
    assert states(said, "dvc.lock", ".dvc/tmp/dvc.lock.cut")
    assert Path(".dvc/tmp/dvc.lock.cut").read_bytes() == whole[:length]
    assert reproduce(project) <= {"model_card"}
    assert LOCK.read_bytes() == whole


def test_every_cut_of_a_lock_is_mended_or_dvc_takes_it(project):
    whole = LOCK.read_bytes()
    salvaged = 0
    for length in [*range(0, len(whole), 997), *range(len(whole) - 60, len(whole), 5)]:
        LOCK.write_bytes(whole[:length])
        said = mend_leftovers()
        salvaged += bool(said)
        read_project()
        assert whole.startswith(LOCK.read_bytes() if LOCK.exists() else b"")
    LOCK.write_bytes(whole)
    assert salvaged


def test_a_conflict_is_the_users(project):
    whole = LOCK.read_bytes()
    lines = whole.splitlines(keepends=True)
    LOCK.write_bytes(
        b"".join([*lines[:20], b"<<<<<<< HEAD\n", *lines[20:22], b"=======\n", b">>>>>>> b\n", *lines[22:]])
    )
    conflict = LOCK.read_bytes()
    assert mend_leftovers() == [] and LOCK.read_bytes() == conflict
    with refused("dvc.lock", "conflict", "docs/team.md", "git checkout --ours dvc.lock"):
        read_project()
    half = whole.replace(
        b"  extract_features:\n", b"=======\n  extract_features:\n"
    )  # what an editor left of one
    LOCK.write_bytes(half)
    assert mend_leftovers() == [] and LOCK.read_bytes() == half
    with refused("dvc.lock is not as DVC takes it", "git checkout dvc.lock"):
        read_project()
    LOCK.write_bytes(whole)


@pytest.mark.parametrize("length", [0, 20])
def test_an_unreadable_rwlock_is_removed(project, length):
    RWLOCK.write_text(json.dumps(USED)[:length])
    broken = call(project, "dvc", "repro")
    assert broken.returncode and "JSON structure is corrupted" in broken.stderr
    assert states(*mend_leftovers(), ".dvc/tmp/rwlock", "removed")
    assert reproduce(project) == set()


def test_nothing_is_touched_while_another_dvc_works(project):
    unfinished = Path("data/models/unfinished.head.keras")
    unfinished.touch()
    lock = {**USED, "write": {"/data/models": {"pid": os.getpid(), "cmd": "dvc repro"}}}
    RWLOCK.write_text(json.dumps(lock))
    assert mend_leftovers() == [] and unfinished.exists()
    RWLOCK.write_text("")
    code = "from dvc.lock import make_lock; lock = make_lock('.dvc/tmp/lock'); lock.lock(); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as other:
        assert other.stdout and other.stdout.readline() == b"\n"
        assert mend_leftovers() == [] and RWLOCK.exists() and unfinished.exists()
        other.communicate(b"\n")
    assert len(mend_leftovers()) == 2
    assert not RWLOCK.exists() and not unfinished.exists()


def test_a_process_that_has_the_number_of_a_killed_one(project):
    lock = {**USED, "write": {str(project / "data/features"): {"pid": os.getpid(), "cmd": "dvc repro"}}}
    RWLOCK.write_text(json.dumps(lock))
    os.utime(RWLOCK, (1e9, 1e9))  # long before this process began
    (said,) = mend_leftovers()
    assert states(said, os.getpid()) and not RWLOCK.exists()


def test_unfinished_files_of_outputs_are_removed_and_no_others(project):
    left = [
        "data/models/unfinished.head.keras",
        "data/models/unfinished.dated.head.keras",
        "data/weights/unfinished.conv_base.weights.keras",
        "data/features/unfinished.train.npy",
        "metrics/unfinished.head.json",
    ]
    own = [
        "data/raw/mine/apple/unfinished.0.png",
        "data/unfinished.my splits.csv",
        "metrics/unfinished.report.docx",
        "metrics/unfinished.txt",
        "unfinished.md",
    ]
    for name in left + own:
        Path(name).touch()
    said = mend_leftovers()
    assert sorted(line.partition(",")[0] for line in said) == sorted(left)
    assert [name for name in left + own if Path(name).exists()] == own
    for name in own:
        Path(name).unlink()
    assert list(find_leftovers()) == []


def test_folders_of_killed_tools_are_removed_and_those_in_use_stay(project):
    own = (Path("unfinished_notes/new"), Path("unfinished_c/old"))  # a user's, and an earlier export
    for folder in (".dvc/tmp/verify-a/clone", "unfinished_b/new", *own):
        Path(folder).mkdir(parents=True)
    for folder in (".dvc/tmp/verify-a", "unfinished_b", "unfinished_c"):
        Path(folder, IN_USE).touch()
    with scratch_folder("verify-", Path(".dvc/tmp")) as in_use:
        assert [line.partition(",")[0] for line in mend_leftovers()] == [".dvc/tmp/verify-a", "unfinished_b"]
        assert in_use.is_dir()
    assert all(folder.is_dir() for folder in own)
    for folder in own:
        shutil.rmtree(folder.parent)
    assert list(left_behind("verify-", Path(".dvc/tmp"))) == []


def test_the_folder_of_a_tool_that_is_killed_is_left_behind(project):
    code = """
from pathlib import Path
from tools.shared.scratch import scratch_folder
with scratch_folder("verify-", Path(".dvc/tmp")) as folder:
    print(folder, flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=project, stdin=-1, stdout=-1) as tool:
        assert tool.stdout
        folder = Path(tool.stdout.readline().decode().strip())
        assert mend_leftovers() == [] and folder.is_dir()
        tool.kill()
    assert len(mend_leftovers()) == 1 and not folder.exists()


@pytest.mark.parametrize("length", [0, 30, -20, -2])
def test_a_file_of_dvc_add_that_was_cut(project, length):
    file = Path("data/raw/mine.dvc")
    whole = file.read_bytes()
    file.write_bytes(whole[:length])
    try:
        with refused("data/raw/mine.dvc", "git checkout data/raw/mine.dvc", "dvc add data/raw/mine"):
            read_project()
    finally:
        file.write_bytes(whole)
