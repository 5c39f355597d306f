"""Try faults on the real pipeline, and put what was seen into docs/reliability.md, between its two comments.

python -m tests.faults                        all of them: some 40 minutes on two cores
python -m tests.faults kills --times 2        one kind for twice its time; the rows of the others stay
python -m tests.faults kills --seed 1 --add   others of that kind, counted with those that are there
"""

import argparse
import json
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from tests.conftest import PROJECT
from tests.faults.damage import try_damage
from tests.faults.dying_remotes import try_dying_remotes
from tests.faults.full_disks import try_full_disks
from tests.faults.fuzz import try_fuzz
from tests.faults.kills import try_kills
from tests.faults.together import try_together
from tests.faults.trying import Try, Undisturbed, make_undisturbed

PAGE, RESULTS = PROJECT / "docs/reliability.md", Path(__file__).with_name("results.json")
SECTION = re.compile(r"(?<=<!-- faults: python -m tests.faults -->\n).*?(?=<!-- /faults -->)", re.DOTALL)
FAULTS: dict[
    str, tuple[Callable[[Path, Undisturbed, int], Iterator[Try]], int]
] = {  # and for how many seconds
    "kills": (try_kills, 1000),
    "disks": (try_full_disks, 240),
    "damage": (try_damage, 300),
    "images": (try_fuzz("images"), 90),
    "tars": (try_fuzz("tars of images"), 20),
    "labels": (try_fuzz("CSV files of labels"), 20),
    "parameters": (try_fuzz("params.yaml"), 60),
    "arrays": (try_fuzz("arrays"), 20),
    "splits": (try_fuzz("splits"), 20),
    "models": (try_fuzz("models"), 60),
    "weights": (try_fuzz("foreign weights"), 60),
    "store": (try_fuzz("files of the store"), 30),
    "together": (try_together, 150),
    "remotes": (try_dying_remotes, 150),
}


def main(names: list[str], seed: int, times: float, add: bool) -> None:
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's & has it ignored, by our children too
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        undisturbed = make_undisturbed(Path(folder))
        for name in names or FAULTS:
            try_faults, seconds = FAULTS[name]
            place = Path(folder) / name
            place.mkdir()
            before = unfold(results.get(name, [])) if add else []
            tried = for_a_time(try_faults(place, undisturbed, seed), seconds * times, name)
            results[name] = rows(chain(before, tried))
            RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            PAGE.write_text(SECTION.sub(lambda _: table(results), PAGE.read_text("utf-8")), encoding="utf-8")
    print(table(results))
    sys.exit(any(row["survived"] < row["tried"] for name in names or FAULTS for row in results[name]))


def for_a_time(tries: Iterator[Try], seconds: float, name: str) -> Iterator[Try]:
    """Yield `tries` for `seconds`, with a progress bar, and say what was seen where one was not survived."""
    started = time.monotonic()
    with tqdm(total=round(seconds), desc=name, unit="s") as progress:
        for number, one in enumerate(tries, 1):
            passed = time.monotonic() - started
            progress.set_postfix_str(f"{number} tried")
            progress.update(min(round(passed), progress.total) - progress.n)
            if not one.survived:
                progress.write(f"{one.fault}: {one.seen}", file=sys.stderr)
            yield one
            if passed > seconds:
                break


def rows(tries: Iterable[Try]) -> list[dict]:
    """Return for each fault how often it was tried and survived, and how often what was seen."""
    found: dict[str, list[Try]] = {}
    for one in tries:
        found.setdefault(one.fault, []).append(one)
    return [
        {
            "fault": fault,
            "tried": len(of_fault),
            "survived": sum(one.survived for one in of_fault),
            "seen": dict(Counter(one.seen for one in of_fault).most_common()),
        }
        for fault, of_fault in sorted(found.items())
    ]


def unfold(found: list[dict]) -> list[Try]:
    """Return the tries of which `rows` made `found`; which of a fault's were not survived it does not tell."""
    return [
        Try(row["fault"], number < row["survived"], what)
        for row in found
        for number, what in enumerate(what for what, times in row["seen"].items() for _ in range(times))
    ]


def table(results: dict[str, list[dict]]) -> str:
    lines = ["| fault | tried | survived | what is seen |", "| --- | --- | --- | --- |"]
    for name in FAULTS:
        for row in results.get(name, []):
            seen = ", ".join(f"{what} ({times})" for what, times in row["seen"].items())
            lines.append(f"| {row['fault']} | {row['tried']:,} | {row['survived']:,} | {seen} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="FAULT", help=", ".join(FAULTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--times", type=float, default=1, help="multiplies the seconds for which each is tried"
    )
    parser.add_argument("--add", action="store_true", help="count with those that are there")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(FAULTS):
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(FAULTS)}")
    main(arguments.names, arguments.seed, arguments.times, arguments.add)
