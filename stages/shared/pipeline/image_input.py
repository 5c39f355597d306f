"""As what images go into a network: two parameters that who decodes, who trains and who predicts share."""

from typing import Annotated, Literal

from pydantic import Field

ImageSize = Annotated[int, Field(ge=32, le=2048, description="a whole number of pixels from 32 to 2048")]
Interpolation = Annotated[Literal["bilinear", "nearest"], Field(description="bilinear or nearest")]
