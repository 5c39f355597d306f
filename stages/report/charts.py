"""Charts as SVG, for a page with a light and a dark scheme. Each function returns a data URI.

They hold no name from the data, whose script the font may lack: names stand in the page around them.
"""

import base64
import re
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.report.results import Result
from stages.shared.evaluation.curves import accuracy_at_coverage, precision_recall_curve, reliability
from stages.shared.evaluation.intervals import wilson
from stages.shared.reporting.wording import LABELS

# What a colour of the drawing is in the light and in the dark scheme. The three models' and the two splits'
# are such that the colour-blind tell them apart (Okabe and Ito, 2008); dashes do in a print without colour.
INK, PAPER, GRID, BLUE, ORANGE, GREEN = "#111112", "#fefefd", "#cccccd", "#0072b2", "#d55e00", "#009e73"
SCHEMES = {
    INK: ("#1d2127", "#dfe3e8"),
    PAPER: ("#ffffff", "#1b1f24"),
    GRID: ("#d9dde2", "#3a4149"),
    BLUE: ("#0072b2", "#56b4e9"),
    ORANGE: ("#d55e00", "#f08a3c"),
    GREEN: ("#009e73", "#2fc59a"),
}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "freezepoint",
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "axes.edgecolor": GRID,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "legend.frameon": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "font.size": 10,
}
LOOKS = {"head": (BLUE, "-"), "augmented": (ORANGE, "--"), "fine_tuned": (GREEN, "-.")}
WIDTH = 4.2  # inches: a phone shows the letters at about their own size


def draw_accuracies(measured: dict[str, dict], baseline: float) -> str:
    """Draw each model's accuracy with its interval, and `baseline`, that of naming always the same class."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2), layout="constrained")
        axes = figure.subplots()
        for row, (model, metrics) in enumerate(measured.items()):
            low, high = metrics["accuracy_interval"]
            color, _ = LOOKS[model]
            axes.plot([low, high], [row, row], color=color, linewidth=2.5, solid_capstyle="round")
            axes.plot(metrics["accuracy"], row, "o", color=color, markersize=8)
        axes.axvline(baseline, color=INK, linestyle=":")
        axes.set(xlabel="test accuracy, share of images", yticks=range(len(measured)), ylim=(-0.6, 2.6))
        axes.set_yticklabels([LABELS[model] for model in measured])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        return as_uri(figure)


def draw_learning_curves(curves: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Draw each model's accuracy and loss, as `history.write_epochs` has them, on the same scales."""
    together = pd.concat(curves.values())
    limits = {name: scale(together.filter(like=name).to_numpy()) for name in ("accuracy", "loss")}
    return {model: draw_learning_curve(table, limits) for model, table in curves.items()}


def scale(values: np.ndarray) -> tuple[float, float]:
    """Return the limits of an axis for `values`, some of which may be no finite numbers."""
    finite = values[np.isfinite(values)]
    margin = 0.05 * np.ptp(finite) + 0.01
    return finite.min() - margin, finite.max() + margin


def draw_learning_curve(curves: pd.DataFrame, limits: dict[str, tuple[float, float]]) -> str:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 5))
        figure.subplots_adjust(
            left=0.17, right=0.98, bottom=0.1, top=0.89, hspace=0.07
        )  # much faster than a layout
        upper, lower = figure.subplots(2, 1, sharex=True)
        for axes, quantity in ((upper, "accuracy"), (lower, "loss")):
            for split, color, line in (("train", BLUE, "-"), ("validation", ORANGE, "--")):
                axes.plot(curves[f"{split}_{quantity}"], ".", color=color, alpha=0.6, label=split)
                smoothed = curves[f"{split}_{quantity}_smoothed"]
                axes.plot(smoothed, line, color=color, label=f"{split}, smoothed")
            axes.set_ylim(limits[quantity])
        upper.set_ylabel("accuracy, share of images")
        lower.set(ylabel="loss, nats", xlabel="epoch")
        lower.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        figure.legend(*upper.get_legend_handles_labels(), loc="upper center", ncols=2)
        return as_uri(figure)


def draw_more_images(foretold: dict) -> str | None:
    """Draw accuracy against the number of training images, as in metrics/learning_curve.json; None without a curve."""
    if "points" not in foretold:
        return None
    table = pd.DataFrame(foretold["points"])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(table["images"], table["low"], table["high"], color=ORANGE, alpha=0.2, linewidth=0)
        axes.plot(table["images"], table["curve"], color=ORANGE, label="curve, with its 95 % band")
        axes.plot(table["images"], table["accuracy"], "o", color=BLUE, label="measured")
        axes.axvline(foretold["images"], color=INK, linestyle=":")
        axes.set_xscale("log", base=2)
        shown = table["images"].iloc[::-2]
        axes.set_xticks(shown, [f"{size:,}" for size in shown])
        axes.set_xticks([], minor=True)
        axes.set(xlabel="images to learn from", ylabel="validation accuracy of a probe")
        figure.legend(loc="outside upper center", ncols=2)
        return as_uri(figure)


def draw_curves(curves: dict[str, pd.DataFrame]) -> str:
    """Draw each model's curve between 0 and 1, the first column across and the second upwards."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        axes = figure.subplots()
        for model, curve in curves.items():
            color, line = LOOKS[model]
            axes.plot(curve.iloc[:, 0], curve.iloc[:, 1], line, color=color, label=LABELS[model])
        first = next(iter(curves.values()))
        if "false_positive_rate" in first:
            axes.plot([0, 1], [0, 1], ":", color=INK, label="chance")
        x, y = (name.replace("_", " ") for name in first.columns)
        axes.set(xlabel=x, ylabel=y, aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        figure.legend(loc="outside upper center", ncols=2)
        return as_uri(figure)


def draw_reliability(model: str, table: pd.DataFrame) -> str:
    """Draw accuracy, with its interval, against confidence as `metrics.reliability` has them."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        right = (table["accuracy"] * table["images"]).round().astype(int)
        intervals = np.array([wilson(*counts) for counts in zip(right, table["images"], strict=True)])
        color, _ = LOOKS[model]
        upper.plot([0, 1], [0, 1], ":", color=INK)
        upper.vlines(table["confidence"], intervals[:, 0], intervals[:, 1], color=color, linewidth=2.5)
        upper.plot(table["confidence"], table["accuracy"], "o", color=color)
        upper.set(ylabel="accuracy, share of images", ylim=(-0.02, 1.02))
        lower.bar(table.index / 10 + 0.05, table["images"], width=0.09, color=color)
        lower.set(ylabel="images", xlabel="confidence, a probability", xlim=(-0.02, 1.02))
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        return as_uri(figure)


def draw_coverage(curves: dict[str, pd.DataFrame], measured: dict[str, dict]) -> str:
    """Draw each model's accuracy against how many images it answers, and a dot where it begins to abstain."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        axes = figure.subplots()
        for model, curve in curves.items():
            color, line = LOOKS[model]
            axes.plot(curve["answered"], curve["accuracy"], line, color=color, label=LABELS[model])
            if measured[model].get("accuracy_of_answers") is not None:
                axes.plot(
                    measured[model]["answered"], measured[model]["accuracy_of_answers"], "o", color=color
                )
        lowest = min(curve["accuracy"].iloc[-1] for curve in curves.values())
        axes.set(xlabel="share of test images answered", ylabel="accuracy of the answers", xlim=(-0.02, 1.02))
        axes.set_ylim(*scale(np.array([lowest - 0.05, 1])))
        figure.legend(loc="outside upper center", ncols=3)
        return as_uri(figure)


def as_uri(figure: Figure) -> str:
    """Return `figure` as SVG whose colours follow the reader's scheme, without a date."""
    buffer = BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue().decode()
    light, dark = "", ""
    for color, values in SCHEMES.items():
        name = f"--{color[1:]}"
        svg = svg.replace(color, f"var({name})")
        light, dark = (f"{rule}{name}:{value};" for rule, value in zip((light, dark), values, strict=True))
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    svg = re.sub(r"(<svg [^>]*>)", rf"\1{style}", svg, count=1)
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def draw_all(results: dict[str, Result], baseline: float) -> dict:
    """Draw all charts of the page, given the accuracy of naming always the same class."""
    measured = {model: result.metrics for model, result in results.items()}
    truth = next(iter(results.values())).images["class_index"].to_numpy()
    histories = {model: result.history for model, result in results.items()}
    precision_recall = {
        model: precision_recall_curve(truth, result.probabilities) for model, result in results.items()
    }
    coverage = {
        model: accuracy_at_coverage(result.images["right"].to_numpy(), result.images["confidence"].to_numpy())
        for model, result in results.items()
    }
    return {
        "accuracies": draw_accuracies(measured, baseline),
        "learning": draw_learning_curves(histories),
        "roc": draw_curves({model: result.roc for model, result in results.items()}),
        "precision_recall": draw_curves(precision_recall),
        "coverage": draw_coverage(coverage, measured),
        "reliability": {
            model: draw_reliability(model, reliability(truth, result.probabilities))
            for model, result in results.items()
        },
    }
