"""What a training leaves to look at: the kept epoch's metrics and the learning curves."""

import json
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.shared.files import whole

SMOOTHING = 0.8  # the share of the previous value in the exponential moving average


def write_metrics(history: pd.DataFrame, kept: int, metrics: Path) -> None:
    """Write the kept epoch, counted from 1, and its row of `history` as JSON."""
    with whole(metrics) as file:
        file.write_text(json.dumps({"epoch": kept, **history.iloc[kept - 1]}, indent=2) + "\n")


def write_curves(history: pd.DataFrame, table: Path, picture: Path) -> None:
    """Write accuracy and loss per epoch to `table`, raw and smoothed, and draw them in `picture`.

    `history` has a row an epoch and the columns {train,validation}_{accuracy,loss}. The moving
    average starts at the first epoch's value, as in the notebook's smooth_curve.
    """
    smoothed = history.ewm(alpha=1 - SMOOTHING, adjust=False).mean()
    curves = history.join(smoothed.add_suffix("_smoothed"))
    curves.index = pd.RangeIndex(1, len(curves) + 1, name="epoch")
    with whole(table) as file:
        curves.to_csv(file)

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
