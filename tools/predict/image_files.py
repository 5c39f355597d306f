"""The files that a user names on the command line of tools.predict."""

import glob
import os
import sys
from itertools import chain
from pathlib import Path

from stages.shared.images.image_folder import NAMES, is_hidden


def find(argument: str) -> list[str]:
    """Return the files that `argument` names, of a folder or a pattern each once; what names none stands for itself."""
    if argument == "-":
        lines = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer]
        return [path for line in lines if line for path in expand(line)]
    return expand(argument)


def expand(path: str) -> list[str]:
    if os.path.isdir(path):
        return files_below(path)
    if os.path.lexists(path) or not glob.has_magic(path):
        return [path]
    unwanted = NAMES.difference(Path(path).parts)
    found = sorted(glob.glob(path, recursive=True))
    matches = [match for match in found if unwanted.isdisjoint(Path(match).parts)]
    files = chain.from_iterable(files_below(match) if os.path.isdir(match) else [match] for match in matches)
    followed = {match for match in matches if os.path.isdir(match) and os.path.islink(match)}
    return [file for file in dict.fromkeys(files) if file not in followed] or [path]


def files_below(folder: str) -> list[str]:
    """Return the files below `folder` that are not hidden, and the folders that are links or cannot be listed.

    Sorted within each folder. Links are not followed, as they may lead round in a circle.
    """
    found = []
    for place, folders, names in os.walk(folder, onerror=lambda error: found.append(error.filename)):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        found.extend(filter(os.path.islink, (os.path.join(place, name) for name in folders)))
        found.extend(os.path.join(place, name) for name in sorted(names) if not is_hidden(name))
    return found
