"""Models as compiled functions, for inference."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


def forward(base: keras.Model, layers: list[str]) -> Callable[[np.ndarray | tf.Tensor], list[tf.Tensor]]:
    """Return the function from a batch of images to what each of `layers` gives for it.

    A GPU may still compute that when it is returned.
    """
    return _compiled(keras.Model(base.input, [base.get_layer(layer).output for layer in layers]))


def compiled(model: keras.Model) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return `model` as a function from a batch to the list of its outputs."""
    run = _compiled(model)
    return lambda batch: [output.numpy() for output in run(batch)]


def _compiled(model: keras.Model) -> Callable[[np.ndarray | tf.Tensor], list[tf.Tensor]]:
    """Compile `model` to a graph, as in Keras's predict: in bfloat16 an eager call rounds more often."""
    return tf.function(
        lambda batch: keras.tree.flatten(model(batch, training=False)),
        reduce_retracing=True,
        jit_compile=False,
    )
