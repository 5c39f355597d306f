"""What a step follows from, the numbers of a run: which model to take, what it gets wrong, and what is evidence."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.shared.evaluation.intervals import even_chances
from stages.shared.reporting.wording import stated

EVIDENCE = 0.05  # p, at most
# Errors that another model has to correct, spoiling nothing, to be told from one as good.
FEWEST = next(errors for errors in range(1, 10) if even_chances(errors, 0) <= EVIDENCE)


class Step(NamedTuple):
    """A sentence: an instruction and its evidence, and the command that does it, where there is one."""

    instruction: str
    evidence: str
    command: str | None = None


class Findings(NamedTuple):
    """The numbers of a run, as the files of metrics/ have them."""

    split: dict
    leakage: dict
    label_audit: dict
    learning_curve: dict
    measured: dict[str, dict]  # each model's, of evaluation.json
    differences: list[dict]  # of evaluation.json
    histories: dict[str, pd.DataFrame]  # each model's, of *_curves.csv, a row an epoch

    def pair(self, before: str, after: str) -> dict:
        """Return how many images `after` corrected and spoiled of `before`, and the p value."""
        (found,) = (pair for pair in self.differences if pair["before"] == before and pair["after"] == after)
        return found

    @property
    def images(self) -> int:
        """How many test images there are."""
        return self.split["images"]["test"]

    @property
    def model(self) -> str:
        """The cheapest model, unless there is evidence that a dearer one is better."""
        taken, *dearer = self.measured
        for model in dearer:
            if better(self.pair(taken, model)):
                taken = model
        return taken

    @property
    def confusions(self) -> np.ndarray:
        """The confusion matrix of that model, a row a true class."""
        return np.array(self.measured[self.model]["confusion_matrix"])

    @property
    def errors(self) -> int:
        """How many test images that model got wrong."""
        return self.images - int(self.confusions.trace())


def better(pair: dict) -> bool:
    """Whether there is evidence that the later model of a pair is the better one."""
    return pair["p_value"] <= EVIDENCE and pair["corrected"] > pair["spoiled"]


def changed(pair: dict) -> str:
    return f"{pair['corrected']:,} corrected, {pair['spoiled']:,} spoiled, {stated(pair['p_value'])}"
