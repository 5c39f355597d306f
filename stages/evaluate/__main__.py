"""Measure the three models on the test split, and write down what each says of every image.

The models see what is stored for the test images: their features for head and augmented, their
activations at the freeze point for fine_tuned.
"""

from itertools import combinations
from pathlib import Path

from stages.evaluate.answers import measure_answers
from stages.evaluate.predictions import predict_once, tabulate
from stages.shared.evaluation.curves import roc_curve
from stages.shared.evaluation.intervals import mcnemar
from stages.shared.evaluation.metrics import accuracy_without, evaluate_predictions
from stages.shared.network import environment
from stages.shared.network.conv_base import BaseName
from stages.shared.network.freeze_point import FreezePoint
from stages.shared.network.prediction import predict_classes
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write, write_json
from stages.shared.pipeline.json_and_csv import NEAR_DUPLICATES, read_table
from stages.shared.pipeline.model_archive import check_metadata, read_archive
from stages.shared.pipeline.parameters import Sections, read_parameters
from stages.shared.pipeline.splits import read_split
from stages.shared.store.results import Store


class Parameters(Sections):
    conv_base: BaseName
    fine_tune: FreezePoint
    store: Store


def main(
    *,
    test_split: Path,
    features: Path,
    activations: Path,
    near_duplicates: Path,
    models: Path,
    metrics: Path,
    tables: Path,
) -> list[dict]:
    """Evaluate and return the three networks' config.json.

    Reads:  the test split and near-duplicates (.csv), features and activations of its images (.npy),
            each (n, height, width, channels), models/{head,augmented,fine_tuned}.keras
    Writes: metrics (.json), tables/{head,augmented,fine_tuned}_{predictions,roc}.csv
    """
    parameters = read_parameters(Parameters)
    test = read_split(test_split)
    truth = test["class_index"].to_numpy()
    duplicated = test["path"].isin(read_table(near_duplicates, NEAR_DUPLICATES)["path"])
    through = parameters.fine_tune.layer(parameters.conv_base.name)
    table = (  # a model, what is stored of the test images, and the layer whose outputs that are: below the head
        ("head", features, None),
        ("augmented", features, None),
        ("fine_tuned", activations, through),
    )
    measured, right, configs, from_store = {}, {}, [], 0
    for name, outputs, layer in table:
        file = models / f"{name}.keras"
        archive = read_archive(file)
        metadata = check_metadata(file, archive["metadata.json"])
        class_names, threshold = metadata.class_names, metadata.threshold
        configs.append(archive["config.json"])
        probabilities, typicality, known = predict_once(file, layer, test, outputs, parameters.store)
        from_store += known
        predicted = predict_classes(probabilities, threshold)
        right[name] = predicted == truth
        measured[name] = evaluate_predictions(truth, probabilities, class_names, threshold)
        measured[name] |= measure_answers(truth, predicted, probabilities, typicality, metadata)
        without = accuracy_without(duplicated.to_numpy(), right[name])
        measured[name]["accuracy_without_near_duplicates"] = without
        predictions = tabulate(test, predicted, probabilities, class_names)
        for kind, rows in (("predictions", predictions), ("roc", roc_curve(truth, probabilities))):
            with atomic_write(tables / f"{name}_{kind}.csv") as file:
                rows.to_csv(file, index=False)
    differences = [
        {"after": after, "before": before, **mcnemar(right[before], right[after])}
        for before, after in combinations(measured, 2)
    ]
    write_json(metrics, {**measured, "differences": differences})
    print(f"{metrics}, {tables}: {len(test)} test images, seen by 3 models; {from_store} from the store")
    return configs


if __name__ == "__main__":
    run(main, environment=environment.record_saved)
