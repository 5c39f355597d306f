"""Models as compiled functions, for inference."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


def forward(base: keras.Model, layers: list[str]) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return the function from a batch of images to what each of `layers` gives for it."""
    return compiled(keras.Model(base.input, [base.get_layer(layer).output for layer in layers]))


def compiled(model: keras.Model) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return `model` as a function from a batch to the list of its outputs.

    Compiled to a graph, as in Keras's predict: in bfloat16 an eager call rounds more often.
    """
    run = tf.function(
        lambda batch: keras.tree.flatten(model(batch, training=False)),
        reduce_retracing=True,
        jit_compile=False,
    )
    return lambda batch: [output.numpy() for output in run(batch)]
