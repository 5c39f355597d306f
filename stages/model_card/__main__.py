"""Write the model card: what three models are, how they came about, what they reach, and where that ends.

Every line is one fact of the run and none is of the day or the machine, so that git's diff of it
tells what changed. Source: Mitchell et al., Model Cards for Model Reporting (2019).
"""

from operator import itemgetter
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from stages.model_card.facts import describe_limits, digest, flatten, read_model
from stages.model_card.markdown import render
from stages.shared.pipeline.checksums import check_seal
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.json_and_csv import read_json
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.reporting.comparison import describe_accuracies, describe_difference
from stages.shared.reporting.data import describe_data, describe_leakage
from stages.shared.reporting.model_quality import describe_answers, describe_confusions
from stages.shared.reporting.wording import LABELS, TECHNIQUES, listed, quoted

Values = Annotated[dict, Field(description="a section of parameters")]  # which the other stages check


class Parameters(ImageInput):
    data: Values
    split: Values
    conv_base: Values
    leakage: Values
    cross_validation: Values
    augmentation: Values
    head: Values
    augmented: Values
    fine_tune: Values
    calibration: Values


def main(*, weights: Path, models: Path, metrics: Path, card: Path) -> None:
    """Write the card.

    Reads:  weights (.weights.h5), models/{head,augmented,fine_tuned}.keras and
            metrics/{split,leakage,head,augmented,fine_tuned,evaluation}.json
    Writes: card (.md)
    """
    parameters = flatten(read_parameters(Parameters).model_dump())
    check_seal(weights)
    split, leakage, measured = (
        read_json(metrics / f"{name}.json") for name in ("split", "leakage", "evaluation")
    )
    differences = measured.pop("differences")
    files = {model: models / f"{model}.keras" for model in measured}
    trained = [
        {
            "model": model,
            **read_json(metrics / f"{model}.json"),
            **read_model(file),
        }
        for model, file in files.items()
    ]
    class_names = [found["class"] for found in measured["head"]["per_class"]]
    images = split["images"]["test"]
    largest = max(split["per_class"], key=itemgetter("train"))
    page = render(
        parameters=parameters,
        names=class_names,
        classes=listed(list(map(quoted, class_names))),
        labels=LABELS,
        techniques=TECHNIQUES,
        split=split,
        data=describe_data(split),
        trained=trained,
        measured=measured,
        results=[
            *describe_accuracies(measured, largest["class"], largest["test"] / images, images),
            *(describe_difference(**pair) for pair in differences),
            describe_leakage(leakage, measured, images),
            *(sentence for model, found in measured.items() for sentence in describe_answers(model, found)),
            *(
                describe_confusions(model, np.array(found["confusion_matrix"]), class_names)
                for model, found in measured.items()
            ),
        ],
        limits=describe_limits(split, measured),
        files=[
            {"path": str(file), "bytes": file.stat().st_size, "sha256": digest(file)}
            for file in (weights, *files.values())
        ],
    )
    with atomic_write(card) as file:
        file.write_text(page, encoding="utf-8")
    print(f"{card}: {len(page.splitlines())} lines")


if __name__ == "__main__":
    run(main)
