"""How tools.predict writes a row an image: as a table, CSV or JSON Lines.

Each format is started with the class names and all paths, and returns what writes a row.
"""

import csv
import json
import sys
from collections.abc import Callable

Write = Callable[[str, str, list[float]], object]  # a row: path, predicted class, probability per class


def start_table(names: list[str], paths: list[str]) -> Write:
    """Print the header of an aligned table; its columns are as wide as they need be for all `paths`."""
    heads = [printable(name) for name in names]
    first = max(len(printable(path)) for path in ["path", *paths])
    second = max(map(len, ["predicted", *heads]))

    def write(path: str, predicted: str, probabilities: list[float]) -> None:
        numbers = [
            f"{number:>{max(len(head), 6)}.4f}" for head, number in zip(heads, probabilities, strict=True)
        ]
        print(f"{printable(path):{first}}", f"{printable(predicted):{second}}", *numbers, sep="  ")

    print(f"{'path':{first}}", f"{'predicted':{second}}", *(f"{head:>6}" for head in heads), sep="  ")
    return write


def start_csv(names: list[str], paths: list[str]) -> Write:
    """Print a header like that of evaluate's predictions."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "predicted", *(f"probability_{name}" for name in names)])
    return lambda path, predicted, probabilities: writer.writerow([path, predicted, *probabilities])


def start_jsonl(names: list[str], paths: list[str]) -> Write:
    return lambda path, predicted, probabilities: print(
        json.dumps(
            {
                "path": path,
                "predicted": predicted,
                "probabilities": dict(zip(names, probabilities, strict=True)),
            }
        )
    )


FORMATS = {"table": start_table, "csv": start_csv, "jsonl": start_jsonl}


def printable(text: str) -> str:
    """Return `text` on one line, with what cannot be printed as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
