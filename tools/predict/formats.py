"""How tools.predict writes a row an image: as a table, CSV or JSON Lines.

Each format is started with the model and all paths, and returns what writes a row.
"""

import csv
import json
import sys
from collections.abc import Callable

from stages.shared.network.model_file import Classifier
from tools.shared.answers import Answer

Write = Callable[[str, Answer], object]  # a row, of the image with this path


def start_table(classifier: Classifier, paths: list[str]) -> Write:
    """Print the header of an aligned table; its columns are as wide as they need be for all `paths`."""
    heads = [printable(name) for name in classifier.class_names]
    first = max(len(printable(path)) for path in ["path", *paths])
    second = max(map(len, ["predicted", *heads]))

    def write(path: str, answer: Answer) -> None:
        numbers = [
            f"{number:>{max(len(head), 6)}.4f}"
            for head, number in zip(heads, answer.probabilities, strict=True)
        ]
        print(
            f"{printable(path):{first}}",
            f"{printable(answer.predicted):{second}}",
            *numbers,
            f"{answer.remark:6}",
            f"{answer.typicality:10.4f}",
            printable(answer.nearest[0]),
            sep="  ",
        )

    print(
        f"{'path':{first}}",
        f"{'predicted':{second}}",
        *(f"{head:>6}" for head in heads),
        "remark",
        "typicality",
        "nearest",
        sep="  ",
    )
    return write


def start_csv(classifier: Classifier, paths: list[str]) -> Write:
    """Print a header that begins like that of evaluate's predictions; lists are JSON."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    sets = classifier.rule.in_set_from is not None
    columns = [f"probability_{name}" for name in classifier.class_names]
    writer.writerow(
        ["path", "predicted", *columns, "remark", "typicality", "nearest", *(["possible"] if sets else [])]
    )

    def write(path: str, answer: Answer) -> None:
        lists = [answer.nearest, answer.possible] if sets else [answer.nearest]
        writer.writerow(
            [
                path,
                answer.predicted,
                *answer.probabilities,
                answer.remark,
                answer.typicality,
                *(json.dumps(one, ensure_ascii=False) for one in lists),
            ]
        )

    return write


def start_jsonl(classifier: Classifier, paths: list[str]) -> Write:
    def write(path: str, answer: Answer) -> None:
        row = {"path": path, **answer._asdict()}
        row["probabilities"] = dict(zip(classifier.class_names, answer.probabilities, strict=True))
        if answer.possible is None:
            del row["possible"]
        print(json.dumps(row))

    return write


FORMATS = {"table": start_table, "csv": start_csv, "jsonl": start_jsonl}


def printable(text: str) -> str:
    """Return `text` on one line, with what cannot be printed as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
