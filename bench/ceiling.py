"""How fast this machine can be: the conv base alone, and what a step of the head has to do.

Prints, as JSON: what machine it is; for each precision and batch size the milliseconds per image of
VGG16's base at 150 pixels on random images that are in memory already; for a head on flattened
features, batch 20, the milliseconds of its matrix products, of RMSprop's update, of a copy of its
weights, and those of our training step.
"""

import stages  # noqa: F401  isort: skip (its settings, before TensorFlow is loaded)

import json
import time
from collections.abc import Callable
from statistics import median

import keras
import numpy as np
import tensorflow as tf

from stages.shared.network import conv_base, environment
from stages.shared.network.inference import forward
from stages.shared.training.optimizer import RMSprop

IMAGE_SIZE, BATCHES = 150, {"float32": (16, 32, 64), "bfloat16": (16, 32, 64)}
ROUNDS, SECONDS = 3, 1.0


def time_each(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median milliseconds of a call of each function, measured in turn, `ROUNDS` times."""
    taken = {name: [] for name in functions}
    for call in functions.values():
        call()
    for _ in range(ROUNDS):
        for name, call in functions.items():
            calls, started = 0, time.perf_counter()
            while time.perf_counter() < started + SECONDS:
                call()
                calls += 1
            taken[name].append((time.perf_counter() - started) / calls * 1000)
    return {name: median(times) for name, times in taken.items()}


def base() -> dict[str, dict[int, float]]:
    calls = {}
    for precision, sizes in BATCHES.items():
        model = conv_base.build("vgg16", IMAGE_SIZE, computes_in=precision)
        run = forward(model, [model.layers[-1].name])
        for size in sizes:
            images = (
                np.random.default_rng(0).uniform(0, 255, (size, IMAGE_SIZE, IMAGE_SIZE, 3)).astype("float32")
            )
            calls[f"{precision} {size}"] = lambda run=run, images=images: run(images)[0].numpy()
    taken = time_each(calls)
    return {
        precision: {size: taken[f"{precision} {size}"] / size for size in sizes}
        for precision, sizes in BATCHES.items()
    }


def head() -> dict[str, float]:
    """On flattened features, (20, 8192), with 256 units: 2 million weights."""
    rng = np.random.default_rng(0)
    features = tf.constant(rng.normal(size=(20, 8192)), "float32")
    weights, gradient = (tf.Variable(tf.random.normal((8192, 256))) for _ in range(2))
    hidden = tf.random.normal((20, 256))
    inputs = keras.Input((8192,))
    x = keras.layers.Dense(256, activation="relu")(inputs)
    x = keras.layers.Dropout(0.5, seed=0)(x)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile(RMSprop(2e-5), loss="binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    labels = tf.constant(rng.integers(0, 2, (20, 1)))

    alone = keras.Variable(weights)
    optimizer = RMSprop(2e-5)
    optimizer.build([alone])

    @tf.function
    def copy() -> None:
        weights.assign(gradient, read_value=False)

    return time_each(
        {
            "forward_product": tf.function(lambda: tf.matmul(features, weights)),
            "gradient_product": tf.function(lambda: tf.matmul(features, hidden, transpose_a=True)),
            "update": tf.function(lambda: optimizer.update_step(gradient, alone, tf.constant(2e-5))),
            "copy_of_the_weights": copy,
            "training_step": tf.function(lambda: model.train_step((features, labels))),
        }
    )


if __name__ == "__main__":
    measured = {"milliseconds_per_image": base(), "head_milliseconds_per_step": head()}
    print(json.dumps({"machine": environment.describe(), **measured}))
