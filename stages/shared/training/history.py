"""The history of a training: its learning curves, and the metrics of the epoch that is kept."""

from pathlib import Path

import pandas as pd

from stages.shared.pipeline.files import atomic_write, write_json

SMOOTHING = 0.8  # the share of the previous value in the exponential moving average


def write_epochs(history: pd.DataFrame, kept: int, metrics: Path, table: Path) -> None:
    """Write the kept epoch, counted from 1, and its row of `history` to `metrics`, and all rows to `table`.

    `history` has a row an epoch and the columns {train,validation}_{accuracy,loss}; `table` has
    them raw and smoothed. The moving average starts at the first epoch's value, as in the
    notebook's smooth_curve. Called after every epoch, so that DVC shows a training that runs.
    """
    write_json(metrics, {"epoch": kept, **history.iloc[kept - 1]})
    smoothed = history.ewm(alpha=1 - SMOOTHING, adjust=False).mean()
    curves = history.join(smoothed.add_suffix("_smoothed"))
    curves.index = pd.RangeIndex(1, len(curves) + 1, name="epoch")
    with atomic_write(table) as file:
        curves.to_csv(file)
