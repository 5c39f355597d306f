"""Full disks: small file systems for the project, DVC's cache, the folder for temporary files and the store."""

import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import call, write_parameters
from tests.faults.trying import Try, Undisturbed, differences, hash_files, last_line, leftovers, recover

LARGE = 2**31  # bytes


def try_full_disks(folder: Path, undisturbed: Undisturbed, seed: int) -> Iterator[Try]:
    """Yield runs into full disks, each place in turn. Nothing where this user may mount no file system."""
    rng = random.Random(seed)
    disk = folder / "disk"
    disk.mkdir()
    if not may_mount(disk):
        return
    used = sum(
        path.stat().st_size
        for path in undisturbed.done.rglob("*")
        if path.is_file() and path.stat().st_nlink < 2
    )
    used += sum(
        path.stat().st_size for path in (undisturbed.done / ".dvc/cache").rglob("*") if path.is_file()
    )
    while True:
        for place in (try_project, try_project, try_cache, try_temporary, try_store, try_export):
            shutil.rmtree(folder / "project", ignore_errors=True)
            shutil.rmtree(folder / "store", ignore_errors=True)
            with small_disk(disk, LARGE):
                yield place(folder, undisturbed, used, rng)


def may_mount(place: Path) -> bool:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True).returncode == 0
    if mounted:
        subprocess.run(["umount", place], check=True)
    return mounted


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def repro(project: Path, **variables: str) -> tuple[int, str]:
    ended = call(project, "dvc", "repro", **variables)
    return ended.returncode, ended.stdout + ended.stderr


def judge(fault: str, project: Path, undisturbed: Undisturbed, ended: tuple[int, str]) -> Try:
    """Return how a run ended that found a disk full, after which there is room."""
    code, said = ended
    if not code:
        return Try(f"{fault} full", False, "it ended with 0")
    stage = (
        ["DVC"] + [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]
    )[-1]
    if "Traceback" in said:
        return Try(f"{fault} full", False, f"a traceback in {stage}: {last_line(said)}")
    changed = {
        path for path, digest in hash_files(project).items() if undisturbed.files.get(path, digest) != digest
    } - {"params.yaml"}
    wrong = f"changed: {', '.join(changed)}" if changed else recover(project)
    wrong = wrong or differences(project, undisturbed) or leftovers(project)
    return Try(f"{fault} full", not wrong, wrong or f"a sentence in {stage}, then the undisturbed hashes")


def try_project(folder: Path, undisturbed: Undisturbed, used: int, rng: random.Random) -> Try:
    disk = folder / "disk"
    project = shutil.copytree(undisturbed.bare, disk / "project", symlinks=True)
    write_parameters(project, {"store.folder": str(folder / "store")}, project / "params.yaml")
    resize(disk, int(used * rng.uniform(0.05, 0.98)))
    ended = repro(project)
    resize(disk, LARGE)
    write_parameters(project, {"store.folder": "../store"}, project / "params.yaml")
    return judge("the project's disk", project, undisturbed, ended)


def try_cache(folder: Path, undisturbed: Undisturbed, used: int, rng: random.Random) -> Try:
    disk = folder / "disk"
    project = shutil.copytree(undisturbed.bare, folder / "project", symlinks=True)
    shutil.copytree(project / ".dvc/cache", disk / "cache")
    (project / ".dvc/config.local").write_text(f"[cache]\n    dir = {disk}/cache\n")
    resize(disk, int(used * rng.uniform(0.05, 0.95)))
    ended = repro(project)
    resize(disk, LARGE)
    return judge("the disk of DVC's cache", project, undisturbed, ended)


def try_temporary(folder: Path, undisturbed: Undisturbed, used: int, rng: random.Random) -> Try:
    """What needs no room there may go on."""
    disk = folder / "disk"
    project = shutil.copytree(undisturbed.bare, folder / "project", symlinks=True)
    size = rng.choice((4096, 65536, 2**20, 2**24))
    resize(disk, size)
    (disk / "filling").write_bytes(bytes(size)) if rng.random() < 0.5 and size < 2**20 else None
    ended = repro(project, TMPDIR=str(disk))
    resize(disk, LARGE)
    if ended[0]:
        return judge("the disk of temporary files", project, undisturbed, ended)
    wrong = differences(project, undisturbed)
    return Try("the disk of temporary files full", not wrong, wrong or "the undisturbed hashes at once")


def try_store(folder: Path, undisturbed: Undisturbed, used: int, rng: random.Random) -> Try:
    disk = folder / "disk"
    project = shutil.copytree(undisturbed.bare, folder / "project", symlinks=True)
    write_parameters(project, {"store.folder": str(disk / "store")}, project / "params.yaml")
    resize(disk, rng.choice((8192, 2**20, 2**22, 2**24)))
    code, said = repro(project)
    write_parameters(project, {"store.folder": "../store"}, project / "params.yaml")
    wrong = last_line(said) if code or "Traceback" in said else differences(project, undisturbed)
    seen = "a warning, and the undisturbed hashes" if "cannot be used" in said else "room enough"
    return Try("the disk of the store full", not wrong, wrong or seen)


def try_export(folder: Path, undisturbed: Undisturbed, used: int, rng: random.Random) -> Try:
    disk, form = folder / "disk", rng.choice(("keras", "savedmodel", "tflite", "onnx"))
    shutil.copytree(undisturbed.done.parent, folder / "store", symlinks=True)
    project = folder / "store/project"
    resize(disk, rng.choice((4096, 2**18, 2**20, 2**23, 2**24)))
    ended = call(project, "python", "-m", "tools.export", "--format", form, "--to", str(disk))
    said = ended.stdout + ended.stderr
    fault = "the disk of an export full"
    if "Traceback" in said or ended.returncode not in (0, 1):
        return Try(fault, False, f"{form} ended with {ended.returncode}: {last_line(said)}")
    left = [path.name for path in disk.iterdir()]
    if ended.returncode and left:
        return Try(fault, False, f"{form} left behind: {', '.join(left)}")
    return Try(fault, True, "a sentence, and nothing left" if ended.returncode else "room enough")
