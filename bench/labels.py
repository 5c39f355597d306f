"""How many wrong labels the stage audit_labels finds, and what leaving out its suspects gives back.

    python -m bench.labels [--draws N] [--share SHARE]      in a folder with data/splits and data/features

In each draw a quarter of all images is held out, with their labels as they are. Of the others a share gets another
label, drawn by lot. Prints a line a draw, then the means over the draws as JSON: of the wrong labels those among as
many that are least probable, the average precision of that order, precision and recall of the suspects; and the
accuracy on the images held out of a linear probe that has learnt from the labels as they were, from those with the
wrong ones, without the suspects, and without the wrong ones.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from stages.audit_labels.audit import accuracy, judge
from stages.audit_labels.confident_learning import self_confidence
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.splits import SPLITS, read_split
from stages.shared.probe.linear_probe import fit_probe

HELD_OUT = 0.25


def main(draws: int, share: float) -> None:
    splits = {name: read_split(Path("data/splits", f"{name}.csv")) for name in SPLITS}
    features = np.concatenate(list(average_features(Path("data/features"), splits).values()))
    images = pd.concat(splits.values(), ignore_index=True)
    found = []
    for seed in range(draws):
        found.append(try_draw(features, images, share, seed))
        print(" ".join(f"{name} {value:.4f}" for name, value in found[-1].items()), flush=True)
    means = pd.DataFrame(found).mean()
    cost, gained = means["clean"] - means["wrong"], means["without_suspects"] - means["wrong"]
    print(
        json.dumps(
            {**means.round(4).to_dict(), "given_back": round(gained / cost, 3), "draws": draws}, indent=2
        )
    )


def try_draw(features: np.ndarray, images: pd.DataFrame, share: float, seed: int) -> dict[str, float]:
    """Return what is found of labels that are wrong by the draw of `seed`, and the accuracies."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    held_out, learning = np.split(order, [round(HELD_OUT * len(images))])
    split, vectors = images.iloc[learning].reset_index(drop=True), features[learning]
    truth, classes = split["class_index"].to_numpy(), images["class_index"].nunique()
    wrong = np.zeros(len(split), bool)
    wrong[rng.choice(len(split), round(share * len(split)), replace=False)] = True
    labels = np.where(wrong, (truth + rng.integers(1, classes, len(split))) % classes, truth)

    def learn(rows: np.ndarray, labels: np.ndarray) -> float:
        probe = fit_probe(vectors[rows], split[rows].assign(class_index=labels[rows]), seed)
        return accuracy(probe.predict(features[held_out]), images["class_index"].to_numpy()[held_out])

    every = np.ones(len(split), bool)
    judgement = judge(vectors, split.assign(class_index=labels), ~every)
    suspects = judgement.suggested != labels
    confidence = self_confidence(judgement.probabilities, labels)
    return {
        "among_as_many": float(wrong[np.argsort(confidence, kind="stable")[: wrong.sum()]].mean()),
        "average_precision": float(average_precision_score(wrong, -confidence)),
        "precision": float(wrong[suspects].mean()),
        "recall": float(suspects[wrong].mean()),
        "clean": learn(every, truth),
        "wrong": learn(every, labels),
        "without_suspects": learn(~suspects, labels),
        "without_wrong": learn(~wrong, labels),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.05, help="of the labels that are made wrong")
    main(**vars(parser.parse_args()))
