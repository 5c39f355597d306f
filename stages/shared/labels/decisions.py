"""What a person has decided on labels: the CSV file that data.labels_corrected names, and git keeps.

A row is an image, found by its bytes wherever it lies. Its `label` is what the image shows, whatever its label was
before; a wrong label without another says that no class fits, and an unsure person changes nothing.
"""

import re
from pathlib import Path

import pandas as pd

from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.files import atomic_write

DECISIONS = ("right", "wrong", "unsure")
COLUMNS = ("sha256", "path", "decision", "label")  # the path for the reader alone
CORRECTED = "the path of a CSV file with decisions on labels"


def check_file(file: Path) -> None:
    """Raise UserError where there is no such file."""
    if not file.is_file():
        raise UserError(
            f"data.labels_corrected is {str(file)!r}, where no file is: bring it back with git, or write one whose "
            f"only line is {','.join(COLUMNS)}."
        )


def read_decisions(file: Path) -> pd.DataFrame:
    """Return the columns path, decision and label (str, empty where there is none) of `file`, by sha256.

    There are none where there is no file, with which DVC runs no stage. Raises UserError where it has not these
    columns, a row is no decision, or two rows of an image differ.
    """
    if not file.exists():
        return pd.DataFrame(columns=list(COLUMNS), dtype=str).set_index("sha256")
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # of the parser and the encoding
        raise UserError(f"{file} is no CSV file in UTF-8: {' '.join(str(error).split())[:300]}") from None
    if not set(COLUMNS) <= set(table.columns):
        raise UserError(f"{file} has the columns {', '.join(table.columns)}: it needs {', '.join(COLUMNS)}.")
    table = table[list(COLUMNS)].fillna("")  # of rows that are too short
    table["label"] = table["label"].str.normalize("NFC")
    for line, (sha256, _, decision, label) in enumerate(table.to_numpy().tolist(), start=2):
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise UserError(f"{file}, line {line}: {sha256[:100]!r} is no SHA-256 of an image.")
        if decision not in DECISIONS or (decision == "unsure" and label):
            raise UserError(
                f"{file}, line {line}: {decision!r} with the label {label!r} is no decision, which is right, "
                "wrong or unsure, the last without a label."
            )
    decided = table.drop_duplicates(["sha256", "decision", "label"]).set_index("sha256")
    twice = decided.index[decided.index.duplicated()]
    if len(twice):
        raise UserError(
            f"{file} has two decisions on {decided.loc[twice[0], 'path'].iloc[0]!r} ({twice[0][:8]}): take out all but "
            "one."
        )
    return decided


def write_decisions(file: Path, decisions: pd.DataFrame) -> None:
    """Write `decisions`, as read_decisions gives them, in the order of their images' bytes."""
    with atomic_write(file) as unfinished:
        decisions.sort_index().reset_index()[list(COLUMNS)].to_csv(
            unfinished, index=False, lineterminator="\n"
        )
