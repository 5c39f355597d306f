"""Models that no stage has trained."""

from collections.abc import Sequence

import keras
import numpy as np

from stages.shared.network.freeze_point import base_output
from stages.shared.network.model_file import Classifier
from stages.shared.network.typicality import TrainingImages
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.model_archive import DecisionRule
from tests.conftest import image_input


def some_classifier(
    network: keras.Model, names: Sequence[str], threshold: float | None = None, how: ImageInput | None = None
) -> Classifier:
    """Return what can be saved of `network`, which has learnt from two images that nobody has seen."""
    channels = network.get_layer(base_output(network)).output.shape[-1]
    rule = DecisionRule(
        temperature=1, threshold=threshold, sure_above=None, in_set_from=None, unlike_below=0.01
    )
    images = TrainingImages(["a.png", "b.png"], np.eye(2, channels, dtype="float16"), np.array([0.5, 0.75]))
    return Classifier(network, list(names), rule, how or image_input(), images)
