"""The dense head that turns a conv base into a classifier."""

from typing import Literal

import keras
from keras import layers
from pydantic import Field

from stages.shared.pipeline.parameters import Section


class Head(Section):
    pooling: Literal["flatten", "average"] = Field(description="flatten or average")
    units: int = Field(ge=1, le=65536, description="a whole number from 1 to 65536")
    dropout: float = Field(ge=0, lt=1, description="a fraction, at least 0 and below 1")


def add_head(base: keras.Model, head: Head, classes: int, seed: int) -> keras.Model:
    """Return `base` with a freshly drawn head on top, as one flat graph.

    Its output is (n, 1) for two classes, the probability of class 1, and (n, classes) for more.
    Dropout states its seed, as a saved model does not keep one that Keras drew.
    """
    keras.utils.set_random_seed(seed)
    pool = layers.Flatten if head.pooling == "flatten" else layers.GlobalAveragePooling2D
    x = pool(name="pooling")(base.output)
    x = layers.Dense(head.units, activation="relu", name="dense")(x)
    x = layers.Dropout(head.dropout, seed=seed, name="dropout")(x)
    units, activation = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    x = layers.Dense(units, name="scores")(x)
    x = layers.Rescaling(1.0, name="temperature")(x)
    x = layers.Activation(activation, name="probability")(x)
    return keras.Model(base.input, x, name="classifier")


def set_temperature(classifier: keras.Model, temperature: float) -> None:
    """Let `classifier` divide its scores by `temperature` before they become probabilities."""
    classifier.get_layer("temperature").scale = 1 / temperature
