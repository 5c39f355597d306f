"""Train the layers above a freeze point on arrays stored there."""

from math import ceil
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field
from tqdm import tqdm

from stages.shared.arrays import open_array
from stages.shared.freeze_point import above, freeze
from stages.shared.parameters import Section


class Training(Section):
    learning_rate: float = Field(gt=0, le=1, description="a number above 0 and at most 1")
    batch_size: int = Field(ge=1, description="a whole number of images, 1 or more")
    epochs: int = Field(ge=1, description="a whole number, 1 or more")
    patience_epochs: int | None = Field(
        ge=1, description="a whole number of epochs, 1 or more, or null to train all epochs"
    )
    class_weights: Literal["none", "balanced"] = Field(description="none or balanced")
    seed: int = Field(ge=0, lt=2**32, description="a whole number, 0 or more")


class StoredBatches(keras.utils.PyDataset):
    """Batches of a stored array (views, n, …), as float32, with their labels: (batch, …), (batch, 1).

    Epoch e reads view e mod views; with a seed, in an order drawn from (seed, e).
    """

    def __init__(self, views: np.ndarray, labels: np.ndarray, batch_size: int, seed: int | None = None):
        super().__init__()
        self.views, self.labels, self.batch_size, self.seed = views, labels, batch_size, seed
        self._start(epoch=0)

    def _start(self, epoch: int) -> None:
        self.epoch = epoch
        self.order = np.arange(len(self.labels))
        if self.seed is not None:
            self.order = np.random.default_rng((self.seed, epoch)).permutation(self.order)

    def on_epoch_end(self) -> None:
        self._start(self.epoch + 1)

    def __len__(self) -> int:
        return ceil(len(self.labels) / self.batch_size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        view = self.views[self.epoch % len(self.views)]
        return view[rows].astype("float32"), self.labels[rows, np.newaxis]


def train_above(
    classifier: keras.Model,
    through: str,
    train: tuple[pd.DataFrame, Path],
    validation: tuple[pd.DataFrame, Path],
    training: Training,
) -> tuple[pd.DataFrame, int]:
    """Train the layers of `classifier` after `through`, in place, on what is stored for that layer.

    `train` and `validation` are each a split and the array of its images' outputs at `through`,
    (n, …) or (views, n, …).

    Returns the history and the kept epoch, counted from 1. The history has a row an epoch and the
    columns {train,validation}_{accuracy,loss}; train figures are means over the epoch, with
    dropout on. The kept epoch is the last, or with patience_epochs the one with the lowest
    validation loss. Equal arguments give equal weights to the bit.
    """
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(training.seed)
    for layer in classifier.layers:
        layer.trainable = True
    unfrozen = len(classifier.trainable_weights)
    freeze(classifier, through)
    model = above(classifier, through)
    row_shape = classifier.get_layer(through).output.shape[1:]
    train_set = StoredBatches(*load_set(*train, row_shape), training.batch_size, training.seed)
    validation_set = StoredBatches(*load_set(*validation, row_shape), training.batch_size)
    model.summary(show_trainable=True)
    print(f"trainable weight tensors: {unfrozen}, frozen through {through}: {len(model.trainable_weights)}")

    loss = "binary_crossentropy" if model.output.shape[-1] == 1 else "sparse_categorical_crossentropy"
    optimizer = keras.optimizers.RMSprop(training.learning_rate)
    model.compile(optimizer, loss=loss, metrics=["accuracy"], jit_compile=False)
    stopping = keras.callbacks.EarlyStopping(patience=training.patience_epochs or 0, restore_best_weights=True)
    history = model.fit(
        train_set,
        validation_data=validation_set,
        epochs=training.epochs,
        shuffle=False,  # train_set does, in an order of its own
        class_weight=class_weights(train_set.labels, training),
        callbacks=[ProgressBar(), *([stopping] if training.patience_epochs else [])],
        verbose=0,
    ).history
    epochs = pd.DataFrame(
        {
            "train_accuracy": history["accuracy"],
            "validation_accuracy": history["val_accuracy"],
            "train_loss": history["loss"],
            "validation_loss": history["val_loss"],
        }
    )
    return epochs, stopping.best_epoch + 1 if training.patience_epochs else len(epochs)


def load_set(split: pd.DataFrame, file: Path, row_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the stored array of `split`, (views, n, *row_shape), and its class indices, (n,) float32."""
    return open_array(file, len(split), row_shape), split["class_index"].to_numpy("float32")


def class_weights(labels: np.ndarray, training: Training) -> dict[int, float] | None:
    """Return n / (classes · n of the class) for each class where weights are balanced, else None.

    Source: King and Zeng, Logistic Regression in Rare Events Data (2001), as in scikit-learn.
    """
    if training.class_weights == "none":
        return None
    counts = np.bincount(labels.astype(int))
    return {index: len(labels) / (len(counts) * count) for index, count in enumerate(counts)}


class ProgressBar(keras.callbacks.Callback):
    """One bar over all epochs, with the time left and the last epoch's validation figures."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        steps = self.params["epochs"] * self.params["steps"]
        self.bar = tqdm(total=steps, unit="batch", mininterval=1)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.bar.update()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.bar.set_description(
            f"epoch {epoch + 1}: validation accuracy {logs['val_accuracy']:.3f}, loss {logs['val_loss']:.3f}"
        )

    def on_train_end(self, logs: dict | None = None) -> None:
        self.bar.close()
