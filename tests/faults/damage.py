"""Flipped bits and cuts in every file that a stage reads or DVC keeps."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import PIPELINE, arguments, call
from tests.faults.trying import Try, Undisturbed, differences, hash_files, last_line, recover

STAGES = [
    stage for stage in PIPELINE["stages"] if stage != "fetch_weights"
]  # which reads nothing of the project
OF_DVC = {
    "dvc.lock": "dvc.lock",
    "a .dvc file": "data/raw/mine.dvc",
    "the run-cache": ".dvc/cache/runs/*/*/*",
    "a list of a folder's files": ".dvc/cache/files/md5/*/*.dir",
    "DVC's rwlock": ".dvc/tmp/rwlock",
    "DVC's configuration": ".dvc/config",
}


def try_damage(folder: Path, undisturbed: Undisturbed, seed: int) -> Iterator[Try]:
    """Yield what stages, tools.check and DVC make of a damaged file, in turn."""
    rng = random.Random(seed)
    project = shutil.copytree(undisturbed.done, folder / "project", symlinks=True)
    while True:
        for _ in range(6):
            yield try_reading(project, undisturbed, rng)
        yield from try_hashing(project, undisturbed, rng)
        yield try_files_of_dvc(folder, undisturbed, rng)


def try_reading(project: Path, undisturbed: Undisturbed, rng: random.Random) -> Try:
    """Damage a file that a stage reads as a disk does, with the object in DVC's cache, and run the stage."""
    stage = rng.choice(STAGES)
    files = read_by(project, stage)
    # Of folders with many files, each suffix as often as others.
    file = rng.choice(
        [one for one in files if one.suffix == rng.choice(sorted({one.suffix for one in files}))] or files
    )
    whole = file.read_bytes()
    write(file, damage(whole, rng))
    ended = call(project, "python", "-m", f"stages.{stage}", *arguments(stage))
    # What follows of a result that came out otherwise is another story: this one ends here.
    wrong = {path for path, digest in hash_files(project).items() if undisturbed.files.get(path) != digest}
    wrong -= {file.relative_to(project).as_posix()}
    fault = f"damaged {kind_of(file)} that a stage reads"
    said = ended.stdout + ended.stderr
    try:
        if ended.returncode:
            clear = "Traceback" not in said and ended.returncode == 1
            return Try(
                fault, clear, "refused in a sentence" if clear else f"{stage}, {file.name}: {last_line(said)}"
            )
        if not wrong:
            return Try(fault, True, "no effect on the result")
        found = call(project, "python", "-m", "tools.check", "--stored")
        name = file.relative_to(project).as_posix()
        if found.returncode and name in found.stderr and may_be_taken(stage, file):
            return Try(fault, True, "another result, and `python -m tools.check --stored` names the file")
        return Try(fault, False, f"another result without a word: {stage}, {name}")
    finally:
        write(file, whole)
        for path in wrong:
            (project / path).unlink()
            if path in undisturbed.files:
                shutil.copy2(undisturbed.done / path, project / path)


def try_hashing(project: Path, undisturbed: Undisturbed, rng: random.Random) -> Iterator[Try]:
    """Damage several files that DVC keeps, and see that tools.check names each of them."""
    kept = [
        project / path
        for path in undisturbed.files
        if path.startswith(("data/", "metrics/")) and "/." not in path and not path.endswith((".dvc", "dvc.yaml"))
        and "other photos" not in path
    ]  # fmt: skip
    files = {file: file.read_bytes() for file in rng.sample(kept, 10)}
    for file, whole in files.items():
        write(file, damage(whole, rng))
    ended = call(project, "python", "-m", "tools.check", "--stored")
    for file, whole in files.items():
        named = ended.returncode == 1 and file.relative_to(project).as_posix() in ended.stderr
        seen = (
            "named by `python -m tools.check --stored`"
            if named
            else f"not named: {file.relative_to(project)}"
        )
        yield Try("damaged file that DVC keeps", named, seen)
        write(file, whole)


def try_files_of_dvc(folder: Path, undisturbed: Undisturbed, rng: random.Random) -> Try:
    """Damage what DVC itself reads, and do as make repro does."""
    shutil.rmtree(folder / "copy", ignore_errors=True)
    copy = shutil.copytree(undisturbed.done, folder / "copy", symlinks=True)
    name, pattern = rng.choice(list(OF_DVC.items()))
    file = rng.choice(sorted(copy.glob(pattern)) or [copy / pattern])
    content = (
        file.read_bytes()
        if file.exists()
        else b'{"write": {}, "read": {"/a": [{"pid": 4194305, "cmd": "dvc"}]}}'
    )
    write(file, damage(content, rng))
    said = recover(copy)
    fault = f"damaged {name}"
    if said:
        return Try(fault, "Traceback" not in said and bool(said), "refused in a sentence")
    wrong = differences(copy, undisturbed)
    if wrong.startswith("other files") and set(wrong.partition(": ")[2].split(", ")) == {pattern}:
        return Try(fault, True, "no effect on the result")
    return Try(fault, not wrong, wrong or "the undisturbed hashes")


def read_by(project: Path, stage: str) -> list[Path]:
    """Return the files of data and metrics that `stage` names as what it reads."""
    found = []
    for name in PIPELINE["stages"][stage]["deps"]:
        path = project / name.replace("${data.images}", "data/raw/mine")
        if not name.startswith("stages"):
            found += [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sorted(file for file in found if file.stat().st_size)


def kind_of(file: Path) -> str:
    return "image" if file.suffix == ".png" else f"`{''.join(file.suffixes)}`"


def may_be_taken(stage: str, file: Path) -> bool:
    """Return whether `stage` cannot know that `file`, which it can read, is not as it was: see the page's table."""
    return file.suffix in (".csv", ".json") or (stage == "split_dataset" and file.suffix == ".png")


def damage(content: bytes, rng: random.Random) -> bytes:
    """Return `content` as a disk or a copy may give it back."""
    damaged = bytearray(content)
    match rng.randrange(5):
        case 0:
            del damaged[rng.randrange(len(damaged)) :]
        case 1:
            start = rng.randrange(len(damaged))
            damaged[start : start + 4096] = bytes(len(damaged[start : start + 4096]))
            damaged[start] = content[start] ^ 255  # what was zero before
        case _:
            for _ in range(rng.choice((1, 1, 8))):
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def write(file: Path, content: bytes) -> None:
    """Write into `file`, all links to which then have this content, at its old time, by which DVC knows it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    existed = file.exists()
    status = file.stat() if existed else None
    file.touch()
    file.chmod(0o644)
    with file.open("r+b") as opened:
        opened.write(content)
        opened.truncate()
    if status:
        file.chmod(status.st_mode)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
