"""Which files of the images folder are images."""

import os
import sys
from pathlib import Path

from stages.shared.pipeline.command import UserError

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


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of that name is hidden: it begins with a dot, or is one of NAMES."""
    return name.startswith(".") or name in NAMES


def list_files(folder: Path) -> list[str]:
    """Return the paths of the files below `folder`, with slashes, hidden ones excepted.

    Raises UserError where one cannot be read or is none, where its name is not UTF-8 or not read as such, and
    for links to folders, which DVC does not follow.
    """

    def cannot_read(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.")

    files, others = [], []
    for place, folders, names in os.walk(folder, onerror=cannot_read):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        others += [Path(place, name) for name in folders if Path(place, name).is_symlink()]
        for path in (Path(place, name) for name in sorted(names) if not is_hidden(name)):
            (files if path.is_file() else others).append(path)
    if others:
        raise UserError(
            f"{len(others)} entries of {folder} are links to folders, broken links or no files: "
            f"{some(list(map(str, others)))}. Put the images themselves there."
        )
    paths = [path.relative_to(folder).as_posix() for path in files]
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8" and not all(map(str.isascii, paths)):
        raise UserError(f"file names are read as {encoding} here, not as UTF-8: export PYTHONUTF8=1.")
    garbled = [ascii(path) for path in paths if not _is_utf8(path)]
    if garbled:
        raise UserError(
            f"{len(garbled)} files in {folder} have names that are not UTF-8, which DVC cannot read: "
            f"{some(garbled)}. Rename them."
        )
    return paths


def some(names: list[str]) -> str:
    """Return the first of `names` as a list, and how many more there are."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # what Python could not decode, it keeps as lone surrogates
        return False
    return True
