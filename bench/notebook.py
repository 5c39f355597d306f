"""The notebook as written, under today's Keras: what an epoch of each technique costs.

François Chollet, "Using a pretrained convnet" (Deep Learning with Python, section 5.3), with a
generator feeding fit, the base inside the model, and ImageDataGenerator augmenting with PIL and
SciPy. Prints JSON: seconds a batch of 20 takes in each technique, from STEPS batches after WARM_UP.
"""

import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from stages.shared.network import conv_base

BATCH, WARM_UP, STEPS = 20, 3, 6


class Clock(keras.callbacks.Callback):
    """Notes when each batch of training and of validation ended."""

    def __init__(self) -> None:
        super().__init__()
        self.trained, self.validated = [], []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.trained.append(time.perf_counter())

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.validated.append(time.perf_counter())


def steady(ends: list[float]) -> float:
    """Return the mean seconds between the ends of the last STEPS batches."""
    return (ends[-1] - ends[-1 - STEPS]) / STEPS


def main(folder: Path, weights: Path) -> None:
    """`folder` has train and validation with class folders; `weights` are VGG16's."""
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(150, 150, 3))
    conv_base.load_weights(base, weights, "vgg16")
    plain = ImageDataGenerator(rescale=1.0 / 255)
    augmenting = ImageDataGenerator(
        rescale=1.0 / 255,
        rotation_range=40,
        width_shift_range=0.2,
        height_shift_range=0.2,
        shear_range=0.2,
        zoom_range=0.2,
        horizontal_flip=True,
        fill_mode="nearest",
    )

    def flow(generator: ImageDataGenerator, split: str):
        return generator.flow_from_directory(
            folder / split, target_size=(150, 150), batch_size=BATCH, class_mode="binary"
        )

    ends = []
    for images, _ in flow(plain, "train"):
        base.predict(images, verbose=0)
        ends.append(time.perf_counter())
        if len(ends) > WARM_UP + STEPS:
            break
    seconds = {"extraction": steady(ends)}

    features = np.random.default_rng(0).normal(size=(2000, 4 * 4 * 512)).astype("float32")
    labels = np.arange(2000) % 2
    model = keras.Sequential(
        [
            keras.Input((4 * 4 * 512,)),
            layers.Dense(256, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer=keras.optimizers.RMSprop(2e-5), loss="binary_crossentropy", metrics=["acc"])
    clock = Clock()
    model.fit(features, labels, batch_size=BATCH, epochs=1, callbacks=[clock], verbose=0)
    seconds["head"] = (clock.trained[-1] - clock.trained[-51]) / 50

    model = keras.Sequential(
        [base, layers.Flatten(), layers.Dense(256, activation="relu"), layers.Dense(1, activation="sigmoid")]
    )
    for technique, trainable, rate in (("augmented", (), 2e-5), ("fine_tuning", ("block5",), 1e-5)):
        base.trainable = True
        for layer in base.layers:
            layer.trainable = layer.name.startswith(trainable)
        model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.RMSprop(rate), metrics=["acc"])
        clock = Clock()
        model.fit(
            flow(augmenting, "train"),
            steps_per_epoch=WARM_UP + STEPS,
            epochs=1,
            validation_data=flow(plain, "validation"),
            validation_steps=WARM_UP + STEPS,
            callbacks=[clock],
            verbose=0,
        )
        seconds[technique] = steady(clock.trained)
        seconds[f"{technique}_validation"] = steady(clock.validated)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
