"""Results of single images, kept by content: never computed twice, whichever run wanted them first.

The store is an LMDB file outside the pipeline's outputs, shared by the runs, clones and experiments
of one machine. It changes how long a stage takes, and none of its bytes. LMDB maps the file into
memory, commits a block as a whole or not at all, and lets processes write in turn.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import lmdb
from pydantic import Field

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import Section

ADDRESSES = 2**40  # the largest map that LMDB may want; the file is as large as what it holds
FULL, EMPTIED = 0.95, 0.85  # of the limit: room is made from the one down to the other


class Tables(NamedTuple):
    """An open transaction and the two tables of the file."""

    transaction: lmdb.Transaction
    results: Any  # key to checksum and bytes
    last_used: Any  # key to nanoseconds since 1970, big-endian


class Store(Section):
    """Where results are kept, and how much of them."""

    folder: str = Field(pattern=r"^[^\x00]+$", description="the path of a folder on a local disk")
    gigabytes: float = Field(ge=0, description="a number of gigabytes, 0 or more; 0 keeps nothing")

    def read(self, keys: list[bytes]) -> list[bytes | None]:
        """Return the bytes kept under each of `keys`, None where there are none (or damaged ones)."""
        if self.gigabytes == 0:
            return [None] * len(keys)
        with self._open(write=False) as (transaction, results, _):
            return [_checked(transaction.get(key, db=results)) for key in keys]

    def write(self, values: dict[bytes, bytes]) -> None:
        """Keep `values`; the least recently used ones go where all would be more than `gigabytes`."""
        limit = self.gigabytes * 1e9
        needed = sum(len(value) + 4096 for value in values.values())
        if needed > EMPTIED * limit:
            return
        with self._open() as tables:
            if _size(tables) + needed > FULL * limit:
                _make_room(tables, EMPTIED * limit - needed)
            for key, value in values.items():
                tables.transaction.put(key, crc32(value).to_bytes(4) + value, db=tables.results)
            _stamp(tables, values)

    def mark_used(self, keys: list[bytes]) -> None:
        """Count the results under `keys` as used now."""
        if self.gigabytes and keys:
            with self._open() as tables:
                _stamp(tables, keys)

    @contextmanager
    def _open(self, write: bool = True) -> Iterator[Tables]:
        """Open the file for one transaction: what stays mapped would count as the process's memory."""
        folder = Path(self.folder).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with lmdb.open(str(folder), map_size=ADDRESSES, max_dbs=2, readahead=False) as environment:
                results, last_used = environment.open_db(b"results"), environment.open_db(b"last_used")
                with environment.begin(write=write) as transaction:
                    yield Tables(transaction, results, last_used)
        except (lmdb.Error, OSError) as error:
            raise UserError(
                f"the store in {folder} cannot be used ({error}): mend or delete that folder, or set "
                "store.folder to another one, or store.gigabytes to 0 to do without."
            ) from None


def _checked(stored: bytes | memoryview | None) -> bytes | None:
    if stored is not None and crc32(stored[4:]).to_bytes(4) == stored[:4]:
        return bytes(stored[4:])
    return None


def _stamp(tables: Tables, keys) -> None:
    now = time.time_ns().to_bytes(8)
    for key in keys:
        tables.transaction.put(key, now, db=tables.last_used)


def _size(tables: Tables) -> int:
    """Return the bytes that the results take, in whole pages."""
    table = tables.transaction.stat(tables.results)
    return (table["branch_pages"] + table["leaf_pages"] + table["overflow_pages"]) * table["psize"]


def _make_room(tables: Tables, goal: float) -> None:
    """Drop the least recently used results until the others take no more than `goal` bytes."""
    with tables.transaction.cursor(tables.last_used) as cursor:
        oldest_first = sorted((stamp, key) for key, stamp in cursor)
    for _, key in oldest_first:
        if _size(tables) <= goal:
            break
        tables.transaction.delete(key, db=tables.results)
        tables.transaction.delete(key, db=tables.last_used)
