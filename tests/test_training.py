"""What a training prints, keeps and writes."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from stages.draw_plots.pictures import draw_learning_curves
from stages.shared.network import model_file
from stages.shared.network.freeze_point import above
from stages.shared.pipeline.arrays import StoredArray, dtype_for
from stages.shared.pipeline.splits import read_split
from stages.shared.training import fit
from stages.shared.training.fit import Training, class_weights, in_turn, read_batches
from stages.shared.training.head import set_temperature
from stages.shared.training.history import write_epochs
from stages.shared.training.optimizer import CosineDecay, RMSprop
from tests.conftest import change, refused, run, shows_something, states, write_array


def measured(model: str, split: str, threshold: float = 0.5, as_trained: bool = True) -> tuple[float, float]:
    """Return accuracy and loss of a saved model on the stored features of `split`, or with its temperature."""
    classifier = model_file.load(Path(model)).network
    if as_trained:
        set_temperature(classifier, 1)
    features = np.load(f"data/features/{split}.npy", allow_pickle=False)
    truth = read_split(Path(f"data/splits/{split}.csv"))["class_index"].to_numpy()
    p = above(classifier, "block5_pool")(features).numpy()[:, 0].astype("float64")
    return ((p > threshold) == truth).mean(), -np.log(np.where(truth == 1, p, 1 - p)).mean()


def test_prints_what_it_trains(extracted, capsys):
    run("train_head")
    printed = capsys.readouterr().out
    assert "dense (Dense)" in printed and "block5_conv3" not in printed
    assert states(printed, "30 before freezing", "4 after it", "block5_pool")
    run("train_augmented", "fine_tune")
    printed = capsys.readouterr().out
    assert "block5_conv1 (Conv2D)" in printed and "block4_conv3" not in printed
    assert states(printed, "30 before freezing", "10 after it", "block4_pool")


def test_metrics_are_those_of_the_last_epoch_and_of_the_saved_model(extracted):
    change(head__epochs=3)
    run("train_head")
    metrics = json.loads(Path("metrics/head.json").read_text())
    curves = pd.read_csv("metrics/head_curves.csv", index_col="epoch")
    assert list(curves.index) == [1, 2, 3] and metrics.pop("epoch") == 3
    threshold, at_threshold = metrics.pop("threshold"), metrics.pop("validation_accuracy_at_threshold")
    assert model_file.load(Path("data/models/head.keras")).rule.threshold == threshold
    assert at_threshold == measured("data/models/head.keras", "validation", threshold, as_trained=False)[0]
    assert at_threshold >= metrics["validation_accuracy"]
    assert metrics.pop("temperature") != 1
    assert (
        metrics
        == curves.loc[3, ["train_accuracy", "validation_accuracy", "train_loss", "validation_loss"]].to_dict()
    )
    found = metrics["validation_accuracy"], metrics["validation_loss"]
    assert found == pytest.approx(measured("data/models/head.keras", "validation"), rel=1e-5)


def test_metrics_are_means_over_all_images_of_an_epoch(extracted):
    """Not over batches, the last of which is smaller, and not of the last batch alone."""
    change(head__epochs=2, head__batch_size=5, head__dropout=0.0, head__learning_rate=1e-12)
    run("train_head")
    metrics = json.loads(Path("metrics/head.json").read_text())
    for split in ("train", "validation"):
        found = metrics[f"{split}_accuracy"], metrics[f"{split}_loss"]
        assert found == pytest.approx(measured("data/models/head.keras", split), rel=1e-5), split


def test_early_stopping_keeps_the_best_epoch(extracted):
    change(head__epochs=30, head__patience_epochs=2, head__learning_rate=0.02, head__pooling="flatten")
    run("train_head")
    curves = pd.read_csv("metrics/head_curves.csv", index_col="epoch")
    best = int(curves["validation_loss"].to_numpy().argmin()) + 1
    assert len(curves) < 30 and best == len(curves) - 2
    metrics = json.loads(Path("metrics/head.json").read_text())
    assert metrics["epoch"] == best and metrics["validation_loss"] == curves["validation_loss"].min()
    _, loss = measured("data/models/head.keras", "validation")
    assert loss == pytest.approx(metrics["validation_loss"], rel=1e-4)


@pytest.mark.parametrize("pooling, inputs", [("flatten", 2048), ("average", 512)])
def test_pooling(extracted, pooling, inputs):
    change(head__pooling=pooling)
    run("train_head")
    classifier, names, *_ = model_file.load(Path("data/models/head.keras"))
    assert classifier.get_layer("dense").kernel.shape == (inputs, 8)
    assert names == ["apple", "pear"]
    assert classifier.count_params() == 14_714_688 + inputs * 8 + 8 + 8 + 1


def test_features_of_another_image_size_are_refused(extracted):
    change(image_size=96)
    with refused("data/features/train.npy", 14, "(2, 2, 512)", "image_size", "(3, 3, 512)", "dvc repro"):
        run("train_head")
    assert not Path("data/models/head.keras").exists()


def test_a_training_that_diverges_is_an_error(extracted):
    features = np.load("data/features/train.npy", allow_pickle=False)
    features[..., 0] = np.inf
    write_array(Path("data/features/train.npy"), features)
    change(head__learning_rate=0.5)
    with refused("epoch 1", "learning_rate", 0.5):
        run("train_head")
    assert not Path("data/models/head.keras").exists()


@pytest.mark.parametrize("arithmetic", ["bfloat16", "float16", "float32"])
def test_the_base_computes_as_it_did_for_the_features(extracted, arithmetic):
    """Also where they are those of a colleague, whose machine has another precision."""
    for file in Path("data/features").glob("*.npy"):
        features = np.load(file, allow_pickle=False).astype(dtype_for(arithmetic))
        write_array(file, features, precision=arithmetic)
    change(conv_base__precision="auto")
    run("train_head")
    classifier = model_file.load(Path("data/models/head.keras")).network
    assert classifier.get_layer("block1_conv1").compute_dtype == arithmetic
    environment = json.loads(Path("data/environment/train_head.json").read_text())
    assert arithmetic in environment["precision"]


def test_class_weights_are_those_of_scikit_learn():
    labels = np.array([0, 0, 0, 1, 2, 2])
    training = Training(
        learning_rate=1,
        decay="none",
        batch_size=1,
        epochs=1,
        patience_epochs=None,
        class_weights="balanced",
        threshold_for="accuracy",
        seed=0,
    )
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights(labels, training) == pytest.approx(expected)
    assert (class_weights(labels, training.model_copy(update={"class_weights": "none"})) == 1).all()


def test_class_weights_change_what_is_learnt(extracted):
    run("train_head")
    plain = Path("data/models/head.keras").read_bytes()
    table = pd.read_csv("data/splits/train.csv")
    table.iloc[:9].to_csv("data/splits/train.csv", index=False)
    write_array(Path("data/features/train.npy"), np.load("data/features/train.npy")[:9])
    run("train_head")
    unbalanced = Path("data/models/head.keras").read_bytes()
    change(head__class_weights="balanced")
    run("train_head")
    assert Path("data/models/head.keras").read_bytes() not in (plain, unbalanced)


@pytest.mark.parametrize(("ahead", "shapes"), [(1, [(1, 3), (1, 3), (1, 1)]), (2**23, [(2, 3), (1, 1)])])
def test_epoch_e_reads_view_e_mod_views_and_every_row_once(tmp_path, monkeypatch, ahead, shapes):
    monkeypatch.setattr(fit, "AHEAD", ahead)
    write_array(tmp_path / "views.npy", np.arange(3 * 7).reshape(3, 7, 1), leading=2)
    views = StoredArray(tmp_path / "views.npy", 7, (1,))
    orders = []
    for epoch in range(5):
        batches = list(read_batches(views, np.arange(7), 3, epoch, seed=5))
        assert [labels.shape for _, labels in batches] == shapes
        assert [images.shape for images, _ in batches] == [(*shape, 1) for shape in shapes]
        rows = np.concatenate([images.ravel() for images, _ in batches])
        labels = np.concatenate([labels.ravel() for _, labels in batches])
        assert (rows == (epoch % 3) * 7 + labels).all() and sorted(labels) == list(range(7))
        orders.append(tuple(labels))
    assert len(set(orders)) == 5


@pytest.mark.slow
@pytest.mark.parametrize("decay", ["none", "cosine"])
def test_batches_at_a_time_are_steps_of_keras(decay):
    """To the bit, in order, each with a dropout of its own, whatever their number and size."""
    drawn = np.random.default_rng(0)
    images, truth = drawn.random((97, 4, 9), "float32"), drawn.integers(0, 2, (97, 4, 1))
    weights = np.ones((97, 4), "float32")

    def model(schedule: Callable) -> keras.Model:
        keras.utils.set_random_seed(0)
        pixels = keras.Input((9,))
        hidden = keras.layers.Dropout(0.5, seed=1)(keras.layers.Dense(600)(pixels))
        made = keras.Model(pixels, keras.layers.Dense(1, "sigmoid")(hidden))
        optimizer = RMSprop(schedule(0.1, 98) if decay == "cosine" else 0.1)
        made.compile(optimizer, "binary_crossentropy", metrics=["accuracy"], jit_compile=False)
        optimizer.build(made.trainable_variables)
        made.compute_metrics(None, truth[0], truth[0])
        return made

    ours, theirs = model(CosineDecay), model(keras.optimizers.schedules.CosineDecay)
    parts = [tf.TensorSpec((None, None, *kind.shape[2:]), kind.dtype) for kind in (images, truth, weights)]
    steps = in_turn(ours.train_step, *parts)
    for some in (slice(0, 60), slice(60, 97)):
        steps(images[some], truth[some], weights[some])
    steps(images[:1, :3], truth[:1, :3], weights[:1, :3])
    step = tf.function(theirs.train_step, reduce_retracing=True)
    for batch in (*zip(images, truth, weights, strict=True), (images[0, :3], truth[0, :3], weights[0, :3])):
        step(batch)
    for one, other in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    assert ours.get_metrics_result() == theirs.get_metrics_result()


def test_metrics_and_curves_can_be_read_after_every_epoch(extracted, monkeypatch):
    seen = []

    def write(history, kept, metrics, table):
        write_epochs(history, kept, metrics, table)
        seen.append((json.loads(metrics.read_text())["epoch"], len(pd.read_csv(table))))

    monkeypatch.setattr("stages.shared.training.classifier.write_epochs", write)
    run("train_head")
    assert seen == [(1, 1), (2, 2)]


def test_curves_are_smoothed_as_in_the_notebook(tmp_path):
    values = np.random.default_rng(0).random((6, 4))
    columns = ["train_accuracy", "validation_accuracy", "train_loss", "validation_loss"]
    write_epochs(pd.DataFrame(values, columns=columns), 4, tmp_path / "m.json", tmp_path / "c.csv")
    draw_learning_curves(pd.read_csv(tmp_path / "c.csv", index_col="epoch"), tmp_path / "c.png")
    assert json.loads((tmp_path / "m.json").read_text()) == {
        "epoch": 4,
        **dict(zip(columns, values[3], strict=True)),
    }
    table = pd.read_csv(tmp_path / "c.csv", index_col="epoch")
    for column, points in zip(columns, values.T, strict=True):
        smoothed = []
        for point in points:
            smoothed.append(smoothed[-1] * 0.8 + point * 0.2 if smoothed else point)
        assert table[column].tolist() == points.tolist()
        assert table[f"{column}_smoothed"].tolist() == pytest.approx(smoothed)
    assert shows_something(tmp_path / "c.png")


@pytest.mark.parametrize("decay", ["none", "cosine"])
@pytest.mark.slow
def test_the_optimizer_gives_the_weights_of_keras(decay):
    def trained(optimizer: type[keras.optimizers.RMSprop]) -> list[np.ndarray]:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(4), keras.layers.Dense(1)])
        rate = keras.optimizers.schedules.CosineDecay(1e-2, 50) if decay == "cosine" else 1e-2
        model.compile(optimizer(rate), loss="mse")
        drawn = np.random.default_rng(0)
        for _ in range(50):
            model.train_on_batch(drawn.normal(size=(8, 9)), drawn.normal(size=(8, 1)))
        return model.get_weights()

    for ours, theirs in zip(trained(RMSprop), trained(keras.optimizers.RMSprop), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
