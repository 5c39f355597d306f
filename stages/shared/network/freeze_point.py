"""The freeze point: the layer through which a model is a fixed function of the image."""

from typing import Annotated

import keras
from pydantic import Field

from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import PartOfSection

LayerName = Annotated[str, Field(min_length=1, description="default or the name of a layer of the conv base")]


class FreezePoint(PartOfSection):
    """The one parameter of fine-tuning that concerns the stored activations too."""

    freeze_through: LayerName

    def layer(self, base_name: str) -> str:
        """Return the name of the last frozen layer."""
        default = ARCHITECTURES[base_name].freeze_through
        return default if self.freeze_through == "default" else self.freeze_through


def cuts(base: keras.Model) -> list[str]:
    """Return the layers at which `base` can be cut in two, lowest first.

    A cut is a layer that every path from input to output passes through, with weights below it
    and weights that can be fine-tuned above. Found by walking the graph in topological order: it
    can be cut where only the layer's own output is still in use.
    """
    operations = base.operations
    last_use = {
        id(tensor): position
        for position, operation in enumerate(operations)
        for node in operation._inbound_nodes
        for tensor in node.input_tensors
    }
    found, in_use = [], set()
    for position, operation in enumerate(operations):
        in_use = {tensor for tensor in in_use if last_use.get(tensor, -1) > position}
        in_use.add(id(operation.output))
        below = any(getattr(other, "weights", ()) for other in operations[: position + 1])
        above = any(
            getattr(other, "weights", ()) and _fine_tunes(other) for other in operations[position + 1 :]
        )
        if len(in_use) == 1 and below and above and isinstance(operation, keras.Layer):
            found.append(operation.name)
    return found


def _fine_tunes(layer: keras.Layer) -> bool:
    """Batch normalization does not, as Keras's transfer learning guide advises: its statistics stay."""
    return not isinstance(layer, keras.layers.BatchNormalization)


def base_output(classifier: keras.Model) -> str:
    """Return the name of the layer below the head, the last of the conv base."""
    names = [layer.name for layer in classifier.layers]
    return names[names.index("pooling") - 1]


def freeze(model: keras.Model, through: str) -> None:
    """Make the layers after `through` trainable, batch normalization excepted, and no others."""
    boundary = [layer.name for layer in model.layers].index(through)
    for position, layer in enumerate(model.layers):
        layer.trainable = position > boundary and _fine_tunes(layer)


def above(model: keras.Model, layer: str) -> keras.Model:
    """Return the part of `model` after `layer`, sharing its weights: activations there to outputs."""
    return keras.Model(model.get_layer(layer).output, model.output, name=f"above_{layer}")


def check_cut(base: keras.Model, through: str, name: str) -> None:
    """Raise UserError, with the valid cuts, where the conv base `name` cannot be cut at `through`."""
    valid = cuts(base)
    if through not in valid:
        known = any(layer.name == through for layer in base.layers)
        why = "does not cut it into a frozen and a trainable part" if known else "is no layer of it"
        raise UserError(
            f"params.yaml: fine_tune.freeze_through is {through!r}, but for {name} that {why}: "
            f"it takes default or one of {', '.join(valid)}."
        )
