"""What is wrong with the images or their labels, before any of them goes into a split."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from stages.shared.images import decode, fault_of
from stages.shared.pipeline.command import UserError


def check_images(table: pd.DataFrame, folder: Path, on_bad_image: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return `table` with each file's SHA-256, and the reason for every bad image left out.

    Raises UserError, listing all bad images, where they are not to be left out.
    """

    def read(path: str) -> tuple[str, str | None]:
        digest = ""
        try:
            data = (folder / path).read_bytes()
            digest = sha256(data).hexdigest()
            decode(data)
        except Exception as error:  # Pillow's plugins raise many kinds on broken files
            return digest, fault_of(error)
        return digest, None

    with ThreadPoolExecutor() as pool:
        results = list(tqdm(pool.map(read, table["path"]), total=len(table), unit="image", desc="checking"))
    table["sha256"] = [digest for digest, _ in results]
    bad = {
        path: reason for path, (_, reason) in zip(table["path"], results, strict=True) if reason is not None
    }
    if bad and on_bad_image == "fail":
        listing = "\n".join(f"  {folder / path}: {reason}" for path, reason in bad.items())
        raise UserError(
            f"{len(bad)} of {len(table)} files are no usable images: remove them, or leave them out "
            f"with data.on_bad_image: exclude.\n{listing}"
        )
    usable = table[~table["path"].isin(bad)].reset_index(drop=True)
    lost = table[~table["label"].isin(usable["label"])]
    if len(lost):
        label, path = lost["label"].iloc[0], lost["path"].iloc[0]
        raise UserError(f"no image of class {label} is usable: {folder / path}, for one: {bad[path]}.")
    return usable, bad


def check_labels(table: pd.DataFrame, folder: Path) -> None:
    """Raise UserError where there are fewer than two classes, or one image has two labels."""
    labels = table["label"].unique()
    if len(labels) < 2:
        raise UserError(
            f"{folder} has images of one class only ({', '.join(labels) or 'none'}): a classifier needs two or more."
        )
    conflicts = table[table.groupby("sha256")["label"].transform("nunique") > 1].sort_values(
        ["sha256", "path"]
    )
    if len(conflicts):
        rows = zip(conflicts["path"], conflicts["label"], conflicts["sha256"], strict=True)
        listing = "\n".join(f"  {path}: {label} ({digest[:8]})" for path, label, digest in rows)
        raise UserError(
            f"{len(conflicts)} byte-identical images have different labels: correct or remove them.\n{listing}"
        )
