"""The photos of a folder that are worth a label: whole, new, and no two nearly the same."""

import sys
from collections.abc import Iterable

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.audit_leakage.near_duplicates import Images, Leakage, differing_bits
from stages.shared.images.image_folder import ImageFolder
from stages.shared.pipeline.command import UserError
from stages.shared.store.results import Store
from stages.split_dataset.checks import look_at


def find_new(
    folder: ImageFolder, known: Iterable[str], megapixels: float, white_16_bit: int, store: Store
) -> pd.DataFrame:
    """Return path and sha256 of each image in `folder` whose SHA-256 is none of `known`, one of identical ones.

    What is no usable image is named on standard error. Raises UserError where none is left.
    """
    table = pd.DataFrame({"path": folder.list_files()}, dtype=str)
    found = look_at(table, folder, megapixels, white_16_bit, store)
    checked = list(tqdm(found, total=len(table), unit="image", desc="checking"))
    for path, of_file in zip(table["path"], checked, strict=True):
        if of_file.fault:
            print(f"{folder}/{path}: {of_file.fault}", file=sys.stderr)
    table["sha256"] = [of_file.digest for of_file in checked]
    usable = table[[of_file.fault is None for of_file in checked]]
    new = usable[~usable["sha256"].isin(set(known))].drop_duplicates("sha256").reset_index(drop=True)
    if new.empty:
        raise UserError(
            f"{folder} has {len(table)} files, but no image that is not among the labelled ones: name a folder with "
            "new photos."
        )
    return new


def distinct(images: Images, rows: Iterable[int], leakage: Leakage, number: int) -> np.ndarray:
    """Return the first `number` of `rows` of which none is a near-duplicate of one before it, int64."""
    kept: list[int] = []
    for row in rows:
        if len(kept) == number:
            break
        similar = images.directions[kept] @ images.directions[row] >= leakage.cosine_similarity
        close = np.array(kept, dtype="int64")[similar]
        if len(close):
            bits = differing_bits(images.hashes(close), images.hashes(np.array([row])))
            if (bits <= leakage.hash_bits).any():
                continue
        kept.append(row)
    return np.array(kept, dtype="int64")
