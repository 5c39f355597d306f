"""Prove the band of the learning curve: a project that has a quarter of its images foretells what all of them give.

    python -m bench.learning_curve PROJECT...    folders with data/splits and data/features

All images are split anew in each of 20 draws: half to learn from, a quarter to be judged on. The curve is fitted to
what subsets of a quarter of the former give, and its band compared with what all of them give.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from stages.learning_curve.power_law import fit_curves
from stages.learning_curve.subsets import measure_subsets, order, take
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.splits import SPLITS, read_split
from stages.shared.probe.linear_probe import fit_probe

DRAWS = 20


def try_draw(features: np.ndarray, images: pd.DataFrame, draw: int) -> dict[str, float]:
    """Return low and high end of the band for a draw, what the curve foretells, and what was measured."""
    labels = images["class_index"].to_numpy()
    counts = np.bincount(labels)
    ordered = order(images, draw)
    learnt, used = take(images, ordered, counts // 2), take(images, ordered, counts // 2 + counts // 4)
    judged = np.setdiff1d(used, learnt)
    quarter = take(images, ordered, counts // 2 // 4)
    sets = {
        name: (features[rows], images.iloc[rows].reset_index(drop=True))
        for name, rows in (("quarter", quarter), ("all", learnt))
    }
    measured = measure_subsets(*sets["quarter"], features[judged], labels[judged])
    curves = fit_curves(measured, "accuracy")
    low, high = curves.band(len(learnt))
    right = fit_probe(*sets["all"], draw).predict(features[judged]).argmax(axis=1) == labels[judged]
    return {"low": low, "high": high, "foretold": curves.at(len(learnt))[0], "measured": right.mean()}


def try_all(features: np.ndarray, images: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame([try_draw(features, images, draw) for draw in range(DRAWS)])


def describe(found: pd.DataFrame) -> str:
    held = (found["low"] <= found["measured"]) & (found["measured"] <= found["high"])
    width, error = (found["high"] - found["low"]).mean(), (found["foretold"] - found["measured"]).abs().mean()
    return (
        f"the band holds what was measured in {held.sum()} of {len(found)} draws; it is {width:.3f} wide on average, "
        f"and the curve is off by {error:.3f}"
    )


def main(projects: list[Path]) -> None:
    for project in projects:
        splits = {name: read_split(project / f"data/splits/{name}.csv") for name in SPLITS}
        features = np.concatenate(list(average_features(project / "data/features", splits).values()))
        found = try_all(features, pd.concat(splits.values(), ignore_index=True))
        print(found.round(4).to_string())
        print(f"{project}: {describe(found)}")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
