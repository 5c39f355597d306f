"""Write a page on the whole run: what to do next, data, techniques, curves, errors and where the fine-tuned model looks.

The page needs no other file and no network, and runs no script.
"""

from operator import itemgetter
from pathlib import Path
from typing import Annotated

from pydantic import Field

from stages.report.charts import draw_all, draw_more_images
from stages.report.examples import choose_samples, look, show_suspects
from stages.report.findings import Findings
from stages.report.image_map import draw_map
from stages.report.next_steps import next_steps
from stages.report.page import render
from stages.report.results import describe, read_results
from stages.shared.images.image_folder import ImagesFolder, open_folder
from stages.shared.pipeline.command import run
from stages.shared.pipeline.files import atomic_write
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.json_and_csv import read_json
from stages.shared.pipeline.parameters import read_parameters
from stages.shared.pipeline.splits import read_split
from stages.shared.reporting.comparison import describe_accuracies, describe_difference
from stages.shared.reporting.data import describe_data, describe_labels, describe_leakage
from stages.shared.reporting.model_quality import describe_precision_recall, describe_roc
from stages.shared.reporting.more_images import describe_more_images
from stages.shared.reporting.wording import LABELS, TECHNIQUES, listed, quoted

Values = Annotated[dict, Field(description="a section of parameters")]  # which fetch_weights checks


class Parameters(ImageInput):
    data: ImagesFolder
    conv_base: Values


def main(
    *,
    splits: Path,
    suspects: Path,
    near_duplicates: Path,
    image_map: Path,
    metrics: Path,
    tables: Path,
    heat_maps: Path,
    report: Path,
) -> None:
    """Write the page.

    Reads:  splits/{train,test}.csv, suspects (.csv), the images that they name, near_duplicates (.csv),
            image_map/{places.csv,thumbnails.webp},
            metrics/{split,leakage,label_audit,learning_curve,evaluation}.json,
            metrics/{head,augmented,fine_tuned}_curves.csv, tables/*.csv, heat_maps/{classes.csv,maps.npy}
    Writes: report (.html)
    """
    parameters = read_parameters(Parameters)
    folder = open_folder(parameters.data.images)
    train, test = (read_split(splits / f"{name}.csv") for name in ("train", "test"))
    split, leakage, label_audit, foretold = (
        read_json(metrics / f"{name}.json") for name in ("split", "leakage", "label_audit", "learning_curve")
    )
    results, differences = read_results(metrics, tables, test)
    measured = {model: result.metrics for model, result in results.items()}
    class_names = [found["class"] for found in measured["head"]["per_class"]]
    white = parameters.white_16_bit
    looks, cells = look(results["fine_tuned"].images, heat_maps, folder, parameters)
    largest = max(split["per_class"], key=itemgetter("train"))
    baseline = largest["test"] / len(test)
    histories = {model: result.history for model, result in results.items()}
    findings = Findings(split, leakage, label_audit, foretold, measured, differences, histories)
    page = render(
        next_steps=next_steps(findings),
        names=class_names,
        question=listed(list(map(quoted, class_names))),
        images=len(test),
        labels=LABELS,
        techniques=TECHNIQUES,
        conv_base=parameters.conv_base,
        image_size=parameters.image_size,
        split=split,
        data=[
            *describe_data(split),
            describe_leakage(leakage, measured, len(test)),
        ],
        samples=choose_samples(train, folder, white),
        label_audit=describe_labels(label_audit, split["images"]),
        suspects=show_suspects(suspects, folder, white),
        image_map=draw_map(
            image_map,
            suspects,
            near_duplicates,
            results["fine_tuned"].images.query("not right"),
            class_names,
            sum(split["images"].values()),
        ),
        measured=measured,
        accuracies=describe_accuracies(measured, largest["class"], baseline, len(test)),
        differences=[describe_difference(**pair) for pair in differences],
        models={
            model: describe(model, result, class_names, folder, white) for model, result in results.items()
        },
        charts={**draw_all(results, baseline), "more_images": draw_more_images(foretold)},
        more_images=describe_more_images(foretold),
        roc=describe_roc(measured, class_names),
        precision_recall=describe_precision_recall(measured),
        looks=looks,
        cells=cells,
    )
    with atomic_write(report) as file:
        file.write_text(page, encoding="utf-8")
    print(f"{report}: {len(page) / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
