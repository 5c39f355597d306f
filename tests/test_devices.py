"""A training on several devices is that on one, to rounding."""

import json
import subprocess
import sys

import pytest

from tests.conftest import variables_for

# Batches of 8, 8 and 1 images, among up to three devices.
TRAIN = """
import stages, json, sys
import keras, numpy as np, pandas as pd, tensorflow as tf
from pathlib import Path
from keras import layers
from stages.shared.network.freeze_point import above
from stages.shared.store.results import Store
from stages.shared.training import devices, fit, training_fingerprint
from stages.shared.training.head import Head, add_head
from tests.conftest import write_array

(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 3)
names, folder, drawn = devices.list_devices(), Path(sys.argv[1]), np.random.default_rng(0)
write_array(folder / "stored.npy", drawn.normal(size=(2, 17, 8, 8, 3)).astype("float32"), leading=2)
write_array(folder / "validation.npy", drawn.normal(size=(5, 8, 8, 3)).astype("float32"))
train = fit.Examples(pd.DataFrame({"class_index": drawn.integers(0, 3, 17)}), folder / "stored.npy")
validation = fit.Examples(pd.DataFrame({"class_index": drawn.integers(0, 3, 5)}), folder / "validation.npy")
training = fit.Training(
    learning_rate=1e-3, decay="cosine", batch_size=8, epochs=2, patience_epochs=None, class_weights="balanced",
    threshold_for="accuracy", seed=0,
)
for count in (1, 2, 3):
    fit.list_devices = devices.list_devices = lambda: names[:count]
    keras.utils.set_random_seed(0)
    images = keras.Input((8, 8, 3))
    x = layers.Identity(name="through")(images)
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu")(x))
    x = layers.SeparableConv2D(16, 3, activation="relu")(x)
    network = add_head(keras.Model(images, x), Head(pooling="average", units=8, dropout=0.5), 3, seed=0)
    before = network.get_weights()
    told = []
    report = lambda history, kept: told.append(history.to_numpy().tolist())
    fit.train_above(network, "through", train, validation, training, Store(folder="-", gigabytes=0), report)
    moved = [float(np.abs(new - old).max()) for old, new in zip(before, network.get_weights(), strict=True)]
    model = above(network, "through")
    split = devices.split_among(names[:count], network, "through", model)
    step = tf.function(split(lambda images: model(images, training=True)), autograph=False)
    operations = step.get_concrete_function(tf.TensorSpec((None, 8, 8, 3))).graph.get_operations()
    used = sorted({operation.device[-5:] for operation in operations if operation.type == "Conv2D"} - {""})
    weights = [weight.tolist() for weight in network.get_weights()]
    print(json.dumps({"history": told[-1], "weights": weights, "moved": moved, "used": used}))
"""


@pytest.mark.slow
def test_two_and_three_devices_train_to_the_weights_of_one(tmp_path):
    command = [sys.executable, "-c", TRAIN, str(tmp_path)]
    ended = subprocess.run(command, env=variables_for(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    one, *others = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    assert one["used"] == [] and sum(moved > 1e-3 for moved in one["moved"]) == 9
    assert [other["used"] for other in others] == [["CPU:0", "CPU:1"], ["CPU:0", "CPU:1", "CPU:2"]]
    for other in others:
        assert other["history"] == [pytest.approx(row, rel=1e-5) for row in one["history"]]
        for same, weight in zip(other["weights"], one["weights"], strict=True):
            assert flat(same) == pytest.approx(flat(weight), rel=1e-5, abs=1e-6)


def flat(values: list | float) -> list[float]:
    """Return the numbers in lists of lists."""
    return [number for part in values for number in flat(part)] if isinstance(values, list) else [values]
