"""What is known of a file in its present version, where something tells versions apart: it need not be read again."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from stages.shared.store.results import Store

SHA256 = "SHA-256"  # of its bytes, in hexadecimal digits


def find_known(versions: Sequence[str | None], what: object, store: Store) -> list[Any]:
    """Return `what` is known of each of `versions`, None where it is not, or where there is no version."""
    if not any(versions):
        return [None] * len(versions)
    found = store.read([_key(version, what) for version in versions])
    return [None if known is None else json.loads(known) for known in found]


def keep_known(values: dict[str, Any], what: object, store: Store) -> None:
    """Keep of each version what JSON takes."""
    if values:
        store.write({_key(version, what): json.dumps(value).encode() for version, value in values.items()})


def _key(version: str | None, what: object) -> bytes:
    return sha256(json.dumps([version, what]).encode()).digest()
