"""Find the images whose labels are likely wrong.

Training and validation images are judged together, each by a linear probe that has not learnt from it, and by its
nearest neighbours. Test images are judged apart, by all others: they have no part in what is said of those, and stay
where they are.
What a person has decided on is no suspect.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from stages.audit_labels.audit import FOLDS, SEED, accuracy, ask, choose_known, judge, judge_without_suspects
from stages.audit_labels.confident_learning import find_suspects, self_confidence
from stages.audit_labels.picture import draw
from stages.shared.images.image_folder import ImagesFolder, open_folder
from stages.shared.labels.decisions import CORRECTED, read_decisions
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write, write_json
from stages.shared.pipeline.image_input import White16Bit
from stages.shared.pipeline.json_and_csv import SUSPECTS
from stages.shared.pipeline.parameters import Sections, read_parameters
from stages.shared.pipeline.splits import SHARD_COLUMNS, SPLITS, read_class_names, read_split
from stages.shared.probe.linear_probe import predict_out_of_fold

PROBABILITIES = ["probability_of_label", "probability_of_suggested"]


class Labelled(ImagesFolder):
    labels_corrected: str = Field(min_length=1, description=CORRECTED)


class Parameters(Sections):
    data: Labelled
    white_16_bit: White16Bit


def main(*, splits: Path, features: Path, suspects: Path, metrics: Path, picture: Path) -> None:
    """Judge the labels.

    Reads:  splits/{train,validation,test}.csv, the images that they name, and
            features/{train,validation,test}.npy, each (n, height, width, channels), and the decisions on labels
    Writes: suspects (.csv), the likeliest first, those of the test after the others; metrics (.json): suspects per
            split, and the probes' accuracy with and without them; picture (.png)
    """
    parameters = read_parameters(Parameters)
    tables = {name: read_split(splits / f"{name}.csv").assign(split=name) for name in SPLITS}
    vectors = average_features(features, tables)
    learnt = pd.concat([tables["train"], tables["validation"]], ignore_index=True)
    averages = np.concatenate([vectors["train"], vectors["validation"]])
    labels, names = learnt["class_index"].to_numpy(), read_class_names(learnt)
    decided = read_decisions(Path(parameters.data.labels_corrected)).index
    settled = learnt["sha256"].isin(decided).to_numpy()
    judgement = judge(averages, learnt, settled)
    known = choose_known(np.arange(len(learnt)), judgement.suggested == labels)
    of_test = ask(averages[known], learnt.iloc[known], vectors["test"], len(names))
    suggested = find_suspects(of_test, tables["test"]["class_index"].to_numpy(), judgement.thresholds)
    found = pd.concat(
        [
            tabulate(learnt, judgement.probabilities, judgement.suggested, names),
            tabulate(tables["test"], of_test, suggested, names),
        ]
    )
    found = found[~found["sha256"].isin(decided)]
    counts = found["split"].value_counts()
    report = {
        "suspects": {name: int(counts.get(name, 0)) for name in SPLITS},
        "accuracy": accuracy(predict_out_of_fold(averages, learnt, FOLDS, SEED), labels),
        "accuracy_without_suspects": accuracy(judge_without_suspects(averages, learnt, settled), labels),
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
    images: pd.DataFrame, probabilities: np.ndarray, suggested: np.ndarray, names: list[str]
) -> pd.DataFrame:
    """Return the suspects among `images`, the one whose label is least probable first, with what is said of them."""
    labels = images["class_index"].to_numpy()
    judged = images.assign(
        suggested=[names[index] for index in suggested],
        probability_of_label=self_confidence(probabilities, labels),
        probability_of_suggested=self_confidence(probabilities, suggested),
    )
    return judged[suggested != labels].sort_values(["probability_of_label", "sha256", "path"])


if __name__ == "__main__":
    run(main)
