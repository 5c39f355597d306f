"""Draw what the trainings and evaluate have written: learning curves, confusion matrices and ROC curves."""

from pathlib import Path

from stages.draw_plots.pictures import draw_confusion_matrices, draw_learning_curves, draw_roc_curves
from stages.shared.pipeline.command import run
from stages.shared.pipeline.json_and_csv import CURVES, ROC, read_json, read_table


def main(*, metrics: Path, tables: Path, pictures: Path) -> None:
    """Draw the pictures.

    Reads:  metrics/evaluation.json, metrics/{head,augmented,fine_tuned}_curves.csv, and
            tables/{head,augmented,fine_tuned}_roc.csv
    Writes: pictures/{head,augmented,fine_tuned}_curves.png, pictures/{confusion_matrices,roc_curves}.png
    """
    measured = read_json(metrics / "evaluation.json")
    del measured["differences"]
    class_names = [found["class"] for found in measured["head"]["per_class"]]
    for model in measured:
        curves = read_table(metrics / f"{model}_curves.csv", CURVES)
        draw_learning_curves(curves.set_index("epoch"), pictures / f"{model}_curves.png")
    draw_confusion_matrices(measured, class_names, pictures / "confusion_matrices.png")
    roc = {model: read_table(tables / f"{model}_roc.csv", ROC) for model in measured}
    draw_roc_curves(roc, measured, pictures / "roc_curves.png")
    print(f"{pictures}: {len(measured) + 2} pictures")


if __name__ == "__main__":
    run(main)
