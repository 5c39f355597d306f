"""What a task of a Ray Data job does that decodes images: it loads neither TensorFlow nor Keras."""

from typing import Any

import numpy as np
import pandas as pd

from stages.shared.images.image_folder import ImageFolder
from stages.shared.images.reading import read_pixels
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.image_input import ImageInput

Batch = dict[str, Any]  # of columns, each with a value a row


class Refused(Exception):
    """A UserError on its way to the driver: SystemExit would end the worker."""


def decode(images: Batch, folder: ImageFolder, image_input: ImageInput) -> Batch:
    """Add the pixels of the images of a table, (m, size, size, 3) uint8."""
    rows = pd.DataFrame(images).to_dict("records")
    try:
        pixels = [read_pixels(folder, image, image_input) for image in rows]
    except UserError as error:
        raise Refused(str(error)) from None
    return {**images, "pixels": np.stack(pixels)}
