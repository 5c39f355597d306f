"""Damage a store's file at random, many times, and see that it gives the right bytes or none.

    python -m tests.damaged_store FOLDER SECONDS [SEED]

In a process of its own: a crash of it is what must not happen.
"""

import random
import shutil
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing, redirect_stderr
from io import StringIO
from pathlib import Path

from stages.shared.store.results import BEGIN, FILE, Store

SIZES = [0, 1, 40, 700, 700, 700, 3000, 3000, 5000, 5000, 5000, 9000, 20_000, 20_000]  # bytes of results
PAGE = 4096


def fuzz(folder: Path, seconds: float, seed: int = 0) -> Counter[str]:
    """Damage a store in `folder` for `seconds`, and return how often each kind was tried and said to be damaged.

    Raises AssertionError where a read gives other bytes than were written, or more than one line is said.
    """
    rng = random.Random(seed)
    values = {rng.randbytes(32): rng.randbytes(size) for size in SIZES}
    keys, new = list(values), rng.randbytes(32)
    whole, journal = make_store(folder / "whole", values)
    done, end = Counter(), time.monotonic() + seconds
    while time.monotonic() < end:
        damage = rng.choice(DAMAGES)
        shutil.rmtree(folder / "damaged", ignore_errors=True)
        (folder / "damaged").mkdir()
        if rng.random() < 0.2:  # as after a kill in the middle of a commit
            (folder / "damaged" / f"{FILE}-journal").write_bytes(damage(journal, rng))
        (folder / "damaged" / FILE).write_bytes(damage(whole, rng))
        store = Store(folder=str(folder / "damaged"), gigabytes=rng.choice([0.0001, 1]))
        with redirect_stderr(StringIO()) as said:
            before = store.read(keys)
            store.mark_used(keys[:5])
            store.drop(keys[5:6])
            store.write({new: new * 100, keys[6]: values[keys[6]]})
            after = store.read([*keys, new])
        for found in (before, after):
            for key, value in zip([*keys, new], found, strict=False):
                assert value in (None, values.get(key, new * 100)), (seed, done, damage.__name__)
        lines = said.getvalue().splitlines()
        assert len(lines) <= 1 and all("cannot be used" in line for line in lines), (seed, done, lines)
        done[damage.__name__] += 1
        done["said so"] += len(lines)
        done["results lost"] += before.count(None)
    return done


def make_store(folder: Path, values: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return the bytes of a store with `values` and some free pages, and of a journal that restores it."""
    store = Store(folder=str(folder), gigabytes=1)
    free = {key[::-1]: bytes(9000) for key in list(values)[:5]}
    store.write({**values, **free})
    store.drop(list(free))
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as connection:
        connection.executescript(
            "PRAGMA cache_size = 1;" + BEGIN
        )  # so that pages go to the file before the end
        connection.execute("UPDATE results SET value = zeroblob(length(value))")
        journal = (folder / f"{FILE}-journal").read_bytes()
    with closing(sqlite3.connect(folder / FILE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return (folder / FILE).read_bytes(), journal


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def flip_bits_of_a_page_head(content: bytes, rng: random.Random) -> bytes:
    """Where SQLite keeps numbers of pages, and where in a page is what."""
    start = rng.randrange(0, len(content), PAGE)
    return content[:start] + flip_bits(content[start : start + 120], rng) + content[start + 120 :]


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def cut_at_a_page(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(0, len(content), PAGE)]


def exchange_pages(content: bytes, rng: random.Random) -> bytes:
    one, other = (rng.randrange(0, len(content) - PAGE, PAGE) for _ in range(2))
    damaged = bytearray(content)
    damaged[one : one + PAGE], damaged[other : other + PAGE] = (
        content[other : other + PAGE],
        content[one : one + PAGE],
    )
    return bytes(damaged)


def blank_a_page(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(0, len(content), PAGE)
    return content[:start] + bytes(PAGE) + content[start + PAGE :]


DAMAGES = (flip_bits, flip_bits_of_a_page_head, cut, cut_at_a_page, exchange_pages, blank_a_page)

if __name__ == "__main__":
    for what, times in fuzz(Path(sys.argv[1]), float(sys.argv[2]), int((sys.argv[3:] or [0])[0])).items():
        print(what, times)
