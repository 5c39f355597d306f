"""A person's decisions on labels, carried out once each image has its split."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.shared.images.image_folder import some
from stages.shared.labels.decisions import read_decisions
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.splits import SPLITS


class Corrected(NamedTuple):
    """The images with the labels that a person has decided on."""

    table: pd.DataFrame
    left_out: list[str]  # paths of those that no class fits
    counts: dict[str, int]  # none where there are no decisions


def check_classes(decisions: pd.DataFrame, class_names: set[str], file: Path) -> None:
    """Raise UserError where a label of `decisions` is none of `class_names`."""
    unknown = sorted(set(decisions["label"]) - class_names - {""})
    if unknown:
        raise UserError(
            f"{file} has labels that are no class: {some(unknown)}. The classes are {some(sorted(class_names))}."
        )


def correct(table: pd.DataFrame, file: Path) -> Corrected:
    """Return the images of `table`, with columns label, sha256 and split, as the decisions in `file` have them.

    They stay in their splits. Raises UserError as read_decisions does, where a label is no class, or where a split
    would lack a class.
    """
    decisions = read_decisions(file)
    if decisions.empty:
        return Corrected(table, [], {})
    check_classes(decisions, set(table["label"]), file)
    decided = decisions.reindex(table["sha256"]).fillna("").set_index(table.index)
    left_out = (decided["decision"] == "wrong") & (decided["label"] == "")
    label = decided["label"].where(decided["label"] != "", table["label"])
    corrected = table.assign(label=label)[~left_out].reset_index(drop=True)
    counts = {
        "decided": int((decided["decision"] != "").sum()),
        "corrected": int((label != table["label"]).sum()),
        "left_out": int(left_out.sum()),
        "unsure": int((decided["decision"] == "unsure").sum()),
        "of_no_image": int((~decisions.index.isin(table["sha256"])).sum()),
    }
    for name in SPLITS:
        lost = set(table["label"]) - set(corrected["label"][corrected["split"] == name])
        if lost:
            raise UserError(
                f"{file} leaves {name} without an image of {some(sorted(lost))}: every split needs images of every "
                "class. Add some, or take decisions out."
            )
    print(
        f"{file}: {counts['decided']} images decided on, {counts['corrected']} labels corrected, {counts['left_out']} "
        f"images left out, {counts['unsure']} unsure; {counts['of_no_image']} decisions are of no image here"
    )
    return Corrected(corrected, table["path"][left_out].tolist(), counts)
