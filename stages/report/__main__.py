"""Write a page on the whole run: data, techniques, curves, errors and where the fine-tuned model looks.

The page needs no other file and no network, and runs no script.
"""

import json
from pathlib import Path

import jinja2
import keras
import numpy as np
from pydantic import BaseModel

from stages.report.charts import draw_all
from stages.report.examples import SHOWN, choose_samples, look, show
from stages.report.results import Result, read_results
from stages.shared.evaluation.metrics import reliability
from stages.shared.images import ImagesFolder
from stages.shared.network import environment, model_file
from stages.shared.network.conv_base import Name, Weights
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write
from stages.shared.pipeline.parameters import PartOfSection, read_parameters
from stages.shared.pipeline.splits import read_split
from stages.shared.reporting import sentences

TEMPLATE = Path(__file__).with_name("report.html")


class ConvBase(PartOfSection):
    name: Name
    weights: Weights


class Parameters(BaseModel):
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
    split = json.loads((metrics / "split.json").read_text(encoding="utf-8"))
    leakage = json.loads((metrics / "leakage.json").read_text(encoding="utf-8"))
    results, differences = read_results(metrics, tables, test)
    measured = {model: result.metrics for model, result in results.items()}
    classifier = model_file.load(fine_tuned)
    class_names = classifier.class_names
    looks, cells = look(classifier, results["fine_tuned"].images, folder)
    largest = max(class_names, key=split["images"]["train"].get)
    baseline = split["images"]["test"][largest] / len(test)
    page = (
        templates()
        .get_template(TEMPLATE.name)
        .render(
            names=class_names,
            question=sentences.listed(list(map(sentences.quoted, class_names))),
            images=len(test),
            labels=sentences.LABELS,
            techniques=sentences.TECHNIQUES,
            conv_base=parameters.conv_base,
            image_size=classifier.image_size,
            split=split["images"],
            data=[
                *sentences.describe_data(split, class_names),
                sentences.describe_leakage(leakage, measured, len(test)),
            ],
            samples=choose_samples(train, folder),
            measured=measured,
            accuracies=sentences.describe_accuracies(measured, largest, baseline, len(test)),
            differences=[sentences.describe_difference(**pair) for pair in differences],
            models={model: describe(model, result, class_names, folder) for model, result in results.items()},
            charts=draw_all(results, baseline),
            roc=sentences.describe_roc(measured, class_names),
            precision_recall=sentences.describe_precision_recall(measured),
            looks=looks,
            cells=cells,
        )
    )
    with atomic_write(report) as file:
        file.write_text(page, encoding="utf-8")
    print(f"{report}: {len(page) / 1e6:.1f} MB")
    return [classifier.network]


def describe(model: str, result: Result, class_names: list[str], folder: Path) -> dict:
    """Return the sentences on a model, its confusion matrix and its images."""
    threshold = result.metrics.get("threshold")
    sureness = (
        result.images["confidence"] if threshold is None else abs(result.probabilities[:, 1] - threshold)
    )
    least_sure = result.images.assign(sureness=sureness).sort_values(["sureness", "path"])
    surest = result.images.sort_values(["confidence", "path"], ascending=[False, True])
    matrix = np.array(result.metrics["confusion_matrix"])
    return {
        "curves": sentences.describe_curves(model, result.history),
        "confusions": sentences.describe_confusions(model, matrix, class_names),
        "f1": float(np.mean([found["f1"] for found in result.metrics["per_class"]])),
        "matrix": [
            {"name": name, "cells": [{"images": n, "share": n / row.sum()} for n in row.tolist()]}
            for name, row in zip(class_names, matrix)
        ],
        "calibration": sentences.describe_calibration(
            model, result.metrics, reliability(result.images["class_index"].to_numpy(), result.probabilities)
        ),
        "wrong": show(surest[~surest["right"]].head(SHOWN), folder),
        "uncertain": show(least_sure.head(SHOWN), folder),
    }


def templates() -> jinja2.Environment:
    """Return the page's templates, with every value escaped: names of files and classes may hold anything."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


if __name__ == "__main__":
    run(main, environment=environment.record)
