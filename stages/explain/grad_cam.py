"""Grad-CAM: which parts of an image speak for a class.

Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization (2017).
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from stages.shared.network.freeze_point import base_output


def grad_cam(classifier: keras.Model) -> Callable[[np.ndarray, int], np.ndarray]:
    """Return the function from an image and a class index to the heat map of that class.

    RGB pixels 0 to 255, (size, size, 3), to (height, width) float32 from 0 to 1, the size of the
    last feature maps; 0 everywhere where nothing in the image speaks for the class.
    """
    last = last_maps(classifier)
    scores = classifier.get_layer("scores")
    maps_of = keras.Model(classifier.input, classifier.get_layer(last).output)
    hidden_of = keras.Model(classifier.get_layer(last).output, scores.input)

    def heat_map(pixels: np.ndarray, class_index: int) -> np.ndarray:
        maps = maps_of(pixels[np.newaxis].astype("float32"), training=False)
        with tf.GradientTape() as tape:
            tape.watch(maps)
            score = class_score(scores, hidden_of(maps, training=False), class_index)
        weights = np.mean(tape.gradient(score, maps)[0].numpy().astype("float32"), axis=(0, 1))
        heat = np.maximum(maps[0].numpy().astype("float32") @ weights, 0)
        return heat / heat.max() if heat.max() > 0 else heat

    return heat_map


def last_maps(classifier: keras.Model) -> str:
    """Return the name of the layer with the last feature maps of the conv base.

    That is the base's output, or what comes before the pooling with which VGG ends.
    """
    names = [layer.name for layer in classifier.layers]
    last = base_output(classifier)
    pooled = isinstance(classifier.get_layer(last), keras.layers.MaxPooling2D)
    return names[names.index(last) - 1] if pooled else last


def class_score(scores: keras.layers.Dense, hidden: tf.Tensor, class_index: int) -> tf.Tensor:
    """Return the score of a class, (1,), before sigmoid or softmax: a probability near 1 has no gradient.

    A sigmoid unit's own score speaks for class 1, and its negative for class 0.
    """
    kernel, bias = scores.get_weights()
    of_all = tf.cast(hidden, "float32") @ kernel + bias
    if len(bias) == 1:
        return of_all[:, 0] if class_index == 1 else -of_all[:, 0]
    return of_all[:, class_index]
