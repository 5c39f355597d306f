"""Two runs at once: in one clone, in two that share DVC's cache and the store, and tools beside a run."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import call
from tests.faults.trying import Try, Undisturbed, differences, last_line, leftovers, recover, variables

PATIENCE = 600  # seconds for a run, on a busy machine


def try_together(folder: Path, undisturbed: Undisturbed, seed: int) -> Iterator[Try]:
    rng = random.Random(seed)
    while True:
        for attempt in (try_one_clone, try_two_clones, try_predicting):
            shutil.rmtree(folder / "place", ignore_errors=True)
            (folder / "place").mkdir()
            yield attempt(folder / "place", undisturbed, rng)


def start(project: Path, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        ["dvc", "repro", *options],
        cwd=project,
        env=variables(project, warm=True),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )


def try_one_clone(place: Path, undisturbed: Undisturbed, rng: random.Random) -> Try:
    """DVC lets one of them go first: the other waits or says so. Both may end well."""
    project = shutil.copytree(undisturbed.bare, place / "project", symlinks=True)
    first = start(project)
    time.sleep(rng.uniform(0, 8))
    second = start(project)
    ended = [(run.communicate(timeout=PATIENCE)[0], run.returncode) for run in (first, second)]
    wrong = next((last_line(said) for said, _ in ended if "Traceback" in said), "")
    wrong = wrong or recover(project) or differences(project, undisturbed) or leftovers(place)
    well = sum(code == 0 for _, code in ended)
    return Try(
        "two `dvc repro` in one clone", not wrong, wrong or f"{well} ended well, then the undisturbed hashes"
    )


def try_two_clones(place: Path, undisturbed: Undisturbed, rng: random.Random) -> Try:
    """DVC takes a record of its run-cache that the other is writing for damaged, and removes it: then once more."""
    projects = []
    for name in ("a", "b"):  # each beside the same store, as far as ../store goes
        project = shutil.copytree(undisturbed.bare, place / name, symlinks=True)
        (project / ".dvc/config.local").write_text(f"[cache]\n    dir = {place}/cache\n")
        projects.append(project)
    shutil.copytree(undisturbed.bare / ".dvc/cache", place / "cache")
    runs = []
    for project in projects:
        runs.append(start(project))
        time.sleep(rng.uniform(0, 3))
    ended = [(run.communicate(timeout=PATIENCE)[0], run.returncode) for run in runs]
    failed = [said for said, code in ended if code]
    wrong = next((last_line(said) for said in failed if "Traceback" in said), "")
    if failed:
        wrong = wrong or next(filter(None, map(recover, projects)), "")
    wrong = wrong or next(filter(None, (differences(project, undisturbed) for project in projects)), "")
    seen = "an error in words; the same command completes it" if failed else "the undisturbed hashes in both"
    return Try("two clones with one cache and one store", not wrong, wrong or seen)


def try_predicting(place: Path, undisturbed: Undisturbed, rng: random.Random) -> Try:
    """Predict with a model while it is trained anew: it is the old one, the new one, or not there yet."""
    project = shutil.copytree(undisturbed.done, place / "project", symlinks=True)
    command = ("python", "-m", "tools.predict", "--model", "data/models/head.keras", "data/raw/mine/apple")
    expected = call(project, *command).stdout
    run = start(project, "--force")
    wrong, seen = "", set()
    while run.poll() is None and not wrong:
        ended = call(project, *command)
        absent = ended.returncode == 1 and "Traceback" not in ended.stderr and not ended.stdout
        wrong = "" if absent or ended.stdout == expected else last_line(ended.stdout + ended.stderr)
        seen.add("not there yet, in a sentence" if absent else "the right predictions")
        time.sleep(rng.uniform(0, 0.5))
    said = run.communicate(timeout=PATIENCE)[0]
    wrong = wrong or ("" if run.returncode == 0 else last_line(said)) or differences(project, undisturbed)
    return Try("`tools.predict` while `dvc repro` runs", not wrong, wrong or " or ".join(sorted(seen)))
