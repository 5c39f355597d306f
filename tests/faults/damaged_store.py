"""The file of a store, damaged at random: its reader gives the right bytes or none."""

import random
import shutil
import sqlite3
from contextlib import closing, redirect_stderr
from io import StringIO
from pathlib import Path

from stages.shared.store.results import BEGIN, FILE, Store

SIZES = [0, 1, 40, 700, 700, 700, 3000, 3000, 5000, 5000, 5000, 9000, 20_000, 20_000]  # bytes of results
PAGE = 4096
RNG = random.Random(0)
VALUES = {RNG.randbytes(32): RNG.randbytes(size) for size in SIZES}
NEW = RNG.randbytes(32)
LENGTH = 8  # bytes that say how long the first of two files is


def store_seeds() -> list[bytes]:
    """Return a store's file, and the same with a journal, as after a kill in the middle of a commit."""
    whole, journal = make_store(Path("whole"), VALUES)
    return [pack(whole, b""), pack(whole, b""), pack(whole, journal)]


def pack(file: bytes, journal: bytes) -> bytes:
    return len(file).to_bytes(LENGTH) + file + journal


def unpack(packed: bytes) -> tuple[bytes, bytes]:
    end = LENGTH + int.from_bytes(packed[:LENGTH])
    return packed[LENGTH:end], packed[end:]


def damage_store(content: bytes, corpus: list[bytes], rng: random.Random) -> bytes:
    file, journal = unpack(content)
    damage = rng.choice(DAMAGES)
    return pack(damage(file, rng) if file else file, damage(journal, rng) if journal else journal)


def read_store(content: bytes) -> str:
    """Read, mark, drop and write in a store of this `content`; return what was seen."""
    file, journal = unpack(content)
    keys = list(VALUES)
    shutil.rmtree("damaged", ignore_errors=True)
    Path("damaged").mkdir()
    Path("damaged", FILE).write_bytes(file)
    if journal:
        Path("damaged", f"{FILE}-journal").write_bytes(journal)
    store = Store(folder="damaged", gigabytes=1 if len(content) % 2 else 0.0001)
    with redirect_stderr(StringIO()) as said:
        before = store.read(keys)
        store.mark_used(keys[:5])
        store.write({NEW: NEW * 100, keys[6]: VALUES[keys[6]]}, instead_of=keys[5:6])
        after = store.read([*keys, NEW])
    for found in (before, after):
        for key, value in zip([*keys, NEW], found, strict=False):
            assert value in (None, VALUES.get(key, NEW * 100)), "other bytes"
    lines = said.getvalue().splitlines()
    assert len(lines) <= 1 and all("cannot be used" in line for line in lines), lines
    if lines:
        return "a warning, and on without the store"
    return "some results lost, no other bytes" if None in before else "all results"


def make_store(folder: Path, values: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return the bytes of a store with `values` and some free pages, and of a journal that restores it."""
    store = Store(folder=str(folder), gigabytes=1)
    free = {key[::-1]: bytes(9000) for key in list(values)[:5]}
    store.write({**values, **free})
    store.write({}, instead_of=free)
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
    one, other = (rng.randrange(0, max(len(content) - PAGE, 1), PAGE) for _ in range(2))
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
