"""Tars in the folder of images, each of which counts as the files that it would unpack to."""

import re
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from stages.shared.images.image_folder import ImageFolder, is_hidden, is_utf8, some
from stages.shared.images.opening import fault_of
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.splits import SHARD_COLUMNS, Place
from stages.shared.store.code import code_digest
from stages.shared.store.known import find_known, keep_known
from stages.shared.store.results import Store

COMPRESSED = re.compile(r"\.(tar\.(gz|bz2|xz|zst|lz4|lzma|z)|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
# A file in a tar: its path below the folder of images, were the tar unpacked, its first byte, and how many there are.
Member = tuple[str, int, int]


def list_files(folder: ImageFolder, store: Store | None) -> tuple[pd.DataFrame, list[str]]:
    """Return the files of `folder`, were its tars unpacked, and the paths of these tars.

    The columns are path and, where there are tars, SHARD_COLUMNS. `store` may know the members of a tar in S3.
    Raises UserError as the folder does, where a tar is compressed, or not as read_members takes it, and where a
    path occurs twice.
    """
    files = folder.list_files()
    if compressed := [path for path in files if COMPRESSED.search(path)]:
        raise UserError(
            f"{len(compressed)} files in {folder} are compressed tars, of which no single image can be read: "
            f"{some(compressed)}. Make a .tar of each, for instance with gunzip."
        )
    shards = [path for path in files if path.lower().endswith(".tar")]
    if not shards:
        return pd.DataFrame({"path": files}, dtype=str), []
    rows = [(path, "", 0, 0) for path in sorted(set(files) - set(shards))]
    for shard, members in zip(shards, find_members(folder, shards, store), strict=True):
        rows += [(path, shard, offset, length) for path, offset, length in members]
    table = pd.DataFrame(rows, columns=["path", *SHARD_COLUMNS])
    twice = table[table["path"].duplicated(keep=False)].sort_values("path")
    if len(twice):
        places = [
            f"{path} ({shard or 'a file'})" for path, shard in zip(twice["path"], twice["shard"], strict=True)
        ]
        raise UserError(
            f"{len(twice)} files in {folder} have a path that another one has, once tars are unpacked: {some(places)}. "
            "Leave one of each."
        )
    return table, shards


def find_members(folder: ImageFolder, shards: list[str], store: Store | None) -> list[list[Member]]:
    """Return the members of each of `shards`, from `store` where it knows them of a tar's present version."""
    versions = [folder.version(Place(shard)) for shard in shards]
    how = ["members", code_digest(__file__).hex()]
    known = find_known(versions, how, store) if store else [None] * len(shards)
    with ThreadPoolExecutor(folder.readers) as pool:
        read = pool.map(lambda shard, members: members or read_members(folder, shard), shards, known)
        found = list(read)
    if store:
        new = zip(versions, known, found, strict=True)
        keep_known({version: members for version, old, members in new if version and not old}, how, store)
    return found


def read_members(folder: ImageFolder, shard: str) -> list[Member]:
    """Return the files in a tar, but hidden ones.

    They unpack where the tar lies: those in folders as they are, and those without one into a folder of the tar's name.
    Raises UserError where a tar is cut or none, holds nothing or both kinds, where one is a link, sparse or no
    file, and where a name is none, not UTF-8, or leads out of the tar.
    """
    links, unsafe, garbled, files = [], [], [], []
    for member in _headers(folder, shard):
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        name = "/".join(parts)
        if member.name.startswith("/") or ".." in parts or not (parts or member.isdir()):
            unsafe.append(repr(member.name))
        elif member.isdir() or any(map(is_hidden, parts)):
            continue
        elif not is_utf8(name):
            garbled.append(repr(name))
        elif not member.isreg() or member.issparse():
            links.append(repr(name))
        else:
            files.append((name, member.offset_data, member.size))
    problems = {
        "are links, sparse or no files": links,
        "have no name, or one that leads out of it": unsafe,
        "have names that are not UTF-8": garbled,
    }
    for problem, names in problems.items():
        if names:
            raise UserError(
                f"{len(names)} members of {folder}/{shard} {problem}: {some(names)}. Make the tar anew of plain files: "
                "docs/scale.md has the command."
            )
    if not files:
        raise UserError(f"{folder}/{shard} holds no files: remove it, or make it anew.")
    flat = ["/" not in name for name, *_ in files]
    if any(flat) and not all(flat):
        raise UserError(
            f"{sum(flat)} of {len(flat)} files in {folder}/{shard} lie in no folder, and the others do: make it anew "
            "with all of them in folders, or none."
        )
    *above, own = shard.split("/")
    place = [*above, own[: -len(".tar")]] if all(flat) else above
    return [("/".join([*place, name]), offset, length) for name, offset, length in files]


def _headers(folder: ImageFolder, shard: str) -> list[tarfile.TarInfo]:
    """Return what a tar says of its members; raises UserError where it is cut or none."""
    try:
        with folder.open(shard) as file, tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar:
            found = []
            for member in tar:
                if member.size < 0:  # which would have tarfile read for ever
                    raise ValueError("a file of less than no bytes")
                found.append(member)
            file.seek(tar.offset)  # tarfile takes whatever is no header for the end
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise ValueError("its end is missing")
            return found
    except Exception as error:  # of many kinds, as tarfile converts numbers and seeks where a header says
        raise UserError(
            f"{folder}/{shard} cannot be read as a tar ({fault_of(error)}): make it anew, or remove it."
        ) from None
