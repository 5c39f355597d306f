"""What a task of a Ray Data job does that decodes images: it loads neither TensorFlow nor Keras."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
    """Add the pixels of the images of a table, (m, size, size, 3) uint8. In S3 many are asked for at once."""
    rows = pd.DataFrame(images).to_dict("records")
    try:
        with ThreadPoolExecutor(folder.readers or 1) as pool:
            pixels = list(pool.map(partial(read_pixels, folder, image_input=image_input), rows))
    except UserError as error:
        raise Refused(str(error)) from None
    return {**images, "pixels": np.stack(pixels)}
