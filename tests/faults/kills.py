"""Kills at random moments of make repro, in chains: the runs after them end as one that nobody disturbed."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, pairwise
from pathlib import Path
from threading import Event

import psutil

from tests.faults.trying import Try, Undisturbed, differences, leftovers, recover, variables

REPRO = "python -m tools.check && exec dvc repro"  # as make repro has it
STARTS = re.compile(rb"^Running stage '(\w+)'", re.MULTILINE)
ENDS = re.compile(rb"^Updating lock file", re.MULTILINE)
PATIENCE = 120  # seconds in which all processes have to be gone, on a busy machine


def kill_all(group: int) -> None:
    os.killpg(group, signal.SIGKILL)


def terminate_all(group: int) -> None:
    os.killpg(group, signal.SIGTERM)


def interrupt_all(group: int) -> None:
    os.killpg(group, signal.SIGINT)


def kill_stage(group: int) -> None:
    find_process(group, "stages.").kill()


def kill_dvc(group: int) -> None:
    find_process(group, "dvc").kill()


def terminate_dvc(group: int) -> None:
    find_process(group, "dvc").terminate()


# A warm Python's parent is not DVC, so that it cannot know when DVC alone has ended.
WARM = {
    "SIGKILL of all": kill_all,
    "SIGTERM to all": terminate_all,
    "Ctrl-C": interrupt_all,
    "SIGKILL of the stage": kill_stage,
}
COLD = {
    "SIGKILL of DVC": kill_dvc,
    "SIGTERM to DVC": terminate_dvc,
    "SIGKILL of all": kill_all,
    "Ctrl-C": interrupt_all,
}


def try_kills(folder: Path, undisturbed: Undisturbed, seed: int) -> Iterator[Try]:
    """Yield each kill of chain after chain, two at a time, once its chain has ended."""
    lasts: dict[str, float] = defaultdict(lambda: 2.0)  # seconds of each stage, as seen last
    enough = Event()
    with ThreadPoolExecutor(2) as pool:

        def start(number: int) -> Future[list[Try]]:
            rng = random.Random(f"{seed} {number}")
            return pool.submit(try_chain, folder / f"chain-{number % 2}", undisturbed, rng, lasts, enough)

        chains = deque([start(0), start(1)])
        try:
            for number in count(2):
                yield from chains.popleft().result()
                chains.append(start(number))
        finally:
            enough.set()


def try_chain(
    place: Path, undisturbed: Undisturbed, rng: random.Random, lasts: dict[str, float], enough: Event
) -> list[Try]:
    """Kill what make repro does again and again until it comes to its end, and return each kill."""
    warm = rng.random() < 0.85
    if rng.random() < 0.5:  # otherwise the store of the chain before stays
        shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(place / "project", ignore_errors=True)
    project = shutil.copytree(undisturbed.bare, place / "project", symlinks=True)
    kills, wrong = [], ""
    while not wrong and not enough.is_set():
        fault, blow = rng.choice(list((WARM if warm else COLD).items()))
        hit, wrong = run_and_kill(project, blow, rng, lasts, warm)
        if hit is None:
            break
        kills.append((fault, hit))
    wrong = wrong or recover(project) or differences(project, undisturbed) or leftovers(place)
    chain = Try("chains of such kills", not wrong, wrong or "the undisturbed hashes")
    return [*(Try(f"kill {hit}", not wrong, wrong or fault) for fault, hit in kills), chain]


def run_and_kill(
    project: Path, blow: Callable[[int], None], rng: random.Random, lasts: dict[str, float], warm: bool
) -> tuple[str | None, str]:
    """Run what make repro does and kill it at a random moment.

    Returns in which stage that was, None where the run ended before, and what was wrong, or nothing.
    """
    log = project.with_name("log.txt")
    stages = rng.choices((0, 1, 2, 3), (1, 10, 7, 3))[0]  # that have begun; 0: a moment before the first
    at_end = rng.random() < 0.3
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-c", REPRO],
            cwd=project,
            env=variables(project, warm),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
    moment, begun = time.monotonic() + rng.uniform(0, 4) if stages == 0 else None, {}
    fraction, later = rng.uniform(0, 1.1), rng.uniform(0, 0.3)
    while process.poll() is None and (moment is None or time.monotonic() < moment):
        said = log.read_bytes()
        names = [name.decode() for name in STARTS.findall(said)]
        for name in names:
            begun.setdefault(name, time.monotonic())
        for name, following in pairwise(names):
            lasts[name] = begun[following] - begun[name]
        if moment is None and len(names) >= stages:
            if not at_end:
                moment = time.monotonic() + fraction * lasts[names[-1]]
            elif len(ENDS.findall(said)) >= stages:
                moment = time.monotonic() + later
        time.sleep(0.002)
    if process.poll() is not None:
        ended = process.wait()
        return None, f"dvc repro ended with {ended}" if ended else ""
    hit = STARTS.findall(log.read_bytes())
    try:
        blow(process.pid)
    except psutil.NoSuchProcess:  # between two stages, or before the first one
        kill_all(process.pid)
    wrong = wait_for(process)
    return f"in `{hit[-1].decode()}`" if hit else "before the first stage", wrong


def find_process(group: int, module: str) -> psutil.Process:
    """Return the process in `group` that runs `module`; raises NoSuchProcess where there is none.

    Of warm Pythons, whose command lines are their server's, DVC began first and the stage last.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group:
                found.append((process.create_time(), " ".join(process.cmdline()[1:]), process))
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    warm = [process for _, line, process in sorted(found, key=lambda one: one[0]) if "warm_python.py" in line]
    if warm:
        if module == "dvc":
            return warm[0]
        if len(warm) > 1:
            return warm[-1]
        raise psutil.NoSuchProcess(group)
    matching = [process for _, line, process in found if module in line.split("--")[0]]
    if not matching:
        raise psutil.NoSuchProcess(group)
    return matching[-1]


def wait_for(process: subprocess.Popen) -> str:
    """Wait until the whole group of `process` has ended; return what is wrong where it does not, and end it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return ""
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return f"still running after {PATIENCE} s"
