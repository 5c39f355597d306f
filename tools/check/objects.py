"""What DVC keeps for the project as it is: files in the workspace, and the objects of its cache behind them."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from dvc.repo import Repo
from tqdm import tqdm

from stages.shared.pipeline.cached import cache_folder, object_name

BLOCK = 2**20  # bytes
Source = TypeVar("Source")


class Kept(NamedTuple):
    """A file as dvc.lock or a .dvc file records it. Of a folder, DVC's list of its files, at the folder's path."""

    path: Path  # in the workspace
    md5: str  # of a list with ".dir" behind it
    object: Path  # where DVC's cache has it
    output: Path  # `path`, or the folder that it is in
    size: int  # bytes, of a list those of the folder
    stage: str  # as dvc commit takes it: a stage, or the .dvc file of what dvc add took
    cached: bool
    pushed: bool

    @property
    def is_list(self) -> bool:
        return self.md5.endswith(".dir")

    def files(self, content: bytes) -> list["Kept"]:
        """Return the files on a list of this `content`; raises ValueError where that is not the one recorded."""
        if f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.dir" != self.md5:
            raise ValueError(self.path)
        cache = self.object.parents[3]
        return [
            self._replace(
                path=self.path / file["relpath"], md5=file["md5"], object=cache / object_name(file["md5"])
            )
            for file in json.loads(content)
        ]


def read_outputs(repo: Repo) -> list[Kept]:
    """Return each output that has been recorded; of a folder its list."""
    cache, outputs = cache_folder(), []
    for out in repo.index.outs:
        if out.hash_info:
            path, md5, size = Path(os.path.relpath(out.fs_path)), str(out.hash_info.value), out.meta.size or 0
            flags = (out.use_cache, out.use_cache and out.can_push)
            outputs.append(
                Kept(path, md5, cache / object_name(md5), path, size, out.stage.addressing, *flags)
            )
    return outputs


def hash_all(
    sources: Iterable[Source], size: int, call: Callable[[Source], BinaryIO], what: str
) -> Iterator[str | None]:
    """Yield the MD5 of what `call` opens of each source, None where there is nothing, or why it cannot be read.

    On all cores, as hashing lets other threads run, and a block at a time; `size` is the bytes of all.
    """
    with (
        tqdm(total=size, unit="B", unit_scale=True, desc=what) as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        yield from pool.map(partial(_hash, call, progress), sources)


def _hash(call: Callable[[Source], BinaryIO], progress: tqdm, source: Source) -> str | None:
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with call(source) as file:
            while block := file.read(BLOCK):
                digest.update(block)
                with progress.get_lock():
                    progress.update(len(block))
    except FileNotFoundError:
        return None
    except OSError as error:
        return str(error)
    return digest.hexdigest()
