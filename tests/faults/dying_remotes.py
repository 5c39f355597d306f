"""Remotes that die in the middle of dvc push and dvc pull."""

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import call, commit, run_in
from tests.faults.trying import Try, Undisturbed, hash_files, last_line, variables
from tests.remotes import s3, serving_s3

LOCAL = ("data/views/", "data/default_activations/")  # push: false
OPTIONS = {"push": [], "pull": ["--allow-missing"]}
PATIENCE = 900  # seconds: DVC tries a dead S3 server again and again for some minutes
Remote = tuple[Callable[[], None], Callable[[], None]]  # how it dies, how it comes back


def try_dying_remotes(folder: Path, undisturbed: Undisturbed, seed: int) -> Iterator[Try]:
    rng = random.Random(seed)
    while True:
        for kind in (dying_s3, vanishing_folder):
            shutil.rmtree(folder / "place", ignore_errors=True)
            (folder / "place").mkdir()
            with kind(folder / "place") as (settings, remote):
                yield from try_push_and_pull(folder / "place", undisturbed, settings, remote, rng)


@contextmanager
def dying_s3(place: Path) -> Iterator[tuple[list[tuple[str, ...]], Remote]]:
    with s3(place) as (url, shared, own):
        pass  # its port and settings are what is wanted
    port = int(shared["endpointurl"].rpartition(":")[2])
    alive = serving_s3(place, port)
    servers = [(alive, alive.__enter__())]

    def die() -> None:
        servers[-1][1].kill()

    def come_back() -> None:
        again = serving_s3(place, port)
        servers.append((again, again.__enter__()))

    settings = [
        ("add", "--default", "team", url),
        *(("modify", "--local", "team", *pair) for pair in own.items()),
    ]
    settings += [("modify", "team", *pair) for pair in shared.items()]
    try:
        yield settings, (die, come_back)
    finally:
        for manager, _ in servers:
            manager.__exit__(None, None, None)


@contextmanager
def vanishing_folder(place: Path) -> Iterator[tuple[list[tuple[str, ...]], Remote]]:
    """A folder whose file system goes: what is in its place is a file, so that no one makes it anew."""
    shared, away = place / "mount/shared", place / "away"
    shared.mkdir(parents=True)

    def vanish() -> None:
        shared.parent.rename(away)
        shared.parent.touch()

    def come_back() -> None:
        shared.parent.unlink()
        away.rename(shared.parent)

    yield [("add", "--default", "team", str(shared))], (vanish, come_back)


def try_push_and_pull(
    place: Path, undisturbed: Undisturbed, settings: list[tuple[str, ...]], remote: Remote, rng: random.Random
) -> Iterator[Try]:
    kind = "an S3 server" if settings[0][-1].startswith("s3:") else "a shared folder"
    project = shutil.copytree(undisturbed.done, place / "project", symlinks=True)
    for setting in [*settings, ("modify", "team", "verify", "true")]:
        run_in(project, "dvc", "remote", setting[0], "--quiet", *setting[1:])
    commit(project)
    seen = interrupted(project, "push", remote, rng)
    wrong = repeated(project, "push")
    if not wrong:
        checked = call(project, "python", "-m", "tools.check", "--remote")
        wrong = last_line(checked.stderr) if checked.returncode else ""
    yield Try(f"{kind} that dies in a push", not (wrong or seen.startswith("!")), wrong or seen)
    clone = place / "clone"
    run_in(place, "git", "clone", "--quiet", str(project), str(clone))
    if (project / ".dvc/config.local").exists():
        shutil.copy(project / ".dvc/config.local", clone / ".dvc/config.local")
    seen = interrupted(clone, "pull", remote, rng)
    wrong = repeated(clone, "pull")
    pushed = {path: digest for path, digest in undisturbed.files.items() if not path.startswith(LOCAL)}
    wrong = wrong or ("" if hash_files(clone) == pushed else "other files")
    yield Try(f"{kind} that dies in a pull", not (wrong or seen.startswith("!")), wrong or seen)


def interrupted(project: Path, way: str, remote: Remote, rng: random.Random) -> str:
    """Let the remote die at a random moment; return what DVC said, with an exclamation mark where not in words."""
    die, come_back = remote
    log = project.with_name("log.txt")
    with log.open("w") as output:
        run = subprocess.Popen(
            ["dvc", way, *OPTIONS[way]],
            cwd=project,
            env=variables(project, warm=True),
            stdout=output,
            stderr=output,
        )
        time.sleep(rng.uniform(0.5, 4))
        die()
        try:
            code = run.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            run.kill()
            code = None
        finally:
            come_back()
    said = log.read_text()
    if code is None:
        return f"!it waits for more than {PATIENCE} s"
    if "Traceback" in said:
        return f"!a traceback: {last_line(said)}"
    return (
        "done before, then the same hashes"
        if code == 0
        else "an error in words; the same command completes it"
    )


def repeated(project: Path, way: str) -> str:
    ended = call(project, "dvc", way, *OPTIONS[way])
    return last_line(ended.stderr) if ended.returncode else ""
