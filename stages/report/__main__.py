"""Write a page on the whole run: data, techniques, curves, errors and where the fine-tuned model looks.

The page needs no other file and no network, and runs no script.
"""

from operator import itemgetter
from pathlib import Path

import keras

from stages.report.charts import draw_all
from stages.report.examples import choose_samples, look
from stages.report.page import render
from stages.report.results import describe, read_results
from stages.shared.images.reading import ImagesFolder
from stages.shared.network import environment, model_file
from stages.shared.network.conv_base import Name, Weights
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write
from stages.shared.pipeline.json_and_csv import read_json
from stages.shared.pipeline.parameters import PartOfSection, Sections, read_parameters
from stages.shared.pipeline.splits import read_split
from stages.shared.reporting import sentences


class ConvBase(PartOfSection):
    name: Name
    weights: Weights


class Parameters(Sections):
    data: ImagesFolder
    conv_base: ConvBase


def main(*, splits: Path, metrics: Path, tables: Path, fine_tuned: Path, report: Path) -> list[keras.Model]:
    """Write the page and return the network that ran.

    Reads:  splits/{train,test}.csv, the images that they name, metrics/{split,leakage,evaluation}.json,
            metrics/{head,augmented,fine_tuned}_curves.csv, tables/*.csv, the fine-tuned model (.keras)
    Writes: report (.html)
    """
    parameters = read_parameters(Parameters)
    folder = Path(parameters.data.images)
    train, test = (read_split(splits / f"{name}.csv") for name in ("train", "test"))
    split, leakage = read_json(metrics / "split.json"), read_json(metrics / "leakage.json")
    results, differences = read_results(metrics, tables, test)
    measured = {model: result.metrics for model, result in results.items()}
    classifier = model_file.load(fine_tuned)
    class_names, white = classifier.class_names, classifier.image_input.white_16_bit
    looks, cells = look(classifier, results["fine_tuned"].images, folder)
    largest = max(split["per_class"], key=itemgetter("train"))
    baseline = largest["test"] / len(test)
    page = render(
        names=class_names,
        question=sentences.listed(list(map(sentences.quoted, class_names))),
        images=len(test),
        labels=sentences.LABELS,
        techniques=sentences.TECHNIQUES,
        conv_base=parameters.conv_base,
        image_size=classifier.image_input.image_size,
        split=split,
        data=[
            *sentences.describe_data(split),
            sentences.describe_leakage(leakage, measured, len(test)),
        ],
        samples=choose_samples(train, folder, white),
        measured=measured,
        accuracies=sentences.describe_accuracies(measured, largest["class"], baseline, len(test)),
        differences=[sentences.describe_difference(**pair) for pair in differences],
        models={
            model: describe(model, result, class_names, folder, white) for model, result in results.items()
        },
        charts=draw_all(results, baseline),
        roc=sentences.describe_roc(measured, class_names),
        precision_recall=sentences.describe_precision_recall(measured),
        looks=looks,
        cells=cells,
    )
    with atomic_write(report) as file:
        file.write_text(page, encoding="utf-8")
    print(f"{report}: {len(page) / 1e6:.1f} MB")
    return [classifier.network]


if __name__ == "__main__":
    run(main, environment=environment.record)
