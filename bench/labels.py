"""How many wrong labels the stage audit_labels finds, and what leaving out its suspects gives back.

    python -m bench.labels [--draws N] [--share SHARE]

In a folder with params.yaml, data/splits and data/features.

In each draw a quarter of all images is held out, with their labels as they are. Of the others a share gets another
label, drawn by lot. Prints a line a draw, then the means over the draws as JSON: of the wrong labels those among as
many that are least probable, the average precision of that order, precision and recall of the suspects; and the
accuracy on the images held out of a linear probe and of the head of params.yaml that have learnt from the labels as
they were, from those with the wrong ones, without the suspects, and without the wrong ones.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from stages.audit_labels.audit import accuracy, judge
from stages.audit_labels.confident_learning import self_confidence
from stages.cross_validate.features import averaged
from stages.cross_validate.heads import Heads
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.parameters import Sections, read_parameters
from stages.shared.pipeline.splits import SPLITS, read_split
from stages.shared.probe.linear_probe import fit_probe
from stages.shared.training.fresh_head import FreshHead

HELD_OUT = 0.25
LEARNERS = "probe", "head"


class Parameters(Sections):
    head: FreshHead


def main(draws: int, share: float) -> None:
    head = read_parameters(Parameters).head
    splits = {name: read_split(Path("data/splits", f"{name}.csv")) for name in SPLITS}
    features = np.concatenate(list(average_features(Path("data/features"), splits).values()))
    images = pd.concat(splits.values(), ignore_index=True)
    found = []
    for seed in range(draws):
        found.append(try_draw(features, images, head, share, seed))
        print(" ".join(f"{name} {value:.4f}" for name, value in found[-1].items()), flush=True)
    means = pd.DataFrame(found).mean()
    given_back = {
        f"{name}_given_back": round(
            (means[f"{name}_without_suspects"] - means[f"{name}_wrong"])
            / (means[f"{name}_clean"] - means[f"{name}_wrong"]),
            3,
        )
        for name in LEARNERS
    }
    print(json.dumps({**means.round(4).to_dict(), **given_back, "draws": draws}, indent=2))


def try_draw(
    features: np.ndarray, images: pd.DataFrame, head: FreshHead, share: float, seed: int
) -> dict[str, float]:
    """Return what is found of labels that are wrong by the draw of `seed`, and the accuracies."""
    rng = np.random.default_rng(seed)
    held_out, learning = np.split(rng.permutation(len(images)), [round(HELD_OUT * len(images))])
    truth, classes = images["class_index"].to_numpy(), images["class_index"].nunique()
    wrong = np.zeros(len(images), bool)
    wrong[rng.choice(learning, round(share * len(learning)), replace=False)] = True
    labels = np.where(wrong, (truth + rng.integers(1, classes, len(images))) % classes, truth)
    labelled = images.assign(class_index=labels)

    judgement = judge(
        features[learning], labelled.iloc[learning].reset_index(drop=True), np.zeros(len(learning), bool)
    )
    suspects, is_wrong = judgement.suggested != labels[learning], wrong[learning]
    confidence = self_confidence(judgement.probabilities, labels[learning])
    found = {
        "among_as_many": is_wrong[np.argsort(confidence, kind="stable")[: is_wrong.sum()]].mean(),
        "average_precision": average_precision_score(is_wrong, -confidence),
        "precision": is_wrong[suspects].mean(),
        "recall": suspects[is_wrong].mean(),
    }
    learnt = {
        "clean": (images, learning),
        "wrong": (labelled, learning),
        "without_suspects": (labelled, learning[~suspects]),
        "without_wrong": (labelled, learning[~is_wrong]),
    }
    for name, (split, rows) in learnt.items():
        probe = fit_probe(features[rows], split.iloc[rows], seed)
        found[f"probe_{name}"] = accuracy(probe.predict(features[held_out]), truth[held_out])
        heads = Heads(averaged(features), split, head, folds=1)
        (state,) = heads.train([rows], seed)
        found[f"head_{name}"] = accuracy(heads.predict(state, held_out), truth[held_out])
    return {name: float(value) for name, value in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.05, help="of the labels that are made wrong")
    main(**vars(parser.parse_args()))
