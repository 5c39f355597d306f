"""A CSV file with labels, whoever wrote it: its place, its rows, and the files that its names mean."""

import csv
import unicodedata
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from pathlib import Path

import pandas as pd

from stages.shared.images.image_folder import ImageFolder, InS3, some
from stages.shared.pipeline.command import UserError

DELIMITERS = ",;\t|"


def check_place(name: str, images: ImageFolder, files: list[str]) -> str:
    """Return the path of the CSV file `name` below `images`, one of `files`; raises UserError where it is not there."""
    itself = name.removeprefix(f"{images}/")
    if itself != name and itself in files:
        return itself
    if isinstance(images, InS3):
        raise UserError(
            f"data.labels_from is {name!r}, where no object below {images} is: it takes folder, filename or the "
            f"URL of a CSV file there, like {images}/labels.csv."
        )
    file, folder = Path(name), images.path
    if not file.is_file():
        hint = f" Did you mean {folder / file}?" if (folder / file).is_file() else ""
        raise UserError(
            f"data.labels_from is {str(file)!r}, where no file is: it takes folder, filename or the path of "
            f"a CSV file from the project's top folder.{hint}"
        )
    itself = file.parent.resolve() / file.name  # DVC may have made it a link to its cache
    if folder.resolve() not in itself.parents:
        raise UserError(
            f"data.labels_from is {str(file)!r}, outside {folder}: move it into that folder, so that DVC "
            "notices when it changes."
        )
    return itself.relative_to(folder.resolve()).as_posix()


def read_rows(
    file: str, content: bytes, columns: dict[str, tuple[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the columns of the CSV file `file` that are asked for, under our names, and the others, all of str.

    `columns` has for each of our names that of the file and the parameter that says so. The delimiter is the
    one of DELIMITERS that gives these columns. Raises UserError where none does, or rows are uneven.
    """
    try:
        text = content.decode("utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
        header, rows = _parse(text, columns)
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no readable CSV file in UTF-8: {error}.") from None
    if not _has(header, columns):
        needed = ", ".join(f"{name!r} ({key})" for name, key in columns.values())
        raise UserError(f"{file} has the columns {', '.join(header)}: it needs {needed}, once each.")
    uneven = [",".join(row) for row in rows if len(row) != len(header)]
    if uneven:
        raise UserError(
            f"{len(uneven)} rows of {file} do not have its {len(header)} columns: {some(uneven)}."
        )
    table = pd.DataFrame(rows, columns=header, dtype=str)
    names = [unicodedata.normalize("NFC", name) for name, _ in columns.values()]
    return table[names].set_axis(list(columns), axis="columns"), table.drop(columns=names)


def _parse(text: str, columns: dict[str, tuple[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows, with the delimiter that gives `columns`, or else a comma; raises csv.Error."""
    parsed, faults = [], []
    for delimiter in DELIMITERS:
        lines = csv.reader(StringIO(text), strict=True, delimiter=delimiter, skipinitialspace=True)
        try:
            names, *rows = [row for row in lines if any(map(str.strip, row))] or [[]]
        except csv.Error as error:
            faults.append(error)
        else:
            parsed.append(([unicodedata.normalize("NFC", name.strip()) for name in names], rows))
    found = next((one for one in parsed if _has(one[0], columns)), None)
    if not found and faults:
        raise faults[0]
    return found or parsed[0]


def _has(header: list[str], columns: dict[str, tuple[str, str]]) -> bool:
    return all(header.count(unicodedata.normalize("NFC", name)) == 1 for name, _ in columns.values())


def find_files(names: list[str], files: list[str]) -> list[list[str]]:
    """Return for each of `names`, as a CSV file has them, those of `files` that it may mean.

    A name may lack its extension. All names are read in the first of these ways that finds a file for each:
    as the path of a file; as the end of one, without the folders in front; as a path with folders in front
    that all names have and no file does, which is said; and in these ways whatever the case. Where no way
    does, in the one that finds most. Accents count in either form.
    """
    written = [unicodedata.normalize("NFC", name).removeprefix("./") for name in names]
    if not any("\\" in file for file in files):
        written = [name.replace("\\", "/") for name in written]
    best: list[list[str]] = [[] for _ in names]
    for case in (str, str.lower):
        known = [case(unicodedata.normalize("NFC", file)) for file in files]
        whole, ends = Lookup(files, known, lambda path: [path]), Lookup(files, known, _ends)
        for dropped, lookup in [("", whole), ("", ends), *((front, whole) for front in _fronts(written))]:
            found = [lookup.find(case(name.removeprefix(dropped))) for name in written]
            if all(found):
                if dropped:
                    print(f"{dropped} in front of all names of the CSV file is left away")
                return found
            best = max(best, found, key=lambda found: sum(map(bool, found)))
    return best


def _fronts(names: list[str]) -> Iterator[str]:
    """Yield the folders that all `names` have in front, fewest first, with their slash."""
    front = ""
    for folders in zip(*(name.split("/")[:-1] for name in names), strict=False):
        if len(set(folders)) > 1:
            break
        front += f"{folders[0]}/"
        yield front


class Lookup:
    """Files by what names them, with and without extension."""

    def __init__(self, files: list[str], known: list[str], naming: Callable[[str], Iterable[str]]) -> None:
        self.exact, self.stems = defaultdict(list), defaultdict(list)
        for file, path in zip(files, known, strict=True):
            for name in naming(path):
                self.exact[name].append(file)
                self.stems[_stem(name)].append(file)

    def find(self, name: str) -> list[str]:
        """Return the files that `name` may mean."""
        return self.exact.get(name) or self.stems.get(name, [])


def _ends(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[first:]) for first in range(len(parts)))


def _stem(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)
