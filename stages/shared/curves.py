"""What a training leaves to look at: the kept epoch's metrics and the learning curves."""

import json
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.shared.files import whole

SMOOTHING = 0.8  # the share of the previous value in the exponential moving average


def write_epochs(history: pd.DataFrame, kept: int, metrics: Path, table: Path) -> None:
    """Write the kept epoch, counted from 1, and its row of `history` to `metrics`, and all rows to `table`.

    `history` has a row an epoch and the columns {train,validation}_{accuracy,loss}; `table` has
    them raw and smoothed. The moving average starts at the first epoch's value, as in the
    notebook's smooth_curve. Called after every epoch, so that DVC shows a training that runs.
    """
    with whole(metrics) as file:
        file.write_text(json.dumps({"epoch": kept, **history.iloc[kept - 1]}, indent=2) + "\n")
    smoothed = history.ewm(alpha=1 - SMOOTHING, adjust=False).mean()
    curves = history.join(smoothed.add_suffix("_smoothed"))
    curves.index = pd.RangeIndex(1, len(curves) + 1, name="epoch")
    with whole(table) as file:
        curves.to_csv(file)


def draw_curves(table: Path, picture: Path) -> None:
    """Draw the accuracy and loss that `write_epochs` has written to `table`."""
    curves = pd.read_csv(table, index_col="epoch")
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ["accuracy", "loss"]):
        for split, color in [("train", "tab:blue"), ("validation", "tab:orange")]:
            axes.plot(curves[f"{split}_{quantity}"], ".", color=color, alpha=0.5, label=split)
            axes.plot(curves[f"{split}_{quantity}_smoothed"], color=color, label=f"{split}, smoothed")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    with whole(picture) as file:
        figure.savefig(file, dpi=120)
