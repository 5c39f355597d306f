"""Which model is best, and whether chance explains that, as sentences that hold for any result."""

from stages.shared.reporting.wording import CHANGES, MODELS, begun, counted, listed, quoted, stated


def describe_accuracies(measured: dict[str, dict], largest: str, baseline: float, images: int) -> list[str]:
    """Return sentences on the best accuracy, and on `baseline`, that of always naming `largest`."""
    best = max(metrics["accuracy"] for metrics in measured.values())
    leaders = [model for model, metrics in measured.items() if metrics["accuracy"] == best]
    low, high = measured[leaders[0]]["accuracy_interval"]
    above = [
        MODELS[model] for model, metrics in measured.items() if metrics["accuracy_interval"][0] > baseline
    ]
    if len(above) == len(measured):
        against = "all 95 % intervals lie above that"
    elif above:
        against = f"the 95 % interval lies above that for {listed(above)} only"
    else:
        against = "no 95 % interval lies above that"
    return [
        (
            f"The highest test accuracy, {best:.3f} ({round(best * images):,} of {counted(images, 'image')}; 95 % "
            f"interval {low:.3f} to {high:.3f}), is that of {listed([MODELS[model] for model in leaders])}."
        ),
        f"Naming every image {quoted(largest)} would give {baseline:.3f}: {against}.",
    ]


def describe_difference(after: str, before: str, corrected: int, spoiled: int, p_value: float) -> str:
    """Return a sentence on two models, one of the "differences" in metrics/evaluation.json."""
    if corrected == spoiled == 0:
        return begun(f"{MODELS[after]} and {MODELS[before]} got the same images right and wrong.")
    verdict = (
        "no evidence of a difference"
        if p_value > 0.05
        else f"evidence that {MODELS[after]} is {'better' if corrected > spoiled else 'worse'}"
    )
    return begun(
        f"{CHANGES[after]} corrected {counted(corrected, 'image')} and spoiled {spoiled:,} of {MODELS[before]}, "
        f"{stated(p_value)}: {verdict}."
    )
