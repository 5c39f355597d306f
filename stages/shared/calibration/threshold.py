"""The operating point of a classifier of two classes: above which probability it names the second one."""

import re
from typing import Annotated

import numpy as np
from pydantic import StringConstraints

from stages.shared.pipeline.command import UserError

RECALL = r"recall of (.+) at least (0(?:\.\d+)?|1(?:\.0+)?)"
Aim = Annotated[str, StringConstraints(pattern=f"^(accuracy|f1|{RECALL})$")]
AIMS = "accuracy, f1 or, for example, 'recall of dog at least 0.95'"


def check_aim(aim: str, section: str, names: list[str]) -> None:
    """Raise UserError where `aim`, the parameter `section`.threshold_for, does not fit the classes `names`."""
    asked = re.fullmatch(RECALL, aim)
    if len(names) > 2 and aim != "accuracy":
        problem = f"of {len(names)} classes the most probable one is predicted: it takes accuracy"
    elif asked and asked[1] not in names:
        problem = f"the classes are {' and '.join(names)}"
    else:
        return
    raise UserError(f"params.yaml: {section}.threshold_for is {aim!r}, but {problem}.")


def choose_threshold(aim: str, truth: np.ndarray, probabilities: np.ndarray, names: list[str]) -> float:
    """Return the threshold that serves `aim` best on images of the classes `names`, two.

    `truth` are class indices, (n,), and `probabilities` float32, (n, 2). F1 is the mean of both
    classes'. A minimum recall is met with the highest accuracy that goes with it. Of all thresholds
    that are as good, within one standard error of the accuracy at the best, it is the one nearest to
    0.5: what is gained beyond that is mostly chance. It is half-way between the probabilities it parts.
    Source of the standard error: Breiman et al., Classification and Regression Trees (1984).
    """
    levels = np.unique(np.append(probabilities[:, 1].astype("float64"), [0, 1]))
    thresholds = np.concatenate([[0.5, 1], (levels[:-1] + levels[1:]) / 2])
    thresholds = thresholds[np.argsort(abs(thresholds - 0.5), kind="stable")]
    images = np.bincount(truth, minlength=2)
    # How many images of each class are above each threshold.
    zeros, ones = (
        images[index]
        - np.searchsorted(np.sort(probabilities[truth == index, 1].astype("float64")), thresholds, "right")
        for index in (0, 1)
    )
    right = images[0] - zeros, ones
    accuracy = (right[0] + right[1]) / len(truth)
    asked = re.fullmatch(RECALL, aim)
    if aim == "f1":
        named = len(truth) - zeros - ones, zeros + ones
        score = np.sum([right[index] / (images[index] + named[index]) for index in (0, 1)], axis=0)
    elif asked:
        index = names.index(asked[1])
        recall = right[index] / images[index]
        score = np.where(recall >= min(float(asked[2]), recall.max()), accuracy, -1)
    else:
        score = accuracy
    best = score.argmax()
    standard_error = np.sqrt(accuracy[best] * (1 - accuracy[best]) / len(truth))
    return float(thresholds[(score >= score[best] - standard_error).argmax()])  # the first one
