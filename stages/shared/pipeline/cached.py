"""The object in DVC's cache behind a file of the workspace, and the command that mends both.

Nothing here is needed unless a file is damaged. So DVC, which takes longer to import than a short stage
takes to run, is imported when it is asked.
"""

import json
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML

LOCKS = Path("dvc.lock"), Path("data/raw/dvc.lock")


class Output(NamedTuple):
    """A file or folder whose content DVC has recorded, and where."""

    path: Path
    md5: str  # of a file its content's; of a folder that of DVC's list of its files, and ".dir" behind it
    record: Path  # dvc.lock, or the .dvc file of what dvc add took


def object_behind(path: Path) -> Path | None:
    """Return where DVC's cache keeps the content that `path` is to have, None where it records none.

    `path` counts from the project's top folder, the working directory. The object need not be there.
    """
    return next((found for file, found, _ in recorded_files([path]) if file == path), None)


def mending(path: Path) -> str:
    """Return, as words for the end of a sentence, how `path` comes back whole where it is damaged.

    It goes with its object, as DVC trusts that, and with all files that share the object: these may be links
    to it. dvc repro then makes what a stage wrote again. Of images that dvc add took, that is no way back.
    """
    files = list(recorded_files([path]))
    behind = next(((found, record) for file, found, record in files if file == path), None)
    if behind is None:
        return f"{shlex.join(['rm', '-f', str(path)])} && dvc repro"
    found, record = behind
    sharing = [str(file) for file, other, _ in files if other == found]
    remove = shlex.join(["rm", "-f", *sharing, str(found)])
    if record in LOCKS:
        return f"{remove} && dvc repro"
    copies = " && ".join(f"cp ORIGINAL {shlex.quote(file)}" for file in sharing)
    return (
        f"from your ORIGINAL by {remove} && {copies} && {shlex.join(['dvc', 'add', str(record.with_suffix(''))])}; "
        f"or, where it was pushed, by {remove} && {shlex.join(['dvc', 'pull', str(record)])}"
    )


def recorded_files(paths: Iterable[Path]) -> Iterator[tuple[Path, Path, Path]]:
    """Yield each file that a stage writes, and that dvc add took with one of `paths`: its path, object, record."""
    cache = cache_folder()
    for output in recorded_outputs(paths):
        found = cache / object_name(output.md5)
        if not output.md5.endswith(".dir"):
            yield output.path, found, output.record
            continue
        try:
            listed = json.loads(found.read_bytes())
        except (OSError, ValueError):  # the list is missing or damaged itself
            continue
        for entry in listed:
            yield output.path / entry["relpath"], cache / object_name(entry["md5"]), output.record


def recorded_outputs(paths: Iterable[Path]) -> Iterator[Output]:
    """Yield what stages wrote, and what dvc add took of which one of `paths` is, or is a part."""
    for lock in filter(Path.exists, LOCKS):
        for stage in (_read(lock).get("stages") or {}).values():
            for out in stage.get("outs", []):
                yield Output(Path(out["path"]), out["md5"], lock)
    around = dict.fromkeys(folder for path in paths for folder in (path, *path.parents) if folder.name)
    for record in (path.with_name(f"{path.name}.dvc") for path in around):
        if record.is_file():
            for out in _read(record).get("outs", []):
                yield Output(record.parent / out["path"], out["md5"], record)


def cache_folder() -> Path:
    """Return the folder of DVC's cache, from the working directory where it lies below it."""
    from dvc.config import Config

    folder = Path(Config(".dvc")["cache"].get("dir") or ".dvc/cache")
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def object_name(md5: str) -> str:
    """Return the path, in DVC's cache or a remote, of what has this hash."""
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def _read(file: Path) -> dict:
    return YAML(typ="safe").load(file) or {}
