"""Foretell what more images would give: the accuracy of the linear probe on ever larger subsets of the training images."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.learning_curve.picture import draw
from stages.learning_curve.power_law import Curves, fit_curves
from stages.learning_curve.subsets import measure_subsets
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write, write_json
from stages.shared.pipeline.splits import read_class_names, read_split

SIZES = 4  # and more for a curve: it has three parameters
FAR = 100  # times as many images: beyond that, no curve says anything


def main(*, splits: Path, features: Path, metrics: Path, table: Path, picture: Path) -> None:
    """Measure subsets and fit the curve.

    Reads:  splits/{train,validation}.csv, and features/{train,validation}.npy, each (n, height, width, channels)
    Writes: metrics (.json): the accuracy with all training images, and what the curve says of more;
            table (.csv): accuracy and recalls of each subset; picture (.png)
    """
    tables = {name: read_split(splits / f"{name}.csv") for name in ("train", "validation")}
    averages = average_features(features, tables)
    class_names = read_class_names(pd.concat(tables.values()))
    truth = tables["validation"]["class_index"].to_numpy()
    measured = measure_subsets(averages["train"], tables["train"], averages["validation"], truth)
    content: dict = {
        "images": len(tables["train"]),
        "judged_images": len(truth),
        "accuracy": measured["accuracy"].iloc[-1],
    }
    if measured["images"].nunique() >= SIZES:
        content |= foretell(measured, fit_curves(measured, "accuracy"))
        content["per_class"] = foretell_classes(measured, class_names)
    with atomic_write(table) as file:
        measured.rename(columns={index: f"recall_{name}" for index, name in enumerate(class_names)}).to_csv(
            file, index=False
        )
    write_json(metrics, content)
    draw(measured, content.get("points", []), picture)
    print(
        f"{metrics}, {table}, {picture}: accuracy {content['accuracy']:.3f} with {content['images']} training images"
    )


def foretell(measured: pd.DataFrame, curves: Curves) -> dict:
    """Return what `curves` say of twice as many images, and of how many it takes for half the errors."""
    sizes, means = zip(*measured.groupby("images")["accuracy"].mean().items(), strict=True)
    images = sizes[-1]
    now, twice = float(curves.at(images)[0]), float(curves.at(2 * images)[0])
    aim = (1 + now) / 2
    takes = curves.images_for(aim)
    points = [
        {
            "images": size,
            **({"accuracy": means[index]} if index < len(sizes) else {}),
            "curve": float(curves.at(size)[0]),
            **dict(zip(("low", "high"), curves.band(size), strict=True)),
        }
        for index, size in enumerate([*sizes, 2 * images, 4 * images])
    ]
    return {
        "curve": {name: float(getattr(curves, name)[0]) for name in ("limit", "scale", "exponent")},
        "on_the_curve": now,
        "twice": {"images": 2 * images, "accuracy": twice, "interval": curves.band(2 * images)},
        "half_the_errors": {
            "accuracy": aim,
            "images": round_off(takes[0], FAR * images),
            "at_most": round_off(np.quantile(takes[1:], 0.975, method="higher"), FAR * images),
            "out_of_reach": bool(np.mean(takes[1:] > FAR * images) >= 0.975),
        },
        "points": points,
    }


def round_off(images: float, most: int) -> int | None:
    """Return `images` to two digits, None where there are more than `most`."""
    return int(float(f"{images:.1e}")) if images <= most else None


def foretell_classes(measured: pd.DataFrame, class_names: list[str]) -> list[dict]:
    """Return what the recall of each class is on its curve, and what it would be with twice as many images of all."""
    images, said = int(measured["images"].max()), []
    for index, name in enumerate(class_names):
        if index in measured:  # it has validation images
            curves = fit_curves(measured, index)
            now, twice = (float(curves.at(number)[0]) for number in (images, 2 * images))
            said.append({"class": name, "recall": now, "twice": twice, "interval": curves.band(2 * images)})
    return said


if __name__ == "__main__":
    run(main)
