"""How well an image is told from all that a model learnt: by typicality, for images of another kind and another class.

    python -m bench.typicality PROJECT OTHER      folders with data/splits and data/features, the same base and size

In each draw half of the images of PROJECT are training, a sixth validation, and the rest are held out. Prints a line a
draw, then the means: the area under the ROC curve for images held out against those of OTHER; for each class, of a
model that has learnt that one alone, against the others; and how many of those held out are called unlike.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from stages.shared.network.typicality import TrainingImages, normalized, similarity
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.splits import SPLITS, read_split

DRAWS = 10
UNLIKE = 0.01  # calibration.unlike


def main(project: Path, other: Path) -> None:
    features, images = read(project)
    foreign, _ = read(other)
    labels = images["label"].to_numpy()
    found = []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(images))
        train, validation, held_out = np.split(order, [len(images) // 2, len(images) * 2 // 3])
        known = learn(features, train, validation)
        typical = known.typicality(features[held_out])
        row = {
            "other": area(known, features[held_out], foreign),
            "called_unlike": (typical < UNLIKE).mean(),
            "others_called_unlike": (known.typicality(foreign) < UNLIKE).mean(),
        }
        for name in np.unique(labels):
            one = learn(features, train[labels[train] == name], validation[labels[validation] == name])
            of_class = labels[held_out] == name
            row[name] = area(one, features[held_out][of_class], features[held_out][~of_class])
        found.append(row)
        print(" ".join(f"{name} {value:.4f}" for name, value in row.items()), flush=True)
    print(pd.DataFrame(found).agg(["mean", "min", "max"]).round(4).to_string())


def read(project: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """Return averaged features, (n, channels), and rows of all images."""
    splits = {name: read_split(project / f"data/splits/{name}.csv") for name in SPLITS}
    features = np.concatenate(list(average_features(project / "data/features", splits).values()))
    return features, pd.concat(splits.values(), ignore_index=True)


def learn(features: np.ndarray, train: np.ndarray, validation: np.ndarray) -> TrainingImages:
    known = normalized(features[train]).astype("float16")
    return TrainingImages([], known, np.sort(similarity(features[validation], known)))


def area(known: TrainingImages, inside: np.ndarray, outside: np.ndarray) -> float:
    scores = [similarity(part, known.features) for part in (inside, outside)]
    return float(roc_auc_score(np.repeat([1, 0], [len(inside), len(outside)]), np.concatenate(scores)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
