"""Measure the linear probe and the head on many folds: how good they are, and how sure that is."""

from hashlib import sha256
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from pydantic import Field

from stages.cross_validate.features import read_features
from stages.cross_validate.heads import Heads
from stages.shared.evaluation.metrics import confusion_matrix, loss, share
from stages.shared.evaluation.resampled import FIGURES, MODELS, corrected_interval, corrected_p_value
from stages.shared.network import environment
from stages.shared.network.prediction import predict_classes
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write, write_json
from stages.shared.pipeline.parameters import Section, Sections, read_parameters
from stages.shared.pipeline.splits import read_split
from stages.shared.probe.folds import draw_folds
from stages.shared.probe.linear_probe import fit_probe
from stages.shared.training.fresh_head import FreshHead


class CrossValidation(Section):
    folds: int = Field(ge=2, le=100, description="a whole number of folds from 2 to 100")
    repeats: int = Field(ge=1, le=100, description="a whole number from 1 to 100")
    seed: int = Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")


class Parameters(Sections):
    cross_validation: CrossValidation
    head: FreshHead


def main(*, splits: Path, features: Path, metrics: Path, table: Path) -> list[keras.Model]:
    """Cross-validate and return the network that ran.

    Reads:  splits/{train,validation}.csv, and features/{train,validation}.npy, each (n, height, width, channels)
    Writes: metrics (.json): for probe and head the means over folds with their intervals, and their difference;
            table (.csv): the figures of each fold, and the digest of which images it held out from which
    """
    parameters = read_parameters(Parameters)
    settings, head = parameters.cross_validation, parameters.head
    tables = {name: read_split(splits / f"{name}.csv") for name in ("train", "validation")}
    split = pd.concat(tables.values(), ignore_index=True)
    averages, of_images = read_features(features, tables, head.pooling)
    truth, classes = split["class_index"].to_numpy(), int(split["class_index"].max()) + 1
    heads, rows = None, []
    for repeat, seed in enumerate(np.random.SeedSequence(settings.seed).generate_state(settings.repeats)):
        folds = list(draw_folds(split, settings.folds, int(seed)))
        heads = heads or Heads(of_images, split, head, len(folds))
        of_heads = heads.predict_held_out(folds, (head.seed + repeat) % 2**32)
        for fold, (learning, held_out) in enumerate(folds):
            probe = fit_probe(averages[learning], split.iloc[learning], int(seed))
            of_probe = np.zeros((len(held_out), classes))
            of_probe[:, : probe.classes] = probe.predict(averages[held_out])
            row: dict = {"repeat": repeat, "fold": fold, "learnt": len(learning), "held_out": len(held_out)}
            row["images"] = digest(split, learning, held_out)
            for model, probabilities in zip(MODELS, (of_probe, of_heads[fold]), strict=True):
                row |= {f"{model}_{name}": value for name, value in measure(truth[held_out], probabilities)}
            rows.append(row)
    assert heads
    found = pd.DataFrame(rows)
    with atomic_write(table) as file:
        found.to_csv(file, index=False)
    content = summarize(found, len(split))
    write_json(metrics, content)
    for model in MODELS:
        low, high = content[model]["accuracy_interval"]
        print(
            f"{model}: {content[model]['accuracy']:.3f} of the images right, 95 % interval {low:.3f} to {high:.3f}"
        )
    return [heads.judge]


def measure(truth: np.ndarray, probabilities: np.ndarray) -> list[tuple[str, float]]:
    """Return FIGURES of the images of the class indices `truth`, (n,), and `probabilities`, (n, classes).

    The most probable class counts, without a threshold. F1 is the mean over the classes that are there or are named.
    """
    predicted = predict_classes(probabilities, None)
    confusion = confusion_matrix(truth, predicted, probabilities.shape[1])
    named = confusion.sum(axis=0) + confusion.sum(axis=1)
    f1 = share(2 * confusion.diagonal(), named)[named > 0].mean()
    values = (predicted == truth).mean(), loss(truth, predicted, probabilities), f1
    return list(zip(FIGURES, map(float, values), strict=True))


def digest(split: pd.DataFrame, learning: np.ndarray, held_out: np.ndarray) -> str:
    """Return a SHA-256 of the images and labels of a fold, by which two revisions know that theirs are the same."""
    said = [sorted(split["sha256"].iloc[rows] + split["label"].iloc[rows]) for rows in (learning, held_out)]
    return sha256(repr(said).encode()).hexdigest()


def summarize(folds: pd.DataFrame, images: int) -> dict:
    """Return the means of `folds`, a row a fold, with intervals, and how head and probe differ in accuracy."""
    sizes = folds["learnt"].to_numpy(), folds["held_out"].to_numpy()
    content: dict = {"images": images, "folds": len(folds)}
    for model in MODELS:
        values = {name: folds[f"{model}_{name}"].to_numpy() for name in FIGURES}
        content[model] = {name: float(value.mean()) for name, value in values.items()}
        for name, value in values.items():
            interval = np.clip(corrected_interval(value, *sizes), 0, np.inf if name == "loss" else 1)
            content[model][f"{name}_interval"] = interval.tolist()
    differences = (folds["head_accuracy"] - folds["probe_accuracy"]).to_numpy()
    content["head_minus_probe"] = {
        "accuracy": float(differences.mean()),
        "accuracy_interval": corrected_interval(differences, *sizes),
        "p_value": corrected_p_value(differences, *sizes),
    }
    return content


if __name__ == "__main__":
    run(main, environment=environment.record)
