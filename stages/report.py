"""Write a page on the whole run: data, techniques, curves, errors and where the fine-tuned model looks.

The page needs no other file and no network, and runs no script.
"""

import json
from pathlib import Path
from typing import NamedTuple

import jinja2
import keras
import numpy as np
import pandas as pd
from PIL import Image
from pydantic import BaseModel, Field

from stages.shared import charts, machine, models, sentences
from stages.shared.command import run
from stages.shared.conv_base import Name, Weights
from stages.shared.files import whole
from stages.shared.grad_cam import grad_cam
from stages.shared.images import ImagesFolder, Interpolation, read_pixels
from stages.shared.metrics import precision_recall_curve, reliability
from stages.shared.parameters import PartOfSection, read_parameters
from stages.shared.splits import read_split
from stages.shared.thumbnails import as_uri, overlay, thumbnail

TEMPLATE = Path(__file__).parent / "shared/report.html"
SAMPLES = 60  # sample images, over all classes
SHOWN = 6  # images of each kind


class ConvBase(PartOfSection):
    name: Name
    weights: Weights


class Parameters(BaseModel):
    data: ImagesFolder
    interpolation: Interpolation = Field(description="bilinear or nearest")
    conv_base: ConvBase


class Result(NamedTuple):
    """What there is to tell of one model."""

    metrics: dict  # as in metrics/evaluation.json
    images: pd.DataFrame  # see read_predictions
    probabilities: np.ndarray  # (n, classes) float32
    roc: pd.DataFrame  # as metrics.roc_curve gives it
    history: pd.DataFrame  # as curves.write_epochs writes it


def main(
    train_split: Path,
    test_split: Path,
    split_metrics: Path,
    leakage: Path,
    evaluation: Path,
    tables: Path,
    head_curves: Path,
    augmented_curves: Path,
    fine_tuned_curves: Path,
    fine_tuned: Path,
    report: Path,
    circumstances: Path,
) -> None:
    parameters = read_parameters(Parameters)
    folder = Path(parameters.data.images)
    train, test = read_split(train_split), read_split(test_split)
    split = json.loads(split_metrics.read_text(encoding="utf-8"))
    measured = json.loads(evaluation.read_text(encoding="utf-8"))
    differences = measured.pop("differences")
    results = {
        model: Result(
            metrics,
            *read_predictions(tables / f"{model}_predictions.csv", test),
            pd.read_csv(tables / f"{model}_roc.csv"),
            pd.read_csv(history, index_col="epoch"),
        )
        for (model, metrics), history in zip(
            measured.items(), (head_curves, augmented_curves, fine_tuned_curves)
        )
    }
    classifier, names, _ = models.load(fine_tuned)
    looks, cells = look(classifier, names, results["fine_tuned"].images, folder, parameters.interpolation)
    largest = max(names, key=split["images"]["train"].get)
    baseline = split["images"]["test"][largest] / len(test)
    page = (
        environment()
        .get_template(TEMPLATE.name)
        .render(
            names=names,
            question=sentences.listed(list(map(sentences.quoted, names))),
            images=len(test),
            labels=sentences.LABELS,
            techniques=sentences.TECHNIQUES,
            conv_base=parameters.conv_base,
            image_size=classifier.input_shape[1],
            split=split["images"],
            data=[
                *sentences.describe_data(split, names),
                sentences.describe_leakage(json.loads(leakage.read_text()), measured, len(test)),
            ],
            samples=choose_samples(train, folder),
            measured=measured,
            accuracies=sentences.describe_accuracies(measured, largest, baseline, len(test)),
            differences=[sentences.describe_difference(**pair) for pair in differences],
            models={model: describe(model, result, names, folder) for model, result in results.items()},
            charts=draw(results, baseline),
            roc=sentences.describe_roc(measured, names),
            precision_recall=sentences.describe_precision_recall(measured),
            looks=looks,
            cells=cells,
        )
    )
    with whole(report) as file:
        file.write_text(page, encoding="utf-8")
    machine.record(classifier, circumstances)
    print(f"{report}: {len(page) / 1e6:.1f} MB")


def read_predictions(file: Path, test: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Return what a model predicts for the images of `test`, in their order.

    A table of path, label, class_index, sha256, predicted, predicted_index, confidence (the
    probability of the predicted class), of_label (that of the true one) and right; and
    probabilities, (n, classes) float32.
    """
    text = ["path", "label", "predicted"]
    table = pd.read_csv(file, dtype=dict.fromkeys(text, str), keep_default_na=False)
    probabilities = table.drop(columns=text).to_numpy("float32")
    index = dict(zip(test["label"], test["class_index"]))
    predicted = table["predicted"].map(index)
    images = test.assign(
        predicted=table["predicted"],
        predicted_index=predicted,
        confidence=probabilities[np.arange(len(test)), predicted].astype("float64"),
        of_label=probabilities[np.arange(len(test)), test["class_index"]],
        right=table["predicted"] == table["label"],
    )
    return images, probabilities


def choose_samples(train: pd.DataFrame, folder: Path) -> dict[str, list[dict]]:
    """Return some images of each class, as many of each, in the order of their SHA-256: no one's choice."""
    classes = train["label"].nunique()
    each = min(max(SAMPLES // classes, 1), 5)
    chosen = train.sort_values(["sha256", "path"]).groupby("class_index").head(each)
    chosen = chosen.sort_values("class_index", kind="stable").head(SAMPLES)
    return {
        label: [{"path": image["path"], "uri": thumbnail(image, folder)} for _, image in images.iterrows()]
        for label, images in chosen.groupby("label", sort=False)
    }


def describe(model: str, result: Result, names: list[str], folder: Path) -> dict:
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
        "confusions": sentences.describe_confusions(model, matrix, names),
        "f1": float(np.mean([found["f1"] for found in result.metrics["per_class"]])),
        "matrix": [
            {"name": name, "cells": [{"images": n, "share": n / row.sum()} for n in row.tolist()]}
            for name, row in zip(names, matrix)
        ],
        "calibration": sentences.describe_calibration(
            model, result.metrics, reliability(result.images["class_index"].to_numpy(), result.probabilities)
        ),
        "wrong": show(surest[~surest["right"]].head(SHOWN), folder),
        "uncertain": show(least_sure.head(SHOWN), folder),
    }


def show(images: pd.DataFrame, folder: Path) -> list[dict]:
    """Return the rows of `images` with their thumbnails."""
    return [{**image, "uri": thumbnail(image, folder)} for _, image in images.iterrows()]


def look(
    classifier: keras.Model,
    names: list[str],
    images: pd.DataFrame,
    folder: Path,
    interpolation: Interpolation,
) -> tuple[dict[str, list[dict]], tuple[int, int]]:
    """Return wrong and right images with heat maps, and the size of the maps in cells.

    The surest of each true class in turn, with a map of the predicted class and, where that is
    wrong, one of the true class.
    """
    size = classifier.input_shape[1]
    heat_map = grad_cam(classifier)
    looks = {}
    for kind, chosen in (("wrong", ~images["right"]), ("right", images["right"])):
        surest = images[chosen].sort_values(["confidence", "path"], ascending=[False, True])
        in_turn = surest.groupby("class_index").cumcount().sort_values(kind="stable").index[:SHOWN]
        looks[kind] = []
        for _, image in surest.loc[in_turn].iterrows():
            pixels = read_pixels(folder / image["path"], image["sha256"], size, interpolation)
            heats = []
            for name in dict.fromkeys((image["predicted"], image["label"])):
                heat = heat_map(pixels, names.index(name))
                place = sentences.describe_place(heat)
                heats.append({"name": name, "place": place, "uri": overlay(pixels, heat)})
            looks[kind].append({**image, "uri": as_uri(Image.fromarray(pixels)), "heats": heats})
    return looks, heat.shape


def draw(results: dict[str, Result], baseline: float) -> dict:
    """Return the page's charts as data URIs."""
    measured = {model: result.metrics for model, result in results.items()}
    truth = next(iter(results.values())).images["class_index"].to_numpy()
    histories = {model: result.history for model, result in results.items()}
    precision_recall = {
        model: precision_recall_curve(truth, result.probabilities) for model, result in results.items()
    }
    return {
        "accuracies": charts.draw_accuracies(measured, baseline),
        "learning": charts.draw_learning_curves(histories),
        "roc": charts.draw_curves({model: result.roc for model, result in results.items()}),
        "precision_recall": charts.draw_curves(precision_recall),
        "reliability": {
            model: charts.draw_reliability(model, reliability(truth, result.probabilities))
            for model, result in results.items()
        },
    }


def environment() -> jinja2.Environment:
    """Return an environment in which every value is escaped: names of files and classes may hold anything."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


if __name__ == "__main__":
    run(main)
