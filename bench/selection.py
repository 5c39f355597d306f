"""What choosing images to label is worth: python -m tools.select against chance, on images whose labels are known.

    python -m bench.selection [--draws 10]

Run where extract_features has run. Each draw holds a third of all images out, hides the labels of the others but of
100, and asks for more of them, 50 at a time: chosen as tools.select chooses, near-duplicates aside, and at random.
Prints the accuracy on the images held out of a linear probe, mean over the draws and its standard deviation.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import trange

from stages.audit_leakage.near_duplicates import normalized, signed_roots
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.splits import SPLITS, read_split
from stages.shared.probe.linear_probe import fit_probe
from tools.select.choosing import CANDIDATES, choose, margins

FIRST, STEP, LAST = 100, 50, 400  # images with a label
WAYS = ("at random", "chosen")


def main(draws: int) -> None:
    splits = {name: read_split(Path(f"data/splits/{name}.csv")) for name in SPLITS}
    features = np.concatenate(list(average_features(Path("data/features"), splits).values()))
    accuracies = simulate(features, pd.concat(splits.values(), ignore_index=True), draws)
    print(describe(accuracies).to_string())


def simulate(features: np.ndarray, split: pd.DataFrame, draws: int) -> np.ndarray:
    """Return accuracies, (draws, ways, sizes), on (n, channels) `features` of the images of `split`."""
    roots = signed_roots(features)
    directions = normalized(roots - roots.mean(axis=0))
    labels, sizes = split["class_index"].to_numpy(), range(FIRST, LAST + 1, STEP)
    accuracies = np.zeros((draws, len(WAYS), len(sizes)))
    for draw in trange(draws):
        rng = np.random.default_rng(draw)
        held_out, others = np.split(rng.permutation(len(split)), [len(split) // 3])
        for way, name in enumerate(WAYS):
            labelled, pool = others[:FIRST], others[FIRST:]
            for step in range(len(sizes)):
                probe = fit_probe(features[labelled], split.iloc[labelled].reset_index(drop=True), seed=0)
                right = probe.predict(features[held_out]).argmax(axis=1) == labels[held_out]
                accuracies[draw, way, step] = right.mean()
                margin = margins(probe.predict(features[pool]))
                candidates = np.argsort(margin, kind="stable")[: CANDIDATES * STEP]
                asked = np.arange(STEP)  # of the pool, which has no order
                if name == "chosen":
                    asked = candidates[choose(directions[pool[candidates]], margin[candidates], STEP)]
                labelled, pool = np.append(labelled, pool[asked]), np.delete(pool, asked)
    return accuracies


def describe(accuracies: np.ndarray) -> pd.DataFrame:
    """Return a row for each number of labels: of each way the mean accuracy and the deviation of that mean."""
    means, deviations = accuracies.mean(axis=0), accuracies.std(axis=0, ddof=1) / np.sqrt(len(accuracies))
    table = {
        name: [f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in zip(*row, strict=True)]
        for name, *row in zip(WAYS, means, deviations, strict=True)
    }
    return pd.DataFrame(table, index=pd.Index(range(FIRST, LAST + 1, STEP), name="labels"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.selection",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--draws", type=int, default=10)
    main(parser.parse_args().draws)
