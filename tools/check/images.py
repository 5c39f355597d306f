"""The images and their labels, as far as they can be known without reading an image."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from pydantic import Field

from stages.shared.calibration.threshold import AIMS, Aim, check_aim
from stages.shared.images.image_folder import OnDisk, open_folder
from stages.shared.labels.decisions import check_file, read_decisions
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import PartOfSection, Sections, read_parameters
from stages.shared.pipeline.splits import SPLITS
from stages.split_dataset.assignment import Split, ask, draw_from, given_splits
from stages.split_dataset.checks import check_labels
from stages.split_dataset.corrections import check_classes
from stages.split_dataset.labels import Data, list_images
from tools import gate
from tools.check.findings import Findings
from tools.check.project import Project


class Aimed(PartOfSection):
    """Of a training, what depends on the classes."""

    threshold_for: Aim = Field(description=AIMS)


class Labelled(Sections):
    data: Data
    split: Split


class Trainings(Sections):
    head: Aimed
    augmented: Aimed
    fine_tune: Aimed


def check_images(project: Project, findings: Findings) -> dict[str, float] | None:
    """Find images without a label, classes too small, and parameters that name a class that there is not.

    Returns about how many images each split gets; None where that cannot be said yet.
    """
    with findings.collect():
        parameters = read_parameters(Labelled)
        folder, images = Path(parameters.data.images), open_folder(parameters.data.images)
        writer = project.find_writer(folder)
        if writer and not project.is_whole(writer, folder):
            findings.checked.append(f"{folder} not yet, as {writer} writes it")
            return None
        table, _ = list_images(images, parameters.data, parameters.split)
        if not writer and isinstance(images, OnDisk):
            warn_of_links(folder, images.list_files(), findings)
        check_labels(table.assign(sha256=table["path"]), images)  # which are identical, the split finds out
        class_names = sorted(table["label"].unique())
        with findings.collect():
            decisions = Path(parameters.data.labels_corrected)
            check_file(decisions)
            check_classes(read_decisions(decisions), set(class_names), decisions)
        findings.checked.append(f"{images} ({len(table)} images of {len(class_names)} classes)")
        check_names(class_names, findings)
        return check_sizes(table, parameters.split)
    return None


def warn_of_links(folder: Path, paths: Iterable[str], findings: Findings) -> None:
    """Say where images are links to files elsewhere, before dvc add makes these read-only links of its cache."""
    if folder.with_name(f"{folder.name}.dvc").exists():  # links are DVC's own
        return
    links = sum((folder / path).is_symlink() or (folder / path).stat().st_nlink > 1 for path in paths)
    if links:
        findings.notices.append(
            f"{links} images in {folder} are links to files elsewhere, which dvc add would make read-only: take the "
            f"links away, and dvc add --out {folder} FOLDER copies the folder where the files are."
        )


def check_names(class_names: list[str], findings: Findings) -> None:
    """Find parameters that do not fit the classes."""
    with findings.collect():
        for section, training in read_parameters(Trainings):
            with findings.collect():
                check_aim(training.threshold_for, section, class_names)
    probabilities = {
        f"probability_{name}": [float(name == other) for other in class_names] for name in class_names
    }
    every_class = pd.DataFrame({"label": class_names, "predicted": class_names, **probabilities})
    with findings.collect():
        for rule in read_parameters(gate.Parameters).gate.rules:
            with findings.collect():
                gate.look_up(gate.parse(rule).metric, every_class)


def check_sizes(table: pd.DataFrame, split: Split) -> dict[str, float]:
    """Return about how many images each split gets; raises UserError where a class has too few in any case.

    With fractions the split finds out, as chance decides there.
    """
    shares, pool = split.shares(given_splits(table)), draw_from(table)
    asked = ask(pool, shares).sum(axis=1)
    unit = "path" if split.group_by is None else "group"
    units = pool.groupby("label")[unit].nunique()
    if units.min() < len(shares):
        raise UserError(
            f"class {units.idxmin()!r} has {units.min()} {'images' if unit == 'path' else 'groups'}, too few for "
            f"{len(shares)} splits: add images, or take the class out."
        )
    kept = table["given"].value_counts() if "given" in table else {}
    return {name: float(asked[name] if name in shares else kept[name]) for name in SPLITS}
