"""A fault that was tried, and the project on which it is tried."""

import os
import re
import shutil
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML

from tests.conftest import PIPELINE, call, reproduce, start_repository, variables_for
from tests.warm_python import warm_python

STAGES = list(PIPELINE["stages"])
STORE = {"store.gigabytes": 1, "store.folder": "../store"}  # beside the project
# What DVC keeps beside its cache, and what is no file of the project.
OTHERS = (".git", ".dvc", "__pycache__")


class Try(NamedTuple):
    """A fault that was tried once."""

    fault: str
    survived: bool
    seen: str  # in a few words, which are counted


class Undisturbed(NamedTuple):
    """A project before its first run, and what is in it after one."""

    bare: Path
    done: Path
    files: dict[str, str]
    recorded: dict


def make_undisturbed(folder: Path) -> Undisturbed:
    """Make a project of few images, with a store beside it, and run it once."""
    bare, done = folder / "bare/project", folder / "done/project"
    bare.mkdir(parents=True)
    start_repository(bare, STORE)
    shutil.copytree(bare.parent, done.parent, symlinks=True)
    assert reproduce(done) == set(STAGES)
    return Undisturbed(bare, done, hash_files(done), read_lock(done))


def hash_files(project: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in the workspace, by its path; dvc.lock, whose lines may come in any order, not."""
    return {
        path.relative_to(project).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(project.rglob("*"))
        if path.is_file()
        and not set(OTHERS) & set(path.relative_to(project).parts)
        and path.name != "dvc.lock"
    }


def read_lock(project: Path) -> dict:
    return YAML(typ="safe").load(project / "dvc.lock")["stages"]


def recover(project: Path) -> str:
    """Do as make repro does; return what was wrong with that in a few words, or nothing."""
    for command in (("python", "-m", "tools.check"), ("dvc", "repro")):
        ended = call(project, *command)
        if ended.returncode:
            return f"{' '.join(command)}: {last_line(ended.stdout + ended.stderr)}"
    return ""


def differences(project: Path, undisturbed: Undisturbed) -> str:
    """Return in a few words where `project` is not as it is after an undisturbed run, or nothing."""
    found, expected = hash_files(project), undisturbed.files
    files = sorted(path for path in found.keys() | expected if found.get(path) != expected.get(path))
    if files:
        return f"other files: {', '.join(files)}"
    return "" if read_lock(project) == undisturbed.recorded else "another dvc.lock"


def leftovers(place: Path) -> str:
    """Return in a few words what DVC and the store have beside the workspace that only a kill leaves, or nothing."""
    files = [path for path in place.rglob("*") if path.is_file()]
    left = [
        str(path.relative_to(place))
        for path in files
        if re.search(r"unfinished|tmp\w{4,}|\.tmp$|-journal$", path.name)
    ]
    return f"left behind: {', '.join(left)}" if left else ""


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing"])[-1]


def variables(project: Path, warm: bool) -> dict[str, str]:
    """Return the environment in which `python` and `dvc` are those of `project`, having imported all already if `warm`."""
    found = variables_for(project)
    if warm:
        found["PATH"] = os.pathsep.join([str(warm_python()), found["PATH"]])
    return found
