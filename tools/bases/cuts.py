"""Where it is worth looking at what a conv base has made of an image."""

from math import log2, prod

import keras

from stages.shared.network.freeze_point import cuts

LOWER = 2  # sizes of activations, below those at the default cut


def choose_cuts(base: keras.Model, default: str) -> list[str]:
    """Return the layer `default`, and of LOWER sizes below it the cheapest cut, from the highest to the lowest.

    Of one size are the activations that come from halving the image as often. The cheapest cut has the fewest values
    there; of several, it is the highest.
    """
    below = cuts(base)
    below = below[: below.index(default)]
    sizes = sorted(
        {halvings(base, layer) for layer in below if halvings(base, layer) < halvings(base, default)}
    )
    chosen = [default]
    for size in sizes[: -LOWER - 1 : -1]:
        of_size = [layer for layer in reversed(below) if halvings(base, layer) == size]
        chosen.append(min(of_size, key=lambda layer: count_values(base, layer)))
    return chosen


def halvings(base: keras.Model, layer: str) -> int:
    """Return how often the image was halved on its way to `layer`; padding is no matter."""
    return round(log2(base.input_shape[1] / base.get_layer(layer).output.shape[1]))


def count_values(base: keras.Model, layer: str) -> int:
    """Return how many numbers `layer` gives for an image."""
    return prod(base.get_layer(layer).output.shape[1:])


def with_averages(base: keras.Model, layers: list[str]) -> tuple[keras.Model, str]:
    """Return `base` with a layer more, and that layer's name: it gives the averages of what `layers` give.

    They are averages over space, of one of `layers` after the other, (n, 1, 1, channels) float32. The store has them
    under that name.
    """
    averages = [
        keras.layers.GlobalAveragePooling2D(keepdims=True, dtype="float32")(base.get_layer(layer).output)
        for layer in layers
    ]
    joined = keras.layers.Concatenate(dtype="float32", name="_".join(["averages_of", *layers]))
    return keras.Model(base.input, [base.output, joined(averages)], name=base.name), joined.name
