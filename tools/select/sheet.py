"""The contact sheet of the selected photos."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from stages.shared.images.image_folder import ImageFolder
from stages.shared.pictures.tiles import read
from stages.shared.pipeline.files import atomic_write

A_LINE = 10  # photos


def draw(table: pd.DataFrame, folder: ImageFolder, white_16_bit: int, picture: Path) -> None:
    """Draw the photos of `table` in its order, each under its name and what the probe takes it for.

    Raises UserError as read_unchanged does.
    """
    lines = -(-len(table) // A_LINE)
    figure = Figure(figsize=(1.8 * A_LINE, 2.2 * lines), layout="constrained")
    grid = figure.subplots(lines, A_LINE, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (_, photo) in zip(grid.flat, table.iterrows(), strict=False):
        axes.imshow(read(photo, folder, white_16_bit))
        name, label = (
            text if len(text) <= 24 else f"…{text[-23:]}" for text in (photo["path"], photo["predicted"])
        )
        title = f"{name}\n{label} {photo['probability']:.2f}"
        axes.set_title(title, fontsize=7, parse_math=False)  # names may have dollar signs
    with atomic_write(picture) as file:
        figure.savefig(file, dpi=100, format="png")
