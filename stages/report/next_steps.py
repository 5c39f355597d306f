"""What to do next: at most five steps, each with its evidence, from the numbers of a run alone.

The order of STEPS ranks them: first what the other numbers rest on, labels and test, then the model to take,
then what may make a better one. A step that the numbers give no evidence for is left out.
"""

from stages.report.data_steps import add_test_images, photograph, review_labels, separate_near_duplicates
from stages.report.findings import Findings, Step
from stages.report.model_steps import (
    change_augmentation,
    change_fine_tuning,
    help_the_weakest_class,
    mistrust_probabilities,
    take_a_model,
    train_longer_or_less,
    try_another_base,
)

MOST = 5
STEPS = (
    review_labels,
    separate_near_duplicates,
    take_a_model,
    add_test_images,
    photograph,
    try_another_base,
    change_fine_tuning,
    change_augmentation,
    help_the_weakest_class,
    train_longer_or_less,
    mistrust_probabilities,
)


def next_steps(found: Findings) -> list[Step]:
    """Return the MOST useful steps, the most useful first; there is always one, on which model to take."""
    return [step for step in (say(found) for say in STEPS) if step is not None][:MOST]
