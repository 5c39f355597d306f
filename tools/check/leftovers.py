"""What a killed run left behind, mended where that can hurt no other run."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import psutil
from dvc.config import Config
from dvc.lock import LockError, make_lock
from dvc.rwlock import SCHEMA as RWLOCK_SCHEMA
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAML

from stages.shared.pipeline.cached import LOCKS
from stages.shared.pipeline.files import atomic_write
from tools.check.project import find_outputs, has_conflict
from tools.shared.scratch import left_behind

TEMPORARY = Path(".dvc/tmp")
RWLOCK = TEMPORARY / "rwlock"  # which process of DVC reads and writes what
SCRATCH = (  # of tools
    ("verify-", TEMPORARY),
    ("bases-", TEMPORARY),
    ("select-", TEMPORARY),
    ("unfinished_", Path()),
    ("unfinished_", Path("export")),
)
STAGE = re.compile(rb"^  \w+:$", re.MULTILINE)  # where one begins in a dvc.lock

Leftover = tuple[str, Callable[[], object]]  # a sentence, and the call that makes it true


def mend_leftovers() -> list[str]:
    """Mend what a killed run left, and return a sentence on each thing.

    Nothing is touched where there is nothing to mend, or while another DVC works here: it may be its own.
    """
    if not any(find_leftovers()):
        return []
    TEMPORARY.mkdir(exist_ok=True)
    hardlink = Config.from_cwd()["core"].get("hardlink_lock", False)
    lock = make_lock(str(TEMPORARY / "lock"), tmp_dir=str(TEMPORARY), hardlink_lock=hardlink)
    try:
        lock.lock()
    except LockError:
        return []
    try:
        leftovers = [] if any(lives for _, lives in _users()) else list(find_leftovers())
        for _, mend in leftovers:
            mend()
        return [sentence for sentence, _ in leftovers]
    finally:
        lock.unlock()


def find_leftovers() -> Iterator[Leftover]:
    """Yield what is cut short, in the way or of no use."""
    if _is_unreadable(RWLOCK):
        yield f"{RWLOCK} was cut short by a kill: removed, as no other DVC works here.", RWLOCK.unlink
    elif reused := [pid for pid, lives in _users() if not lives and psutil.pid_exists(pid)]:
        yield (
            f"{RWLOCK} names the killed process {reused[0]}, whose number another process has now: removed.",
            RWLOCK.unlink,
        )
    for lock in filter(_is_cut, LOCKS):
        yield _salvage(lock)
    for output in find_outputs():
        # As scratch_file names them: what else is beside an output is the user's.
        names = {output.name, f"dated.{output.name}", output.with_suffix(".keras").name}
        beside = (output.with_name(f"unfinished.{name}") for name in sorted(names))
        for file in (*beside, *output.glob("unfinished.*")):
            if file.is_file():
                yield f"{file}, left by a killed run: removed.", file.unlink
    for prefix, within in SCRATCH:
        for folder in left_behind(prefix, within):
            if (folder / "old").exists():  # an export that was to be replaced, and may be the only one
                continue
            yield f"{folder}, left by a killed tool: removed.", partial(shutil.rmtree, folder)


def _users() -> list[tuple[int, bool]]:
    """Return the processes that DVC's rwlock names, and whether each still lives.

    DVC blocks while there is any process of that number, as there often is after a container's restart.
    """
    if not RWLOCK.exists() or _is_unreadable(RWLOCK):
        return []
    users, written = RWLOCK_SCHEMA(json.loads(RWLOCK.read_bytes())), RWLOCK.stat().st_mtime
    pids = {user["pid"] for user in chain(users["write"].values(), *users["read"].values())}
    return [(pid, _lives(pid, written)) for pid in sorted(pids)]


def _lives(pid: int, since: float) -> bool:
    try:
        return psutil.Process(pid).create_time() <= since
    except psutil.NoSuchProcess:
        return False


def _is_unreadable(rwlock: Path) -> bool:
    try:
        RWLOCK_SCHEMA(json.loads(rwlock.read_bytes()))
    except FileNotFoundError:
        return False
    except Exception:  # of json on what is cut short, of voluptuous on JSON of another shape
        return True
    return False


def _is_cut(lock: Path) -> bool:
    """Return whether `lock` is the beginning of a file that DVC would take, and no person has to mend it."""
    if not lock.exists() or has_conflict(lock) or _is_valid(content := lock.read_bytes()):
        return False
    whole = _whole_stages(content)
    return whole == b"" or _is_valid(whole)


def _is_valid(text: bytes) -> bool:
    try:
        return bool(COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text)))
    except Exception:  # of ruamel.yaml on what is no YAML, of voluptuous on YAML of another shape
        return False


def _whole_stages(content: bytes) -> bytes:
    """Return `content`, of a dvc.lock, up to the stage in which it was cut; nothing where that is the first."""
    stages = list(STAGE.finditer(content))
    return content[: stages[-1].start()] if len(stages) > 1 else b""


def _salvage(lock: Path) -> Leftover:
    """Keep the stages before the one in which `lock` was cut."""
    copy = TEMPORARY / f"{lock.as_posix().replace('/', '_')}.cut"
    content = lock.read_bytes()
    whole = _whole_stages(content)

    def mend() -> None:
        copy.write_bytes(content)
        if whole:
            with atomic_write(lock) as file:
                file.write_bytes(whole)
        else:
            lock.unlink()

    kept = len(STAGE.findall(whole)) or "none"
    sentence = (
        f"{lock} was cut short by a kill: {kept} of its stages are kept, and dvc repro restores the others from "
        f"what it has run. {copy} is the file as it was."
    )
    return sentence, mend
