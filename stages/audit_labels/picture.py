"""The picture of the images whose labels are likeliest wrong."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from stages.shared.images.image_folder import ImageFolder
from stages.shared.pictures.tiles import read, shortened, show
from stages.shared.pipeline.files import atomic_write

SHOWN = 24
A_LINE = 6


def draw(suspects: pd.DataFrame, folder: ImageFolder, white_16_bit: int, picture: Path) -> None:
    """Draw the first of `suspects`, each under its label and the suggested one."""
    title, shown = f"Labels that are likely wrong: {len(suspects)}", suspects.head(SHOWN)
    if len(shown) < len(suspects):
        title += f", of which the {SHOWN} likeliest"
    lines = max(1, -(-len(shown) // A_LINE))
    figure = Figure(figsize=(2.3 * A_LINE, 0.5 + 3 * lines), layout="constrained")
    figure.suptitle(title)
    places = figure.subplots(
        lines, A_LINE, squeeze=False, subplot_kw={"frame_on": False, "xticks": [], "yticks": []}
    )
    for axes, (_, image) in zip(places.flat, shown.iterrows(), strict=False):
        show(axes, image, read(image, folder, white_16_bit), f"rather {shortened(image['suggested'])}?")
    with atomic_write(picture) as file:
        figure.savefig(file, dpi=100)
