"""Heads for the folds of a set of images: each is trained as train_head would, some of them at a time.

One step of a head is too little work for several cores. The steps of several heads are one graph, in which each
goes its own way. It is compiled once; the next folds begin with fresh weights.
"""

from itertools import zip_longest

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from stages.cross_validate.features import Features
from stages.shared.network.inference import compiled
from stages.shared.network.prediction import BATCH, per_class
from stages.shared.pipeline.command import UserError
from stages.shared.probe.folds import draw_folds
from stages.shared.probe.linear_probe import INNER_FOLDS, log_loss
from stages.shared.training.checkpoints import History, State, Stopping, put_state, take_state
from stages.shared.training.fit import AHEAD, class_weights, in_turn
from stages.shared.training.fresh_head import FreshHead
from stages.shared.training.head import add_head
from stages.shared.training.optimizer import CosineDecay, RMSprop

Folds = list[tuple[np.ndarray, np.ndarray]]  # rows to learn from and those held out


class Heads:
    """As many heads as there are `folds` in a repeat, for the images of `split` with their `features`."""

    def __init__(self, features: Features, split: pd.DataFrame, head: FreshHead, folds: int) -> None:
        tf.config.experimental.enable_op_determinism()
        self.features, self.split, self.head = features, split, head
        self.labels = split["class_index"].to_numpy()
        self.models = [self.draw(head.seed) for _ in range(folds)]
        self.radians = [compile_model(model, head) for model in self.models]
        self.optimizer = take_state(self.models[0].optimizer)  # before its first step
        batches = (
            tf.TensorSpec((None, None, *features.row_shape), features.dtype),
            tf.TensorSpec((None, None, 1), tf.int64),
            tf.TensorSpec((None, None), tf.float32),
        )
        steps = [in_turn(model.train_step, *batches) for model in self.models]

        @tf.function(autograph=False, input_signature=[[batches] * folds])
        def step(of_heads: list) -> None:
            for take, of_head in zip(steps, of_heads, strict=True):
                take(*of_head)

        self.step = step
        self.judge = self.draw(head.seed)
        self.infer = compiled(self.judge)

    def draw(self, seed: int) -> keras.Model:
        """Return a fresh head on what the conv base gives."""
        outputs = keras.Input(self.features.row_shape, name="features")
        return add_head(keras.Model(outputs, outputs), self.head, int(self.labels.max()) + 1, seed)

    def predict_held_out(self, folds: Folds, seed: int) -> list[np.ndarray]:
        """Return what a head with weights drawn from `seed` says of the images that each fold holds out.

        It is (held out, classes) float32. With patience_epochs a part of the images to learn from is watched for it
        instead. Raises UserError where a training diverges.
        """
        said = []
        for (_, held_out), state in zip(folds, self.train([rows for rows, _ in folds], seed), strict=True):
            probabilities = self.predict(state, held_out)
            if not np.isfinite(probabilities).all():
                raise UserError(
                    "the head diverged on a fold: lower head.learning_rate in params.yaml "
                    f"(now {self.head.learning_rate})."
                )
            said.append(probabilities)
        return said

    def train(self, parts: list[np.ndarray], seed: int) -> list[State]:
        """Return the weights of a head for the rows in each of `parts`."""
        head, stopping = self.head, Stopping(self.head.epochs, self.head.patience_epochs)
        watched: list[np.ndarray] = []
        if head.patience_epochs is not None:
            inner = [next(draw_folds(self.split.iloc[rows], INNER_FOLDS, seed)) for rows in parts]
            watched = [rows[out] for rows, (_, out) in zip(parts, inner, strict=True)]
            parts = [rows[learning] for rows, (learning, _) in zip(parts, inner, strict=True)]
        fresh = take_state(self.draw(seed))
        for model, radians, rows in zip(self.models, self.radians, parts, strict=True):
            put_state(model, fresh)
            put_state(model.optimizer, self.optimizer)
            radians.assign(np.float32(np.pi) / np.float32(head.epochs * -(-len(rows) // head.batch_size)))
        with np.errstate(divide="ignore"):  # a class may be held out as a whole
            weights = [class_weights(self.labels[rows], head) for rows in parts]
        histories: list[History] = [[] for _ in parts]
        best = [fresh] * len(parts)
        while not all(map(stopping.is_over, histories)):
            epoch = max(map(len, histories))
            orders = [rows[np.random.default_rng((seed, epoch)).permutation(len(rows))] for rows in parts]
            for batches in zip_longest(*map(self.batches, orders), fillvalue=np.empty((0, 1), "int64")):
                self.step([self.take(rows, of) for rows, of in zip(batches, weights, strict=True)])
            for index, (model, history) in enumerate(zip(self.models, histories, strict=True)):
                if not stopping.is_over(history):
                    state = take_state(model)
                    loss = self.loss(state, watched[index]) if watched else 0.0
                    history.append({"validation_loss": loss})
                    if stopping.kept(history) == len(history):
                        best[index] = state
        return best

    def batches(self, order: np.ndarray) -> list[np.ndarray]:
        """Return `order` in batches, some at a time, (batches, batch); a last one that is smaller comes alone."""
        size = self.head.batch_size
        whole = len(order) - len(order) % size
        row_bytes = int(np.prod(self.features.row_shape)) * self.features.dtype.itemsize
        together = max(AHEAD // (size * row_bytes), 1) * size
        parts = np.split(order, [*range(together, whole, together), whole])
        return [rows.reshape(-1, min(size, len(rows))) for rows in parts if len(rows) > 0]

    def take(self, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return features, labels and what each image counts, for `rows` of (batches, batch)."""
        labels = self.labels[rows]
        images = self.features.read(rows.ravel()).reshape(*rows.shape, *self.features.row_shape)
        return images, labels[..., np.newaxis], weights[labels]

    def loss(self, state: State, rows: np.ndarray) -> float:
        return log_loss(self.predict(state, rows), self.labels[rows])

    def predict(self, state: State, rows: np.ndarray) -> np.ndarray:
        """Return what a head with the weights `state` says of the images in `rows`, (n, classes) float32."""
        put_state(self.judge, state)
        filled = rows[np.arange(-(-len(rows) // BATCH) * BATCH).clip(max=len(rows) - 1)]
        outputs = [
            self.infer(self.features.read(batch).astype("float32"))[0] for batch in filled.reshape(-1, BATCH)
        ]
        return per_class(np.concatenate(outputs)[: len(rows)])


def compile_model(model: keras.Model, head: FreshHead) -> tf.Variable:
    """Compile `model` as train_head does; return by how much a step takes on the decay of its learning rate."""
    radians = tf.Variable(tf.zeros(()))  # which depends on how many images a fold has
    rate = CosineDecay(head.learning_rate, 1)
    rate.radians = radians  # pyright: ignore[reportAttributeAccessIssue]
    optimizer = RMSprop(rate if head.decay == "cosine" else head.learning_rate)
    loss = "binary_crossentropy" if model.output_shape[-1] == 1 else "sparse_categorical_crossentropy"
    model.compile(optimizer, loss=loss, jit_compile=False)
    optimizer.build(model.trainable_variables)
    return radians
