"""Learning curves, confusion matrices and ROC curves as PNG."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import MaxNLocator

from stages.shared.pipeline.files import atomic_write


def draw_learning_curves(curves: pd.DataFrame, picture: Path) -> None:
    """Draw accuracy and loss, raw and smoothed, as a training has written them: a row an epoch."""
    figure = Figure(figsize=(10, 4))
    figure.subplots_adjust(left=0.07, right=0.99, bottom=0.12, top=0.97)  # a layout takes as long as the rest
    for axes, quantity in zip(figure.subplots(1, 2), ["accuracy", "loss"], strict=True):
        for split, color in [("train", "tab:blue"), ("validation", "tab:orange")]:
            axes.plot(curves[f"{split}_{quantity}"], ".", color=color, alpha=0.5, label=split)
            axes.plot(curves[f"{split}_{quantity}_smoothed"], color=color, label=f"{split}, smoothed")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_write(picture) as file:
        figure.savefig(file, dpi=120)


def draw_confusion_matrices(measured: dict[str, dict], class_names: list[str], picture: Path) -> None:
    """Draw each model's confusion matrix, as `metrics.measure` gives it, side by side.

    Of many classes cells have colours only, and a class whose name the font lacks is named by its number.
    """
    side = np.clip(1.5 + 0.45 * len(class_names), 3.5, 15)  # inches
    points = min(10, 0.7 * 72 * (side - 1.5) / len(class_names))
    letters = get_font(findfont("DejaVu Sans")).get_charmap()
    labels = [
        name if all(ord(letter) in letters for letter in name) else f"class {index}"
        for index, name in enumerate(class_names)
    ]
    figure = Figure(figsize=(side * len(measured), side + 0.5), layout="constrained")
    all_axes = figure.subplots(1, len(measured), squeeze=False)[0]
    for axes, (model, metrics) in zip(all_axes, measured.items(), strict=True):
        matrix = np.array(metrics["confusion_matrix"])
        shares = matrix / matrix.sum(axis=1, keepdims=True)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), images in np.ndenumerate(matrix) if len(class_names) <= 30 else ():
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, images, ha="center", va="center", color=color)
        axes.set(
            title=model, xlabel="predicted", xticks=range(len(class_names)), yticks=range(len(class_names))
        )
        turned = {"rotation": 45, "ha": "right"} if len(class_names) > 3 else {}
        axes.set_xticklabels(labels, parse_math=False, fontsize=points, **turned)
        axes.set_yticklabels(labels, parse_math=False, fontsize=points)
    all_axes[0].set_ylabel("true class")
    with atomic_write(picture) as file:
        figure.savefig(file, dpi=120)


def draw_roc_curves(curves: dict[str, pd.DataFrame], measured: dict[str, dict], picture: Path) -> None:
    """Draw each model's ROC curve, with the area under it in the legend."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for model, curve in curves.items():
        label = f"{model}: AUC {measured[model]['roc_auc']:.3f}"
        axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], label=label)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="chance: AUC 0.5")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    with atomic_write(picture) as file:
        figure.savefig(file, dpi=120)
