"""Checksums by which the reader of a file knows that it is as the pipeline wrote it.

XXH3 (https://xxhash.com) finds what a disk, a copy or a cut does to a file, at the speed of memory. It is
no signature: whoever can write a file can write its checksum too.
"""

from pathlib import Path

import xxhash

from stages.shared.pipeline.damage import damaged

SIZE = 16  # bytes of a checksum
CHUNK = 1 << 20  # bytes


def checksum(content: bytes | memoryview, place: int = 0) -> bytes:
    """Return the checksum of `content`, in which its `place` in the file counts too."""
    return xxhash.xxh3_128_digest(content, place)


def seal(file: Path) -> None:
    """Append to `file` the checksum of its content: readers of HDF5, among others, pay no heed to it."""
    found = _checksum_of(file, file.stat().st_size)
    with file.open("ab") as end:
        end.write(found)


def check_seal(file: Path) -> None:
    """Raise UserError where `file` does not end with the checksum of what comes before."""
    length = file.stat().st_size - SIZE
    with file.open("rb") as end:
        end.seek(max(length, 0))
        if end.read() != _checksum_of(file, length):
            raise damaged(file, "its checksum is not that of its content")


def _checksum_of(file: Path, length: int) -> bytes:
    """Return the checksum of the first `length` bytes of `file`, which is not read into memory as a whole."""
    found = xxhash.xxh3_128()
    with file.open("rb") as content:
        while length > 0 and (chunk := content.read(min(CHUNK, length))):
            found.update(chunk)
            length -= len(chunk)
    return found.digest()
