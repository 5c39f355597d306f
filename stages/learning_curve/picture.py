"""The picture of the learning curve."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from stages.shared.pipeline.files import atomic_write


def draw(measured: pd.DataFrame, points: list[dict], picture: Path) -> None:
    """Draw the accuracy of each subset, and the curve and its band from `points`, where there are any."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(measured["images"], measured["accuracy"], ".", color="tab:blue", alpha=0.5, label="a subset")
    if points:
        table = pd.DataFrame(points)
        axes.fill_between(
            table["images"], table["low"], table["high"], color="tab:orange", alpha=0.25, label="95 % band"
        )
        axes.plot(table["images"], table["curve"], color="tab:orange", label="inverse power law")
    axes.axvline(measured["images"].max(), color="grey", linestyle=":", label="all training images")
    axes.set_xscale("log", base=2)
    sizes = sorted({*measured["images"], *(point["images"] for point in points)})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="images to learn from", ylabel="accuracy on the validation images")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    with atomic_write(picture) as file:
        figure.savefig(file, dpi=120)
