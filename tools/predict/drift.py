"""Whether a folder of images is like those that a model learnt from."""

from math import sqrt

from scipy.stats import norm


def describe(total: float, unlike: int, images: int, validation_images: int) -> str:
    """Return a sentence on `images` whose typicalities add up to `total`; `unlike` of them are unlike all learnt.

    The mean typicality is the share of pairs, an image and one of `validation_images`, of which the former is more
    like the training images: the statistic of Mann and Whitney's test (1947), whose normal approximation is taken.
    """
    mean = total / images
    deviation = sqrt((images + validation_images + 1) / (12 * images * validation_images))
    p = 2 * norm.sf(abs(mean - 0.5) / deviation)
    verdict = (
        "no evidence that they differ"
        if p > 0.05
        else f"they are {'less' if mean < 0.5 else 'more'} like them"
    )
    return (
        f"{images:,} images: mean typicality {mean:.3f}, where {0.5 - 1.96 * deviation:.3f} to "
        f"{0.5 + 1.96 * deviation:.3f} is to be expected of images like those of validation (p "
        f"{'< 0.001' if p < 0.001 else f'= {p:.2g}'}: {verdict}); {unlike:,} of them are unlike all that was learnt"
    )
