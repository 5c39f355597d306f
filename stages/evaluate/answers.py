"""How well a model knows what it knows: its probabilities, its doubts, and what is unlike all that it has learnt."""

import numpy as np

from stages.shared.calibration.temperature import at_temperature
from stages.shared.evaluation.metrics import calibration_error
from stages.shared.network.prediction import is_sure, prediction_sets
from stages.shared.pipeline.model_archive import DecisionRule


def measure_answers(
    truth: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
    typicality: np.ndarray,
    rule: DecisionRule,
) -> dict[str, float | None]:
    """Return what there is to measure of a model's answers to images of the class indices `truth`, (n,).

    `predicted` are class indices, (n,), `probabilities` (n, classes) and `typicality` (n,). An accuracy of no image
    is None.
    """
    before = at_temperature(probabilities, 1 / rule.temperature)
    found: dict[str, float | None] = {
        "temperature": rule.temperature,
        "calibration_error_before": calibration_error(truth, predicted, before),
        "typicality": float(typicality.mean(dtype="float64")),
        "unlike": float((typicality < rule.unlike_below).mean()),
    }
    if rule.sure_above is not None:
        sure = is_sure(probabilities, predicted, rule.sure_above)
        found["answered"] = float(sure.mean())
        found["accuracy_of_answers"] = float((predicted == truth)[sure].mean()) if sure.any() else None
    if rule.in_set_from is not None:
        sets = prediction_sets(probabilities, predicted, rule.in_set_from)
        found["in_set"] = float(sets[np.arange(len(truth)), truth].mean())
        found["set_size"] = float(sets.sum(axis=1).mean())
    return found
