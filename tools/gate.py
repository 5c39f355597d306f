"""Check the test metrics against the rules in params.yaml, for a pull request.

    python -m tools.gate    exits with 0 where every rule holds, with 1 where one does not

A line a rule. How sure a metric is depends on the size of the test split: a rule fails where the
metric is beyond its limit by more than gate.standard_errors of its standard errors. A fall or rise
is measured, in pairs, on the images that both revisions have in their test splits.
"""

import re
import sys
from itertools import chain, islice
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, StringConstraints

from stages.shared.evaluation.intervals import draw_counts
from stages.shared.evaluation.metrics import METRICS, confusion_matrix, measure_classes
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.parameters import Section, Sections, read_parameters
from stages.shared.reporting.wording import listed
from tools.shared.predictions import IMAGE, MODELS, classes_of, read_predictions
from tools.shared.revisions import Files

RESAMPLES = 200  # the standard error itself is then sure to 5 %
OF_EVERY_CLASS = "roc_auc", "average_precision"  # metrics that need images of each
ROUNDING = 1e-9  # 0.8 - 0.79 is a little more than 0.01
RULE = r"^([^.\s]+)\.(\S.*?) (at least|at most|falls at most|rises at most) (\d+(?:\.\d+)?(?:[eE]-?\d+)?)$"


class Gate(Section):
    against: str = Field(min_length=1, description="a git revision")
    standard_errors: float = Field(ge=0, description="a number, 0 or more")
    rules: list[Annotated[str, StringConstraints(pattern=RULE)]] = Field(
        min_length=1,
        description="a list of rules like 'fine_tuned.accuracy at least 0.75', with at least, at most, "
        "falls at most or rises at most",
    )


class Parameters(Sections):
    gate: Gate


class Rule(NamedTuple):
    model: str
    metric: str
    kind: str
    limit: float


def main() -> bool:
    """Print how each rule fares and return whether all hold."""
    gate = read_parameters(Parameters).gate
    held = []
    for text in gate.rules:
        rule = parse(text)
        now = read_predictions(Files(None), rule.model)
        beyond, tolerance, said = check(rule, gate, now)
        held.append(beyond <= tolerance + ROUNDING)
        print(f"{'holds' if held[-1] else 'FAILS'}  {text}: {said}")
    return all(held)


def parse(text: str) -> Rule:
    """Return the rule that `text` states; raises UserError where it names a model that there is not."""
    model, metric, kind, limit = re.findall(RULE, text)[0]
    rule = Rule(model, metric, kind, float(limit))
    if rule.model not in MODELS:
        raise UserError(f"params.yaml: gate.rules has {text!r}, but the models are {', '.join(MODELS)}.")
    return rule


def check(rule: Rule, gate: Gate, now: pd.DataFrame) -> tuple[float, float, str]:
    """Return how far the metric of the predictions `now` is beyond the rule's limit, the tolerance, and what
    was measured.
    """
    if rule.kind in ("at least", "at most"):
        value, error = estimate(rule.metric, now)
        beyond = rule.limit - value if rule.kind == "at least" else value - rule.limit
        said = f"{value:.3f}, standard error {error:.3f} on {len(now)} images"
    else:
        before = read_predictions(Files(gate.against), rule.model)
        both = before[[*IMAGE, "label"]].merge(now[[*IMAGE, "label"]])
        if both.empty:
            raise UserError(
                f"no image is in the test splits of {gate.against} and of the workspace: "
                f"{rule.metric} cannot be compared."
            )
        absent = [name for name in classes_of(now) if name not in set(both["label"])]
        if absent and rule.metric in OF_EVERY_CLASS:
            raise UserError(
                f"no image of {listed(absent)} is in the test splits of {gate.against} and of the workspace: "
                f"{rule.metric} cannot be compared."
            )
        pair = [both.merge(table) for table in (before, now)]
        change, error = estimate(rule.metric, pair[1], pair[0])
        beyond = (-change if rule.kind == "falls at most" else change) - rule.limit
        moved = f"fell by {-change:.3f}" if change < 0 else f"rose by {change:.3f}"
        said = (
            f"{moved if change else 'did not change'} against {gate.against}, standard error {error:.3f} "
            f"on {len(both)} images"
        )
    return beyond, gate.standard_errors * error, said


def estimate(metric: str, table: pd.DataFrame, less: pd.DataFrame | None = None) -> tuple[float, float]:
    """Return `metric` of the predictions in `table` and its bootstrapped standard error.

    With `less`, predictions of the same images in the same order, of the difference to its metric.
    """
    tables = [table] if less is None else [table, less]

    def value(rows: np.ndarray) -> float:
        values = [look_up(metric, part.iloc[rows]) for part in tables]
        return values[0] - sum(values[1:])

    images = np.arange(len(table))
    resamples = chain.from_iterable(draw_counts(table["label"].to_numpy()))
    resampled = [value(np.repeat(images, counts)) for counts in islice(resamples, RESAMPLES)]
    return value(images), float(np.std(resampled, ddof=1))


def look_up(metric: str, predictions: pd.DataFrame) -> float:
    """Return a metric of `predictions`: one of METRICS, or per_class.CLASS.precision, recall or f1."""
    probabilities = predictions.filter(like="probability_")
    names = [str(column).removeprefix("probability_") for column in probabilities]
    truth, predicted = (predictions[column].map(names.index).to_numpy() for column in ("label", "predicted"))
    if metric in METRICS:
        return METRICS[metric](truth, predicted, probabilities.to_numpy("float32"))
    confusion = confusion_matrix(truth, predicted, len(names))
    of_classes = {
        f"per_class.{found['class']}.{name}": found[name]
        for found in measure_classes(confusion, names)
        for name in ("precision", "recall", "f1")
    }
    if metric not in of_classes:
        known = ", ".join([*METRICS, *of_classes])
        raise UserError(f"params.yaml: gate.rules names {metric!r}, but the metrics are {known}.")
    return of_classes[metric]


if __name__ == "__main__":
    sys.exit(not main())
