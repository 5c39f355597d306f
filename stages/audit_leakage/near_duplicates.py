"""Find the images of a split that are nearly the same as one of another: one photo, stored twice.

A near-duplicate is similar in two ways at once. Its features point in nearly the same direction, so
that it shows the same thing, and its perceptual hash differs in few bits, so that it shows it in the
same places. Either alone finds too much: features bring together two photos of tabby cats, and the
hash two solar cells, which are all laid out alike. A copy that was saved anew, resized, made
brighter, mirrored or cropped a little passes both.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import Field
from scipy.fft import dctn
from tqdm import tqdm

from stages.shared.images.decoding import decode
from stages.shared.images.image_folder import ImageFolder
from stages.shared.images.opening import opened
from stages.shared.images.reading import read_unchanged
from stages.shared.pipeline.averages import average_features
from stages.shared.pipeline.parameters import Section

BLOCK = 1024  # images compared with as many others at a time
SIDE = 32  # pixels of the image that is hashed
MIRRORED = np.uint64(0x5555_5555_5555_5555)  # the bits of odd horizontal frequencies


class Leakage(Section):
    cosine_similarity: float = Field(gt=0, le=1, description="a number above 0, at most 1")
    hash_bits: int = Field(ge=0, le=64, description="a whole number of bits from 0 to 64")


class Images:
    """The images of a split as they are compared: by `directions`, (n, channels) float32, and by hashes."""

    def __init__(self, split: pd.DataFrame, directions: np.ndarray, folder: ImageFolder, white: int) -> None:
        self.directions = directions
        self._split, self._folder, self._white, self._hashes = split, folder, white, {}

    def hashes(self, rows: np.ndarray) -> np.ndarray:
        """Return the perceptual hashes of `rows`, uint64; each image is decoded once, and only if asked for.

        Raises UserError as read_unchanged does.
        """
        for row in rows:
            if row not in self._hashes:
                with opened(read_unchanged(self._folder, self._split.iloc[row])) as file:
                    self._hashes[row] = perceptual_hash(decode(file, self._white))
        return np.array([self._hashes[row] for row in rows], dtype="uint64")


def read_directions(features: Path, splits: dict[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Return a unit vector for each image, (n, channels) float32 for each split.

    It is that of the square roots of the image's features (of negative ones, which some bases give, with
    their sign), averaged over space first, less the mean of the training images: few strong features would
    decide otherwise, and what all images have in common would make any two similar. Raises UserError as
    StoredArray does.
    Source of the roots: Arandjelović and Zisserman, Three Things Everyone Should Know (2012).
    """
    averages = average_features(features, {"train": splits["train"], **splits})
    roots = {name: signed_roots(vectors) for name, vectors in averages.items()}
    centre = roots["train"].mean(axis=0)
    return {name: normalized(vectors - centre) for name, vectors in roots.items()}


def signed_roots(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.sqrt(np.abs(values))


def normalized(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def perceptual_hash(image: Image.Image) -> int:
    """Return the signs of the 64 lowest frequencies of `image` in grey, as 64 bits.

    Source: Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions (2010). A bit
    there says whether a frequency is above their median, which is near 0; with signs, mirroring the
    image flips the bits of odd horizontal frequencies and no others.
    """
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype="float64")
    return int.from_bytes(np.packbits(np.asarray(dctn(grey))[:8, :8] > 0).tobytes())


def differing_bits(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return in how many bits uint64 `hashes` differ from `others` or, if fewer, from their mirror images."""
    differences = hashes ^ others
    return np.minimum(np.bitwise_count(differences), np.bitwise_count(differences ^ MIRRORED))


def find_closest(images: Images, others: Images, leakage: Leakage, title: str) -> pd.DataFrame:
    """Return the images that have a near-duplicate among `others`, each with the most similar of these.

    A row an image: row, other_row, cosine_similarity (float32, four digits) and differing_bits.
    Blocks are compared with blocks, so that memory grows with neither the pairs of images nor the
    near-duplicates among them.
    """
    n = len(images.directions)
    closest, similarities = np.zeros(n, dtype="int64"), np.zeros(n, dtype="float32")
    for first in tqdm(range(0, n, BLOCK), desc=title, unit="block"):
        block = slice(first, first + BLOCK)
        for other_first in range(0, len(others.directions), BLOCK):
            other_block = slice(other_first, other_first + BLOCK)
            similarity = np.round(images.directions[block] @ others.directions[other_block].T, 4)
            similarity[similarity < leakage.cosine_similarity] = 0
            rows, columns = (np.flatnonzero(similarity.any(axis=axis)) for axis in (1, 0))
            hashes, other_hashes = images.hashes(first + rows), others.hashes(other_first + columns)
            bits = differing_bits(hashes[:, np.newaxis], other_hashes)
            similarity[np.ix_(rows, columns)] *= bits <= leakage.hash_bits
            best = similarity.max(axis=1)
            closer = best > similarities[block]
            closest[block][closer] = other_first + similarity.argmax(axis=1)[closer]
            similarities[block][closer] = best[closer]
    row = similarities.nonzero()[0]
    other_row = closest[row]
    return pd.DataFrame(
        {
            "row": row,
            "other_row": other_row,
            "cosine_similarity": similarities[row],
            "differing_bits": differing_bits(images.hashes(row), others.hashes(other_row)),
        }
    )
