"""Metrics and tables, as stages leave them to one another."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stages.shared.pipeline.damage import damaged

MEASURES = ("train_accuracy", "validation_accuracy", "train_loss", "validation_loss")
CURVES = {"epoch": int, **dict.fromkeys([*MEASURES, *(f"{name}_smoothed" for name in MEASURES)], float)}
NEAR_DUPLICATES: dict[str, type] = dict.fromkeys(
    ("split", "path", "label", "other_split", "other_path", "other_label"), str
)
SUSPECTS: dict[str, type] = dict.fromkeys(("split", "path", "label", "suggested", "sha256"), str)
MAP = {
    **dict.fromkeys(("split", "path", "label"), str),
    **dict.fromkeys(("x", "y"), float),
    **dict.fromkeys(("sheet", "column", "row"), int),
}
HEAT_MAPS = {"path": str, "class": str}
PREDICTIONS = {"path": str, "label": str, "predicted": str}  # and a probability for each class
ROC = {"false_positive_rate": float, "true_positive_rate": float}


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in the JSON file `path`; raises UserError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise damaged(path, "it holds no JSON object")
    return content


def read_table(
    path: Path, columns: Mapping[str, type], others: Mapping[str, type] | None = None
) -> pd.DataFrame:
    """Return the CSV file `path`, which begins with `columns`, each of its type; `others` and numbers may follow.

    Raises UserError where it does not.
    """
    types = defaultdict(lambda: float, {**columns, **(others or {})})
    try:
        table = pd.read_csv(path, dtype=types, keep_default_na=False)
    except ValueError as error:  # of the parser, the encoding, a number
        raise damaged(path, f"pandas cannot read it ({' '.join(str(error).split())[:300]})") from None
    if list(table.columns[: len(columns)]) != list(columns):
        raise damaged(path, f"it does not begin with the columns {', '.join(columns)}")
    return table
