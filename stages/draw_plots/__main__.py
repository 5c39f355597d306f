"""Draw what the trainings and evaluate have written: learning curves, confusion matrices and ROC curves."""

import json
from pathlib import Path

import pandas as pd

from stages.draw_plots.pictures import draw_confusion_matrices, draw_learning_curves, draw_roc_curves
from stages.shared.pipeline.command import run


def main(*, metrics: Path, tables: Path, pictures: Path) -> None:
    """Draw the pictures.

    Reads:  metrics/evaluation.json, metrics/{head,augmented,fine_tuned}_curves.csv, and
            tables/{head,augmented,fine_tuned}_roc.csv
    Writes: pictures/{head,augmented,fine_tuned}_curves.png, pictures/{confusion_matrices,roc_curves}.png
    """
    measured = json.loads((metrics / "evaluation.json").read_text(encoding="utf-8"))
    del measured["differences"]
    class_names = [found["class"] for found in measured["head"]["per_class"]]
    for model in measured:
        curves = pd.read_csv(metrics / f"{model}_curves.csv", index_col="epoch")
        draw_learning_curves(curves, pictures / f"{model}_curves.png")
    draw_confusion_matrices(measured, class_names, pictures / "confusion_matrices.png")
    roc = {model: pd.read_csv(tables / f"{model}_roc.csv") for model in measured}
    draw_roc_curves(roc, measured, pictures / "roc_curves.png")
    print(f"{pictures}: {len(measured) + 2} pictures")


if __name__ == "__main__":
    run(main)
