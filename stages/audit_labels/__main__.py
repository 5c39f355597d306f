"""Find the images whose labels are likely wrong.

Training and validation images are judged together, each by linear probes that have not learnt from it. Test images
are judged apart, by a probe of all others: they have no part in what is said of those, and stay where they are.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.audit_labels.audit import FOLDS, SEEDS, accuracy, judge, judge_without_suspects
from stages.audit_labels.confident_learning import find_suspects, mean_confidence, self_confidence
from stages.audit_labels.picture import draw
from stages.shared.images.image_folder import ImagesFolder, open_folder
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write, write_json
from stages.shared.pipeline.image_input import White16Bit
from stages.shared.pipeline.json_and_csv import SUSPECTS
from stages.shared.pipeline.parameters import Sections, read_parameters
from stages.shared.pipeline.splits import SHARD_COLUMNS, SPLITS, read_class_names, read_split
from stages.shared.probe.linear_probe import fit_probe

PROBABILITIES = ["probability_of_label", "probability_of_suggested"]


class Parameters(Sections):
    data: ImagesFolder
    white_16_bit: White16Bit


def main(*, splits: Path, features: Path, suspects: Path, metrics: Path, picture: Path) -> None:
    """Judge the labels.

    Reads:  splits/{train,validation,test}.csv, the images that they name, and
            features/{train,validation,test}.npy, each (n, height, width, channels)
    Writes: suspects (.csv), the likeliest first, those of the test after the others; metrics (.json): suspects per
            split, and the probes' accuracy with and without them; picture (.png)
    """
    parameters = read_parameters(Parameters)
    tables = {name: read_split(splits / f"{name}.csv").assign(split=name) for name in SPLITS}
    vectors = average_features(features, tables)
    learnt = pd.concat([tables["train"], tables["validation"]], ignore_index=True)
    averages = np.concatenate([vectors["train"], vectors["validation"]])
    labels, names = learnt["class_index"].to_numpy(), read_class_names(learnt)
    judgements = judge(averages, learnt)
    probabilities = judgements.mean(axis=0)
    thresholds = mean_confidence(probabilities, labels)
    of_test = fit_probe(averages, learnt, SEEDS[0]).predict(vectors["test"])
    found = pd.concat(
        [
            tabulate(learnt, probabilities, thresholds, names),
            tabulate(tables["test"], of_test, thresholds, names),
        ]
    )
    counts = found["split"].value_counts()
    report = {
        "suspects": {name: int(counts.get(name, 0)) for name in SPLITS},
        "accuracy": accuracy(judgements, labels),
        "accuracy_without_suspects": accuracy(judge_without_suspects(averages, learnt), labels),
    }

    with atomic_write(suspects) as file:
        columns = [*SUSPECTS, *PROBABILITIES, *(name for name in SHARD_COLUMNS if name in found)]
        found[columns].to_csv(file, index=False)
    write_json(metrics, report)
    draw(found, open_folder(parameters.data.images), parameters.white_16_bit, picture)
    print(
        f"{suspects}, {metrics}, {picture}: {len(found) - counts.get('test', 0)} of {len(learnt)} labels in train and "
        f"validation look wrong, {counts.get('test', 0)} of {len(tables['test'])} in test; accuracy of a linear "
        f"probe, {FOLDS} folds, {report['accuracy']:.3f}, and {report['accuracy_without_suspects']:.3f} where it "
        "learns from no suspects"
    )


def tabulate(
    images: pd.DataFrame, probabilities: np.ndarray, thresholds: np.ndarray, names: list[str]
) -> pd.DataFrame:
    """Return the suspects among `images`, the one whose label is least probable first, with what is said of them."""
    labels = images["class_index"].to_numpy()
    suggested = find_suspects(probabilities, labels, thresholds)
    judged = images.assign(
        suggested=[names[index] for index in suggested],
        probability_of_label=self_confidence(probabilities, labels),
        probability_of_suggested=self_confidence(probabilities, suggested),
    )
    return judged[suggested != labels].sort_values(["probability_of_label", "sha256", "path"])


if __name__ == "__main__":
    run(main)
