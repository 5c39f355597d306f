"""The notebook's work as Keras's own guides have it today: what a batch of each technique costs.

    python -m bench.keras_guide FOLDER    FOLDER has train and validation with class folders

https://keras.io/guides/transfer_learning/ for the model and its two trainings, and
https://keras.io/examples/vision/image_classification_from_scratch/ for the images: read by
image_dataset_from_directory, augmented by layers in the data set (the guide's advice for CPUs), prefetched.
The base is VGG16 rather than Xception, and fine-tuning trains block 5 rather than all of it, as in the notebook.
Ranges of the augmentation are the notebook's, without its 0.2 degrees of shear. Weights are random, which
changes no speed. Batches are the notebook's; in batches of 32 an image took as long.

Prints JSON: seconds a batch of 20 takes in each technique, from STEPS batches after WARM_UP, and
the versions of the packages.
"""

import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from bench.notebook import BATCH, STEPS, WARM_UP, Clock, steady

FRACTION = 40 / 360  # of a turn


class PredictionClock(Clock):
    """Notes when each batch of a prediction ended, too."""

    def __init__(self) -> None:
        super().__init__()
        self.predicted = []

    def on_predict_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.predicted.append(time.perf_counter())


def read(folder: Path) -> tf.data.Dataset:
    return keras.utils.image_dataset_from_directory(
        folder, label_mode="binary", image_size=(150, 150), batch_size=BATCH, verbose=False
    )


def main(folder: Path) -> None:
    augmentation = keras.Sequential(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(FRACTION, fill_mode="nearest"),
            layers.RandomTranslation(0.2, 0.2, fill_mode="nearest"),
            layers.RandomZoom(0.2, 0.2, fill_mode="nearest"),
        ]
    )
    plain, validation = (read(folder / split).prefetch(tf.data.AUTOTUNE) for split in ("train", "validation"))
    train = (
        read(folder / "train")
        .map(
            lambda images, labels: (augmentation(images, training=True), labels),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .prefetch(tf.data.AUTOTUNE)
    )

    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(150, 150, 3))
    head = keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(1)])
    inputs = keras.Input((150, 150, 3))
    outputs = head(base(keras.applications.vgg16.preprocess_input(inputs), training=False))
    model = keras.Model(inputs, outputs)

    def compile(network: keras.Model, rate: float) -> None:
        network.compile(
            keras.optimizers.Adam(rate),
            keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[keras.metrics.BinaryAccuracy()],
        )

    def predict(network: keras.Model, images: tf.data.Dataset) -> float:
        clock = PredictionClock()
        network.predict(images, steps=WARM_UP + STEPS, callbacks=[clock], verbose=0)
        return steady(clock.predicted)

    seconds = {"extraction": predict(base, plain)}

    features = np.random.default_rng(0).normal(size=(2000, 4, 4, 512)).astype("float32")
    compile(head, 1e-3)
    clock = Clock()
    head.fit(features, np.arange(2000) % 2, batch_size=BATCH, epochs=1, callbacks=[clock], verbose=0)
    seconds["head"] = (clock.trained[-1] - clock.trained[-51]) / 50

    for technique, trainable, rate in (("augmented", (), 1e-3), ("fine_tuning", ("block5",), 1e-5)):
        base.trainable = True
        for layer in base.layers:
            layer.trainable = layer.name.startswith(trainable)
        compile(model, rate)
        clock = Clock()
        model.fit(
            train,
            steps_per_epoch=WARM_UP + STEPS,
            epochs=1,
            validation_data=validation,
            validation_steps=WARM_UP + STEPS,
            callbacks=[clock],
            verbose=0,
        )
        seconds[technique] = steady(clock.trained)
        seconds[f"{technique}_validation"] = steady(clock.validated)
    seconds["prediction"] = predict(model, validation)
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    print(json.dumps({**seconds, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
