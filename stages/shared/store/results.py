"""Results, kept by content: never computed twice, whichever run wanted them first.

The store is an SQLite file outside the pipeline's outputs, shared by the runs, clones and experiments
of one machine. It changes how long a stage takes, and none of its bytes: where it cannot be used, a
stage says so and does without. SQLite commits a block as a whole or not at all, lets processes write
in turn, and answers to a damaged file with an error.
"""

import sqlite3
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from pydantic import Field, PrivateAttr
from xxhash import xxh3_128

from stages.shared.pipeline.parameters import Section

FILE = "results.sqlite"  # in the store's folder
PATIENCE = 60  # seconds to wait for another process to be done with writing
LARGEST = 10**9 - 1000  # bytes of a result: SQLite takes a gigabyte, key and checksum included
FULL, EMPTIED = 0.95, 0.85  # of the limit: room is made from the one down to the other
# A rollback journal, SQLite's default, writes large values once; a write-ahead log writes them twice.
# Where freed pages are zeroed, as Debian's SQLite does by default, making room takes five times as long.
# `last_used` is a table of its own, so that a change of it rewrites no value.
BEGIN = """
PRAGMA synchronous = NORMAL;
PRAGMA secure_delete = OFF;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, checksum BLOB, value BLOB);
CREATE TABLE IF NOT EXISTS last_used (key BLOB PRIMARY KEY, nanoseconds INTEGER) WITHOUT ROWID;
"""
Result = TypeVar("Result")


class Store(Section):
    """Where results are kept, and how much of them."""

    folder: str = Field(pattern=r"^[^\x00]+$", description="the path of a folder on a local disk")
    gigabytes: float = Field(ge=0, description="a number of gigabytes, 0 or more; 0 keeps nothing")

    _unusable: bool = PrivateAttr(default=False)

    def read(self, keys: list[bytes]) -> list[bytes | None]:
        """Return the bytes kept under each of `keys`, None where there are none (or damaged ones)."""
        found = self._transact(lambda connection: [_find(connection, key) for key in keys])
        return found or [None] * len(keys)

    def write(self, values: dict[bytes, bytes], instead_of: Iterable[bytes] = ()) -> None:
        """Keep `values`, and no longer what is under the keys `instead_of`.

        The least recently used ones go where all would be more than `gigabytes`.

        What is more than SQLite takes, or than has room without all others, is not kept.
        """
        limit = self.gigabytes * 1e9
        needed = sum(len(value) + 4096 for value in values.values())

        def keep(connection: sqlite3.Connection) -> None:
            _delete(connection, instead_of)
            if _size(connection) + needed > FULL * limit:
                _make_room(connection, EMPTIED * limit - needed)
            rows = ((key, _checksum(key, value), value) for key, value in values.items())
            connection.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", rows)
            _stamp(connection, values)

        if needed <= EMPTIED * limit and max(map(len, values.values()), default=0) < LARGEST:
            self._transact(keep)

    def mark_used(self, keys: list[bytes]) -> None:
        """Count the results under `keys` as used now."""
        if keys:
            self._transact(lambda connection: _stamp(connection, keys))

    def _transact(self, work: Callable[[sqlite3.Connection], Result]) -> Result | None:
        """Return what `work` does in one transaction, and None where the file cannot be used, having said so once.

        It is opened for each: no thread and no child process inherits a connection, and a folder that
        was deleted meanwhile is made anew.
        """
        if self.gigabytes == 0 or self._unusable:
            return None
        try:
            folder = Path(self.folder).expanduser()
            folder.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(folder / FILE, PATIENCE, isolation_level=None)) as connection:
                connection.executescript(BEGIN)
                result = work(connection)
                connection.execute("COMMIT")
                return result
        # RuntimeError where there is no home for ~, UnicodeError where a damaged name is part of SQLite's message.
        except (sqlite3.Error, OSError, RuntimeError, UnicodeError) as error:
            self._unusable = True
            reason = " ".join(str(error).split())
            print(
                f"the store in {self.folder} cannot be used ({reason}), so this goes on without it: free some "
                "room, mend or delete that folder, or set store.folder to another one.",
                file=sys.stderr,
            )
            return None


def _find(connection: sqlite3.Connection, key: bytes) -> bytes | None:
    """Return what is kept under `key`, if its bytes are those that were written under it."""
    # A damaged value may count as text or a number.
    row = connection.execute(
        "SELECT CAST(checksum AS BLOB), CAST(value AS BLOB) FROM results WHERE key = ?", [key]
    ).fetchone()
    if row and None not in row and row[0] == _checksum(key, row[1]):
        return row[1]
    return None


def _checksum(key: bytes, value: bytes) -> bytes:
    digest = xxh3_128(key)
    digest.update(value)
    return digest.digest()


def _stamp(connection: sqlite3.Connection, keys: Iterable[bytes]) -> None:
    now = time.time_ns()
    connection.executemany("INSERT OR REPLACE INTO last_used VALUES (?, ?)", ((key, now) for key in keys))


def _delete(connection: sqlite3.Connection, keys: Iterable[bytes]) -> None:
    for key in keys:
        connection.execute("DELETE FROM results WHERE key = ?", [key])
        connection.execute("DELETE FROM last_used WHERE key = ?", [key])


def _size(connection: sqlite3.Connection) -> int:
    """Return the bytes of the file that are in use, in whole pages."""
    pages, free, bytes_each = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * bytes_each


def _make_room(connection: sqlite3.Connection, goal: float) -> None:
    """Drop the least recently used results until all takes no more than `goal` bytes."""
    oldest_first = connection.execute("SELECT key FROM last_used ORDER BY nanoseconds")
    while _size(connection) > goal and (row := oldest_first.fetchone()):
        _delete(connection, row)
