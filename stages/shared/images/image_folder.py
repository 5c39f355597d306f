"""The folder of images, on disk or in S3: which files it has, and their bytes."""

import os
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import Field

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import PartOfSection
from stages.shared.pipeline.splits import Place

# What file managers, file servers and notebooks leave among images. .dvcignore keeps the same from DVC, so that no
# stage runs again for it.
NAMES = {
    "#recycle",
    "#snapshot",
    "$RECYCLE.BIN",
    "@Recycle",
    "@eaDir",
    "Desktop.ini",
    "Network Trash Folder",
    "Picasa.ini",
    "THUMBS.DB",
    "System Volume Information",
    "Temporary Items",
    "Thumbs.db",
    "__MACOSX",
    "desktop.ini",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "lost+found",
    "thumbs.db",
}


READ_AHEAD = 2**16  # bytes of an object in S3 that is read here and there
IMAGES = "the path of a folder of images, or s3://BUCKET/FOLDER"
Answer = TypeVar("Answer")


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of that name is hidden: it begins with a dot, or is one of NAMES."""
    return name.startswith(".") or name in NAMES


class ImagesFolder(PartOfSection):
    """Where the images are, for stages that need no more of the section data."""

    images: str = Field(min_length=1, description=IMAGES)


class OnDisk:
    """A folder of this machine."""

    readers = None  # threads that read at once: as many as ThreadPoolExecutor takes

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def read(self, place: Place) -> bytes:
        """Return the bytes there; raises OSError."""
        with self.open(place.file) as file:
            file.seek(place.offset)
            return file.read(place.length)

    def open(self, path: str) -> BinaryIO:
        return (self.path / path).open("rb")

    def version(self, place: Place) -> str | None:
        """Return what tells the bytes there from what they were before, unread, which a disk's times do not."""
        return None

    def absolute(self) -> "OnDisk":
        return OnDisk(self.path.absolute())

    def list_folders(self) -> list[str]:
        """Return the names of the folders in it, hidden ones excepted."""
        return [entry.name for entry in self.path.iterdir() if entry.is_dir() and not is_hidden(entry.name)]

    def list_files(self) -> list[str]:
        """Return the paths of its files, with slashes, hidden ones excepted.

        Raises UserError where it is no folder, where one cannot be read or is no file, where its name is not UTF-8
        or not read as such, and for links to folders, which DVC does not follow.
        """
        if not self.path.is_dir():
            raise UserError(f"data.images is {str(self)!r}, which is no folder.")

        def cannot_read(error: OSError) -> None:
            raise UserError(f"{error.filename} cannot be read: {error.strerror}.")

        files, others = [], []
        for place, folders, names in os.walk(self.path, onerror=cannot_read):
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            others += [Path(place, name) for name in folders if Path(place, name).is_symlink()]
            for path in (Path(place, name) for name in sorted(names) if not is_hidden(name)):
                (files if path.is_file() else others).append(path)
        if others:
            raise UserError(
                f"{len(others)} entries of {self} are links to folders, broken links or no files: "
                f"{some(list(map(str, others)))}. Put the images themselves there."
            )
        paths = [path.relative_to(self.path).as_posix() for path in files]
        encoding = sys.getfilesystemencoding()
        if encoding != "utf-8" and not all(map(str.isascii, paths)):
            raise UserError(f"file names are read as {encoding} here, not as UTF-8: export PYTHONUTF8=1.")
        garbled = [ascii(path) for path in paths if not is_utf8(path)]
        if garbled:
            raise UserError(
                f"{len(garbled)} files in {self} have names that are not UTF-8, which DVC cannot read: "
                f"{some(garbled)}. Rename them."
            )
        return paths


class InS3:
    """A folder in S3, whose server, region and keys are those of the AWS command line's settings."""

    readers = 32  # requests wait for the network, not for processors

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __str__(self) -> str:
        return self.url

    def read(self, place: Place) -> bytes:
        """Return the bytes there; raises FileNotFoundError, and UserError where S3 does not answer."""
        file, offset, length = place
        if length == 0:  # which no request can ask for
            return b""
        part = {} if length < 0 else {"start": offset, "end": offset + length}
        return self._ask(lambda: self._files.cat_file(f"{self.url}/{file}", **part))

    def open(self, path: str) -> BinaryIO:
        """Return an object as a file that asks for a few bytes more than are read of it."""
        return self._ask(lambda: self._files.open(f"{self.url}/{path}", block_size=READ_AHEAD))

    def version(self, place: Place) -> str | None:
        """Return what S3 calls an object's ETag, with where it is and its size, None where there is none of it.

        Of bytes in an object their place follows.
        """
        file, offset, length = place
        about = self._objects.get(f"{self.url.removeprefix('s3://')}/{file}")
        if about is None:
            return None
        part = "" if length < 0 else f" {offset} {length}"
        return f"{self.url}/{file} {about['ETag']} {about['Size']}{part}"

    def absolute(self) -> "InS3":
        return self

    def list_folders(self) -> list[str]:
        """Return no folder: S3 has none without an object."""
        return []

    def list_files(self) -> list[str]:
        """Return the paths of its objects, with slashes, hidden ones excepted."""
        start = len(self.url.removeprefix("s3://")) + 1
        paths = [key[start:] for key in self._objects if not key.endswith("/")]
        return sorted(path for path in paths if not any(map(is_hidden, path.split("/"))))

    @cached_property
    def _objects(self) -> dict[str, dict]:
        """What the bucket says of each object: one request for a thousand of them."""
        return self._ask(lambda: self._files.find(self.url, detail=True))

    @cached_property
    def _files(self) -> Any:
        import fsspec

        return fsspec.filesystem("s3", config_kwargs={"max_pool_connections": self.readers})

    def _ask(self, request: Callable[[], Answer]) -> Answer:
        try:
            return request()
        except FileNotFoundError:
            raise
        except Exception as error:  # of botocore and aiohttp, which raise many kinds
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{self} cannot be read ({reason}): where aws s3 ls {self} cannot read it either, "
                "see docs/scale.md."
            ) from None

    def __reduce__(self) -> tuple:
        return InS3, (self.url,)


ImageFolder = OnDisk | InS3


def open_folder(images: str) -> ImageFolder:
    """Return the folder that data.images names."""
    return InS3(images) if images.startswith("s3://") else OnDisk(Path(images))


def some(names: list[str]) -> str:
    """Return the first of `names` as a list, and how many more there are."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def is_utf8(path: str) -> bool:
    """Return whether a path that was decoded with surrogateescape is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:  # what Python could not decode, it keeps as lone surrogates
        return False
    return True
