"""As what images go into a network: parameters that who decodes, who trains and who predicts share."""

from typing import Annotated, Literal

from pydantic import Field

from stages.shared.pipeline.parameters import Sections

ImageSize = Annotated[int, Field(ge=32, le=2048, description="a whole number of pixels from 32 to 2048")]
Fit = Annotated[Literal["squash", "crop", "pad"], Field(description="squash, crop or pad")]
Interpolation = Annotated[Literal["bilinear", "nearest"], Field(description="bilinear or nearest")]
White16Bit = Annotated[int, Field(ge=255, le=65535, description="a whole number from 255 to 65535")]


class ImageInput(Sections):
    """What becomes of an image on its way into a network: a model carries it, and params.yaml states it."""

    image_size: ImageSize  # pixels, height and width
    fit: Fit  # how an image that is no square becomes one
    interpolation: Interpolation
    white_16_bit: White16Bit  # the value that is white in grey files of 16 bits that do not say it
