"""Cross-validation: its figures, heads as train_head trains them, and intervals that allow for shared images."""

import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

from stages.cross_validate.features import averaged, stored
from stages.cross_validate.heads import Heads
from stages.shared.evaluation.resampled import corrected_interval, corrected_p_value
from stages.shared.network.prediction import predict_stored
from stages.shared.pipeline.splits import read_split
from stages.shared.probe.folds import draw_folds
from stages.shared.probe.linear_probe import fit_probe
from stages.shared.store.results import Store
from stages.shared.training.fit import Examples, train_above
from stages.shared.training.fresh_head import FreshHead
from stages.shared.training.head import add_head
from tests.conftest import change, refused, run, states, write_array, write_set
from tools import compare

HEAD = {
    "pooling": "average",
    "units": 4,
    "dropout": 0.5,
    "learning_rate": 0.01,
    "decay": "none",
    "batch_size": 8,
    "epochs": 3,
    "patience_epochs": None,
    "class_weights": "none",
    "threshold_for": "accuracy",
    "seed": 3,
}


def test_an_interval_by_hand():
    """Variance 0.0125 / 3, times 1/4 + 20/80; the quantile of Student's distribution of 3 degrees is 3.1824."""
    values, learnt, held_out = np.array([0.8, 0.9, 0.85, 0.95]), np.full(4, 80), np.full(4, 20)
    found = corrected_interval(values, learnt, held_out)
    assert found == pytest.approx([0.72974, 1.02026], abs=1e-5)


def test_a_p_value_by_hand():
    """t = 0.01 / sqrt(0.0008 / 3 / 2) = 0.866, of which 3 degrees leave 1 - 2 (0.4 + atan 0.5) / pi."""
    sizes = np.full(4, 80), np.full(4, 20)
    assert corrected_p_value(np.array([0.01, 0.03, -0.01, 0.01]), *sizes) == pytest.approx(0.450184, abs=1e-6)
    assert corrected_p_value(np.zeros(4), *sizes) == 1
    assert corrected_p_value(np.full(4, 0.5), *sizes) == 0


@pytest.mark.parametrize(
    "classes, changes",
    [
        (2, {"decay": "cosine", "class_weights": "balanced"}),
        (3, {"pooling": "flatten", "patience_epochs": 1, "learning_rate": 0.3, "epochs": 9}),
    ],
)
def test_a_head_of_a_fold_is_the_one_that_train_head_would_train(workspace, classes, changes):
    split, values = write_set(classes, train=50, validation=23)
    head = FreshHead(**HEAD | changes)
    tables = {name: read_split(Path(f"data/splits/{name}.csv")) for name in ("train", "validation")}
    features = (
        averaged(values.mean(axis=(1, 2)))
        if head.pooling == "average"
        else stored(Path("data/features"), tables)
    )
    folds = list(draw_folds(split, 3, seed=1))
    heads = Heads(features, split, head, len(folds))
    heads.predict_held_out(folds, seed=7)  # leaves nothing behind
    for (learning, held_out), found in zip(folds, heads.predict_held_out(folds, head.seed), strict=True):
        parts = {"learning": learning, "watched": held_out, "held out": held_out}
        if head.patience_epochs:
            inner = next(draw_folds(split.iloc[learning], 5, head.seed))
            parts |= {"learning": learning[inner[0]], "watched": learning[inner[1]]}
        for name, rows in parts.items():
            write_array(Path(f"{name}.npy"), values[rows])
        learnt, watched, judged = (
            Examples(split.iloc[rows], Path(f"{name}.npy")) for name, rows in parts.items()
        )
        outputs = keras.Input((2, 2, 6), name="outputs")
        network = add_head(keras.Model(outputs, outputs), head, classes, head.seed)
        store = Store(folder="store", gigabytes=0)
        trained = train_above(network, "outputs", learnt, watched, head, store, lambda history, kept: None)
        if head.patience_epochs:
            assert trained.epochs < head.epochs
        np.testing.assert_allclose(
            found, predict_stored(network, "outputs", *judged).probabilities, atol=1e-5
        )


def test_figures_are_those_of_the_held_out_images(workspace):
    split, values = write_set(3, train=40, validation=20)
    change(cross_validation__folds=2, cross_validation__repeats=2, head__batch_size=10)
    run("cross_validate")
    content = (
        Path("metrics/cross_validation.json").read_bytes(),
        Path("metrics/cross_validation.csv").read_bytes(),
    )
    metrics, table = json.loads(content[0]), pd.read_csv("metrics/cross_validation.csv")
    assert (metrics["images"], metrics["folds"], len(table)) == (60, 4, 4)
    assert table["held_out"].tolist() == [30] * 4 and table["learnt"].tolist() == [30] * 4
    assert table["images"].is_unique
    averages, row = values.mean(axis=(1, 2)), 0
    for seed in np.random.SeedSequence(0).generate_state(2):
        for learning, held_out in draw_folds(split, 2, int(seed)):
            said = fit_probe(averages[learning], split.iloc[learning], int(seed)).predict(averages[held_out])
            truth, predicted = split["class_index"][held_out], said.argmax(axis=1)
            expected = (
                accuracy_score(truth, predicted),
                log_loss(truth, said),
                f1_score(truth, predicted, average="macro"),
            )
            found = [table[f"probe_{name}"][row] for name in ("accuracy", "loss", "f1")]
            assert found == pytest.approx(expected, rel=1e-6)
            row += 1
    for name in ("accuracy", "loss", "f1"):
        column = np.array(table[f"head_{name}"])
        assert metrics["head"][name] == pytest.approx(np.mean(column))
        half = 3.182446 * np.sqrt((1 / 4 + 1) * np.var(column, ddof=1))
        ends = np.mean(column) - half, np.mean(column) + half
        expected = np.clip(ends, 0, np.inf if name == "loss" else 1)  # no more than all can be right
        assert metrics["head"][f"{name}_interval"] == pytest.approx(expected.tolist())
    run("cross_validate")
    assert content == (
        Path("metrics/cross_validation.json").read_bytes(),
        Path("metrics/cross_validation.csv").read_bytes(),
    )


def test_a_class_that_is_held_out_as_a_whole(workspace):
    """All images of class 1 are one group: some fold learns nothing of them, and gets them wrong."""
    write_set(2, train=40, validation=20)
    for name in ("train", "validation"):
        table = pd.read_csv(f"data/splits/{name}.csv")
        groups = [f"{row}" if label == 0 else "b" for row, label in enumerate(table["class_index"])]
        table.assign(group=groups).to_csv(f"data/splits/{name}.csv", index=False)
    change(head__class_weights="balanced")
    run("cross_validate")
    table = pd.read_csv("metrics/cross_validation.csv")
    assert len(table) == 2 and table["probe_accuracy"].min() < 0.5 and np.isfinite(table["head_loss"]).all()


def test_a_head_that_diverges_is_an_error(workspace):
    write_set(2, train=20, validation=10)
    values = np.load("data/features/train.npy", allow_pickle=False)
    values[..., 0] = np.inf
    write_array(Path("data/features/train.npy"), values)
    change(head__learning_rate=0.5)
    with refused("diverged", "head.learning_rate", 0.5):
        run("cross_validate")
    assert not Path("metrics").exists()


def folds(*accuracies: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "images": list("abcd"),
            "learnt": 80,
            "held_out": 20,
            "probe_accuracy": accuracies,
            "head_accuracy": 0.5,
        }
    )


def test_revisions_are_paired_fold_by_fold():
    before = folds(0.8, 0.9, 0.7, 0.6)
    of_probe, of_head = compare.describe_folds(before, folds(0.81, 0.93, 0.69, 0.61))
    assert states(of_probe, "0.750", "0.760", "+0.010", "p = 0.45", "4 folds", "no evidence")
    assert states(of_head, "0.500", "the same", "4 folds")
    of_probe, _ = compare.describe_folds(before, folds(0.7, 0.81, 0.6, 0.51))
    assert states(of_probe, "0.655", "-0.095", "more than chance")
    (other,) = compare.describe_folds(before, before.assign(images=list("abcx")))
    assert states(other, "no pairing")
