"""Print the test metrics of the three models, and where pictures and report of them are."""

import json
from pathlib import Path

import pandas as pd

METRICS = ["accuracy", "balanced_accuracy", "roc_auc", "average_precision", "loss"]


def main(metrics: Path) -> None:
    evaluation = json.loads((metrics / "evaluation.json").read_text(encoding="utf-8"))
    del evaluation["differences"]
    table = pd.DataFrame.from_dict(evaluation, orient="index")
    print(f"\nOn the test split ({metrics / 'evaluation.json'}):\n")
    print(table[METRICS].astype(float).round(3).to_string())
    print(f"\nPictures: {', '.join(str(picture) for picture in sorted(metrics.glob('*.png')))}")
    print(f"Report: {metrics / 'report.html'}, a page to open in a browser")


if __name__ == "__main__":
    main(Path("metrics"))
