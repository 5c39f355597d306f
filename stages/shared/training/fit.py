"""Train the layers above a freeze point on arrays stored there."""

from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Literal, NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field
from tqdm import tqdm

from stages.shared.calibration.threshold import AIMS, Aim
from stages.shared.network.freeze_point import above, freeze
from stages.shared.pipeline.arrays import StoredArray
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import Section
from stages.shared.store.results import Store
from stages.shared.training.checkpoints import Checkpoints, Stopping, put_state, take_state
from stages.shared.training.devices import list_devices, split_among
from stages.shared.training.optimizer import CosineDecay, RMSprop
from stages.shared.training.training_fingerprint import fingerprint_training
from stages.shared.training.weight_gradient import as_products

# Bytes of batches that TensorFlow gets at a time. To call it takes as long as a step of a head on pooled features.
AHEAD = 2**23
MOST = 10**6  # epochs, and images in a batch: TensorFlow counts steps in 64 bits


class Training(Section):
    learning_rate: float = Field(gt=0, le=1, description="a number above 0 and at most 1")
    decay: Literal["none", "cosine"] = Field(description="none or cosine")
    batch_size: int = Field(ge=1, le=MOST, description="a whole number of images from 1 to 1000000")
    epochs: int = Field(ge=1, le=MOST, description="a whole number from 1 to 1000000")
    patience_epochs: int | None = Field(
        ge=1, description="a whole number of epochs, 1 or more, or null to train all epochs"
    )
    class_weights: Literal["none", "balanced"] = Field(description="none or balanced")
    threshold_for: Aim = Field(description=AIMS)
    seed: int = Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")


class Examples(NamedTuple):
    """The images of a split, and the array of their outputs at a layer, (n, …) or (views, n, …)."""

    split: pd.DataFrame
    outputs: Path


def read_batches(
    stored: StoredArray, labels: np.ndarray, batch_size: int, epoch: int = 0, seed: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield an epoch's batches of `stored` in its dtype, some at a time, (batches, batch, …), with their labels.

    Labels are (batches, batch). A last batch that is smaller comes alone. Epoch e, from 0, reads view
    e mod views; with a seed, in an order drawn from (seed, e). The model casts to its own dtype, on all
    cores and several times faster than NumPy on one.
    """
    order = np.arange(len(labels))
    if seed is not None:
        order = np.random.default_rng((seed, epoch)).permutation(order)
    whole = len(order) - len(order) % batch_size
    together = max(AHEAD // (batch_size * stored.row_bytes), 1) * batch_size
    for rows in np.split(order, [*range(together, whole, together), whole]):
        if len(rows) > 0:
            shape = -1, min(batch_size, len(rows))
            read = stored.read(epoch % stored.views, rows)
            yield read.reshape(*shape, *stored.row_shape), labels[rows].reshape(shape)


def in_turn(step: Callable, *parts: tf.TensorSpec) -> Callable:
    """Return the function that takes `step`, of a model, with each of some batches, (batches, batch, …).

    Such a batch has a tensor for each of `parts`. They are compiled once, for batches of any size.
    """

    @tf.function(autograph=False, input_signature=parts)
    def steps(*batches: tf.Tensor) -> None:
        def take(position: tf.Tensor) -> tuple[tf.Tensor]:
            step(tuple(part[position] for part in batches))
            return (position + 1,)

        tf.while_loop(lambda position: position < tf.shape(batches[0])[0], take, (tf.constant(0),))

    return steps


class Trained(NamedTuple):
    """How a training ended."""

    kept: int  # the epoch, counted from 1
    epochs: int
    from_store: int  # of the epochs


def train_above(
    classifier: keras.Model,
    through: str,
    train: Examples,
    validation: Examples,
    training: Training,
    store: Store,
    report: Callable[[pd.DataFrame, int], None],
) -> Trained:
    """Train the layers of `classifier` after `through`, in place, on what is stored for that layer.

    After each epoch `report` is given the history and the kept epoch so far. Epochs that `store` has are not
    computed again.

    The history has a row an epoch and the columns {train,validation}_{accuracy,loss}, means over all
    images; train figures come from the steps of the epoch, with dropout on and class weights in the
    loss. The kept epoch is the last, or with patience_epochs the one with the lowest validation loss.
    Equal arguments give equal weights to the bit.
    """
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(training.seed)
    for layer in classifier.layers:
        layer.trainable = True
    unfrozen = len(classifier.trainable_weights)
    freeze(classifier, through)
    model = above(classifier, through)
    model.summary(line_length=88, show_trainable=True)
    trainable = len(model.trainable_weights)
    print(
        f"trainable weight tensors: {unfrozen} before freezing, {trainable} after it (frozen through {through})"
    )

    loss = "binary_crossentropy" if model.output_shape[-1] == 1 else "sparse_categorical_crossentropy"
    steps = ceil(len(train.split) / training.batch_size)  # of an epoch
    rate = training.learning_rate
    optimizer = RMSprop(CosineDecay(rate, training.epochs * steps) if training.decay == "cosine" else rate)
    if any(layer.compute_dtype == "float16" for layer in model.layers if layer.trainable_weights):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)  # small gradients are 0 in float16
    model.compile(optimizer, loss=loss, metrics=["accuracy"], jit_compile=False)
    optimizer.build(model.trainable_variables)
    model.compute_metrics(
        None, np.zeros((1, 1)), np.zeros((1, model.output_shape[-1]))
    )  # makes their variables

    row_shape = model.input_shape[1:]
    train_set, validation_set = open_set(train, row_shape), open_set(validation, row_shape)
    truth, weight = tf.TensorSpec((None, None, 1), tf.int64), tf.TensorSpec((None, None), tf.float32)
    rows = [
        tf.TensorSpec((None, None, *row_shape), stored.dtype) for stored, _ in (train_set, validation_set)
    ]
    split = split_among(list_devices(), classifier, through, model)
    train_steps = in_turn(split(as_products(model)(model.train_step)), rows[0], truth, weight)
    test_steps = in_turn(split(model.test_step), rows[1], truth)
    weights = class_weights(train_set[1], training)
    independent = {"patience_epochs", "threshold_for", *(["epochs"] if training.decay == "none" else [])}
    parameters = training.model_dump(exclude=independent)  # those on which an epoch depends
    fingerprint = fingerprint_training(classifier, model, (train_set, validation_set), parameters, __file__)
    checkpoints = Checkpoints(store, fingerprint, model)
    stopping = Stopping(training.epochs, training.patience_epochs)
    history, best = checkpoints.resume(stopping)
    from_store = len(history)
    if history:
        report(pd.DataFrame(history), stopping.kept(history))
    with tqdm(total=training.epochs * steps, initial=from_store * steps, unit="batch") as progress:
        while not stopping.is_over(history):
            epoch = len(history)
            model.reset_metrics()
            for images, labels in read_batches(*train_set, training.batch_size, epoch, training.seed):
                train_steps(images, labels[..., np.newaxis], weights[labels])
                progress.update(len(images))
            trained = model.get_metrics_result()
            model.reset_metrics()
            for images, labels in read_batches(*validation_set, training.batch_size):
                test_steps(images, labels[..., np.newaxis])
            validated = model.get_metrics_result()
            history.append(
                {
                    "train_accuracy": float(trained["accuracy"]),
                    "validation_accuracy": float(validated["accuracy"]),
                    "train_loss": float(trained["loss"]),
                    "validation_loss": float(validated["loss"]),
                }
            )
            state = take_state(model)
            # A rectifier hides a weight that is no number from the loss.
            if not np.isfinite([history[epoch]["validation_loss"], *map(np.sum, state)]).all():
                raise UserError(
                    f"the training diverged in epoch {epoch + 1}: lower its learning_rate in params.yaml "
                    f"(now {training.learning_rate})."
                )
            progress.set_postfix_str(
                f"epoch {epoch + 1}: validation accuracy {validated['accuracy']:.3f}, loss {validated['loss']:.3f}"
            )
            kept = stopping.kept(history)
            if kept == len(history):
                best = state
            checkpoints.keep(history, state)
            report(pd.DataFrame(history), kept)
    put_state(model, best)
    return Trained(stopping.kept(history), len(history), from_store)


def open_set(examples: Examples, row_shape: tuple[int, ...]) -> tuple[StoredArray, np.ndarray]:
    """Return the outputs of `examples`, in rows of `row_shape`, and their class indices, (n,) int64."""
    split, outputs = examples
    return StoredArray(outputs, len(split), row_shape), split["class_index"].to_numpy()


def class_weights(labels: np.ndarray, training: Training) -> np.ndarray:
    """Return what an image of each class counts in the loss, (classes,) float32.

    That is n / (classes · n of the class) where weights are balanced, and 1 where they are not.
    Source: King and Zeng, Logistic Regression in Rare Events Data (2001), as in scikit-learn.
    """
    counts = np.bincount(labels)
    balanced = len(labels) / (len(counts) * counts)
    return (balanced if training.class_weights == "balanced" else np.ones(len(counts))).astype("float32")
