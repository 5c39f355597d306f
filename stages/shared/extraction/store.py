"""Results of single images, kept by content: never computed twice, whichever run wanted them first.

The store is an LMDB file outside the pipeline's outputs, shared by the runs, clones and experiments
of one machine. It changes how long a stage takes, and none of its bytes: where it cannot be used, a
stage says so and does without. LMDB maps the file into memory, commits a block as a whole or not at
all, and lets processes write in turn.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

import lmdb
from pydantic import Field, PrivateAttr

from stages.shared.pipeline.parameters import Section

ADDRESSES = 2**40  # the largest map that LMDB may want; the file is as large as what it holds
Result = TypeVar("Result")
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

    _unusable: bool = PrivateAttr(default=False)

    def read(self, keys: list[bytes]) -> list[bytes | None]:
        """Return the bytes kept under each of `keys`, None where there are none (or damaged ones)."""
        found = self._transact(
            lambda tables: [_checked(tables.transaction.get(key, db=tables.results)) for key in keys],
            write=False,
        )
        return found or [None] * len(keys)

    def write(self, values: dict[bytes, bytes]) -> None:
        """Keep `values`; the least recently used ones go where all would be more than `gigabytes`."""
        limit = self.gigabytes * 1e9
        needed = sum(len(value) + 4096 for value in values.values())

        def keep(tables: Tables) -> None:
            if _size(tables) + needed > FULL * limit:
                _make_room(tables, EMPTIED * limit - needed)
            for key, value in values.items():
                tables.transaction.put(key, crc32(value).to_bytes(4) + value, db=tables.results)
            _stamp(tables, values)

        if needed <= EMPTIED * limit:
            self._transact(keep)

    def mark_used(self, keys: list[bytes]) -> None:
        """Count the results under `keys` as used now."""
        if keys:
            self._transact(lambda tables: _stamp(tables, keys))

    def _transact(self, work: Callable[[Tables], Result], write: bool = True) -> Result | None:
        """Return what `work` does in one transaction, and None where the file cannot be used, having said so once.

        It is opened for each: what stays mapped would count as the process's memory.
        """
        if self.gigabytes == 0 or self._unusable:
            return None
        try:
            folder = Path(self.folder).expanduser()
            folder.mkdir(parents=True, exist_ok=True)
            with lmdb.open(str(folder), map_size=_addresses(), max_dbs=2, readahead=False) as environment:
                results, last_used = environment.open_db(b"results"), environment.open_db(b"last_used")
                with environment.begin(write=write) as transaction:
                    return work(Tables(transaction, results, last_used))
        except (lmdb.Error, OSError, RuntimeError) as error:  # the last where there is no home for ~
            self._unusable = True
            reason = " ".join(str(error).split())
            print(
                f"the store in {self.folder} cannot be used ({reason}), so this goes on without it: free some "
                "room, mend or delete that folder, or set store.folder to another one.",
                file=sys.stderr,
            )
            return None


def _addresses() -> int:
    """Return how large a map may be: where the process's addresses are limited, the rest is left to TensorFlow."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return ADDRESSES if limit == resource.RLIM_INFINITY else min(ADDRESSES, limit // 4)


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
