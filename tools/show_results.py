"""Print the test metrics of the three models, and where pictures and report of them are."""

from pathlib import Path

import pandas as pd

from stages.shared.pipeline.damage import damaged
from stages.shared.pipeline.json_and_csv import read_json

METRICS = ["accuracy", "balanced_accuracy", "roc_auc", "average_precision", "loss"]


def main(metrics: Path) -> None:
    file = metrics / "evaluation.json"
    evaluation = read_json(file)
    evaluation.pop("differences", None)
    try:
        table = pd.DataFrame.from_dict(evaluation, orient="index")[METRICS].astype(float)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise damaged(
            file, f"it has not what evaluate writes ({' '.join(str(error).split())[:300]})"
        ) from None
    print(f"\nOn the test split ({file}):\n")
    print(table.round(3).to_string())
    print(f"\nPictures: {', '.join(str(picture) for picture in sorted(metrics.glob('*.png')))}")
    print(
        f"Report: {metrics / 'report.html'}, a page to open in a browser, which begins with what to do next"
    )


if __name__ == "__main__":
    main(Path("metrics"))
