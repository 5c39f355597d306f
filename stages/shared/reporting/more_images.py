"""What more images to learn from would give, as sentences that hold for any learning curve."""

from operator import itemgetter

from stages.shared.reporting.wording import counted, quoted


def describe_more_images(foretold: dict) -> list[str]:
    """Return sentences on what more images to learn from would give, as in metrics/learning_curve.json."""
    images = foretold["images"]
    if "twice" not in foretold:
        return [f"{counted(images, 'training image')}: too few for a curve of accuracy against their number."]
    twice, half = foretold["twice"], foretold["half_the_errors"]
    low, high = twice["interval"]
    said = [
        (
            f"By its curve, twice as many training images ({twice['images']:,}) would take a linear probe of the same "
            f"features from {foretold['on_the_curve']:.3f} to {twice['accuracy']:.3f} on the validation images (95 % "
            f"band {low:.3f} to {high:.3f})."
        )
    ]
    aim = f"Half as many errors ({half['accuracy']:.3f})"
    if foretold["on_the_curve"] > 0.9995:
        said.append("There are next to no errors left to halve.")
    elif half["out_of_reach"]:
        said.append(f"{aim} are out of its reach: more images of this kind will not get there.")
    elif half["images"] is None:
        said.append(f"{aim} would take it more than 100 times as many images, if it gets there at all.")
    else:
        most = "if it gets there at all" if half["at_most"] is None else f"at most {half['at_most']:,}"
        said.append(f"{aim} would take it about {half['images']:,} images ({most}).")
    gains = [(one["twice"] - one["recall"], one) for one in foretold["per_class"]]
    gain, most_gained = max(gains, key=itemgetter(0))
    said.append(
        f"{quoted(most_gained['class'])} gains most by them: {most_gained['recall']:.3f} to "
        f"{most_gained['twice']:.3f} of its images found with twice as many of all classes."
        if gain >= 0.005
        else "No class gains as much as 0.005 of recall by twice as many."
    )
    return said
