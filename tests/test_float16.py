"""A base in float16, which older GPUs multiply fast; a processor gives the same numbers, to rounding."""

import json
import shutil
from contextlib import chdir
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from stages.shared.extraction.work import ExtractionParameters, OwnPrecision, fingerprint_passes
from stages.shared.images.image_folder import open_folder
from stages.shared.images.reading import read_blocks
from stages.shared.network import model_file
from stages.shared.network.conv_base import build
from stages.shared.network.freeze_point import above
from stages.shared.network.inference import compiled
from stages.shared.pipeline.arrays import read_precision
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.pipeline.splits import read_split
from stages.shared.store.results import Store
from stages.shared.training.fit import Examples, Training, train_above
from tests.conftest import SIZE, change, image_input, run, search, write_array
from tests.test_exactness import WEIGHTS

FINE_TUNED = Path("data/models/fine_tuned.keras")


@pytest.fixture(scope="module")
def in_float16_once(trained, tmp_path_factory) -> Path:
    """What `trained` is, computed in float16, with a store."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("float16") / "project", symlinks=True)
    with chdir(folder):
        change(conv_base__precision="float16", store__gigabytes=1, store__folder="store")
        change(fine_tune__decay="none")
        run("extract_features", "extract_views", "train_head", "train_augmented", "fine_tune", "evaluate")
    return folder


@pytest.fixture
def in_float16(in_float16_once, monkeypatch) -> None:
    monkeypatch.chdir(in_float16_once)


def test_arrays_and_models_are_of_float16(in_float16):
    arrays = sorted(Path("data").glob("**/*.npy"))
    assert len(arrays) == 10
    for file in arrays:
        assert np.load(file).dtype == read_precision(file) == "float16", file
    for name in ("head", "augmented", "fine_tuned"):
        network = model_file.load(Path(f"data/models/{name}.keras")).network
        dtypes = {layer.name: layer.compute_dtype for layer in network.layers if layer.weights}
        assert dtypes.pop("dense") == dtypes.pop("scores") == "float32" and len(dtypes) == 13
        assert set(dtypes.values()) == {"float16"}
    assert json.loads(Path("data/environment/fine_tune.json").read_text())["precision"] == [
        "float16",
        "float32",
    ]


def test_trunk_and_top_are_the_whole_to_the_bit(in_float16):
    network, split = model_file.load(FINE_TUNED).network, read_split(Path("data/splits/test.csv"))
    _, pixels = next(read_blocks(split, open_folder("images"), image_input()))
    stored = np.load("data/activations/test.npy")
    padded = np.concatenate([stored, np.repeat(stored[-1:], len(pixels) - len(stored), axis=0)])
    (whole,), (top,) = compiled(network)(pixels), compiled(above(network, "block4_pool"))(padded)
    assert np.ptp(whole[: len(split)]) > 0
    np.testing.assert_array_equal(whole, top)
    told = pd.read_csv("data/evaluation/fine_tuned_predictions.csv")
    np.testing.assert_array_equal(told.iloc[:, -1].astype("float32"), whole[: len(split), 0])


def test_the_store_keeps_float16_and_bfloat16_apart(in_float16):
    """Both are stored in float16."""
    base, parameters = build("vgg16", SIZE), read_parameters(ExtractionParameters)
    settings = (
        parameters.conv_base.model_copy(update={"precision": name}) for name in ("float16", "bfloat16")
    )
    keys = [
        fingerprint_passes(
            base, WEIGHTS, OwnPrecision(base), parameters.model_copy(update={"conv_base": one})
        )
        for one in settings
    ]
    assert keys[0] != keys[1]


def test_a_fine_tuning_goes_on_with_the_scale_of_its_loss(in_float16, capsys):
    change(fine_tune__epochs=3)
    run("fine_tune")
    assert search(r"(\d) of 3 epochs from the store", capsys.readouterr().out)[1] == "1"
    resumed = FINE_TUNED.read_bytes()
    change(store__gigabytes=0)
    run("fine_tune")
    assert FINE_TUNED.read_bytes() == resumed
    change(fine_tune__epochs=1, store__gigabytes=1)


def trained_network(folder: Path, gradient: float, rate: float, epochs: int) -> list[tuple]:
    """Train a convolution in float16 whose outputs have gradients of about that size, a step an epoch.

    Returns each weight as it was and as it is.
    """
    keras.utils.set_random_seed(0)
    images = keras.Input((4, 4, 3))
    x = layers.Conv2D(4, 3, dtype="mixed_float16")(layers.Identity(name="through")(images))
    x = layers.Flatten(dtype="float32")(x)
    outputs = layers.Dense(1, "sigmoid", kernel_initializer=keras.initializers.Constant(gradient))(x)
    network = keras.Model(images, outputs)
    before = [weight.numpy() for weight in network.weights]
    write_array(folder / "stored.npy", np.random.default_rng(0).normal(size=(12, 4, 4, 3)).astype("float16"))
    examples = Examples(pd.DataFrame({"class_index": [0, 1] * 6}), folder / "stored.npy")
    training = Training(
        learning_rate=rate,
        decay="none",
        batch_size=12,
        epochs=epochs,
        patience_epochs=None,
        class_weights="none",
        threshold_for="accuracy",
        seed=0,
    )
    store = Store(folder=str(folder), gigabytes=0)
    train_above(network, "through", examples, examples, training, store, lambda *_: None)
    return [(old, new.numpy()) for old, new in zip(before, network.weights, strict=True)]


def test_gradients_below_the_smallest_number_of_float16_train(tmp_path):
    (old, new), *_ = trained_network(tmp_path, gradient=1e-7, rate=1, epochs=1)
    assert np.abs(new - old).max() > 1e-6


def test_a_step_with_gradients_beyond_the_largest_is_left_out(tmp_path):
    assert all((old == new).all() for old, new in trained_network(tmp_path, gradient=4, rate=1e-3, epochs=1))
    trained = trained_network(tmp_path, gradient=4, rate=1e-3, epochs=9)
    assert all((old != new).any() and np.isfinite(new).all() for old, new in trained)
