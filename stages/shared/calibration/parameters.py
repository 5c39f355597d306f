"""The section of params.yaml on the answers of all three models."""

from pydantic import Field

from stages.shared.pipeline.parameters import Section

SHARE = "a fraction above 0 and below 1, or null"


class Calibration(Section):
    abstain_below: float | None = Field(gt=0, lt=1, description=SHARE)  # accuracy
    set_coverage: float | None = Field(gt=0, lt=1, description=SHARE)  # of prediction sets
    unlike: float = Field(
        ge=0, lt=1, description="a fraction, at least 0 and below 1"
    )  # of validation images
