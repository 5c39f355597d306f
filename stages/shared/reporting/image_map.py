"""What the report says of the map of the images, and of each image on it."""

import pandas as pd

from stages.shared.reporting.wording import counted, quoted


def describe_map(
    shown: int, images: int, alike: float, chance: float, least: str, of_least: float
) -> list[str]:
    """Return sentences on which images the map shows, and how many neighbours on it are of an image's own class.

    `chance` is that share if images lay at random, `least` the class in which it is least.
    """
    which = (
        counted(shown, "image")
        if shown == images
        else f"{shown:,} of {counted(images, 'image')}, which ones a hash decides"
    )
    return [
        f"A point is one of {which}. Images that look alike to the conv base lie beside each other.",
        (
            f"Of the neighbours of an image on the map {alike:.3f} have its label, where {chance:.3f} would if images lay "
            f"at random; least of all those of {quoted(least)}, {of_least:.3f}."
        ),
    ]


def name_marks(**marks: tuple[int, int]) -> dict[str, str]:
    """Return what each of the marks stands for, with how many are shown of how many there are."""
    names = {
        "suspects": ("label that is likely wrong", "labels that are likely wrong"),
        "errors": (
            "test image that the fine-tuned model got wrong",
            "test images that the fine-tuned model got wrong",
        ),
        "near_duplicates": ("pair of near-duplicates", "pairs of near-duplicates"),
    }
    return {
        mark: f"{shown:,} {'' if shown == there else f'of {there:,} '}{names[mark][there != 1]}"
        for mark, (shown, there) in marks.items()
    }


def describe_image(point: dict) -> str:
    """Return lines on an image of the map: path, split, label, and what it is marked for."""
    said = [point["path"], f"{point['split']}, labelled {quoted(point['label'])}"]
    if pd.notna(point["suggested"]):
        said.append(f"Likely wrong: rather {quoted(point['suggested'])}?")
    if pd.notna(point["predicted"]):
        said.append(f"The fine-tuned model takes it for {quoted(point['predicted'])}.")
    if pd.notna(point["twin"]):
        said.append(f"Near-duplicate of {point['twin']}")
    return "\n".join(said)
