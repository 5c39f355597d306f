"""What is wrong with the images or their labels, before any of them goes into a split."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from importlib import metadata
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from PIL.ImageFile import ImageFile
from tqdm import tqdm

from stages.shared.images import decoding, opening
from stages.shared.images.decoding import decode, depth_of_unknown_white
from stages.shared.images.image_folder import ImageFolder
from stages.shared.images.opening import fault_of, opened
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.splits import Image, place_of
from stages.shared.store.code import code_digest
from stages.shared.store.known import SHA256, find_known, keep_known
from stages.shared.store.results import Store
from stages.split_dataset.labels import Data

# Of white: a file of 16 bits none of whose values is above it holds 14 bits or fewer, or a dark image.
DARK = 1 / 4
BLOCK = 1024  # files whose results are kept together


class Checked(NamedTuple):
    """What there is to say of a file."""

    digest: str = ""  # SHA-256
    fault: str | None = None
    pages: int = 1
    dark: Literal["grey", "colour"] | None = None  # of which kind the file is, where it has 16 bits


def check_images(
    table: pd.DataFrame, folder: ImageFolder, data: Data, white_16_bit: int, store: Store
) -> tuple[pd.DataFrame, dict[str, str], dict[str, int]]:
    """Return `table` with each file's SHA-256, the reason for every bad image left out, and counts of odd ones.

    Raises UserError, listing all bad images, where they are not to be left out.
    """
    found = look_at(table, folder, data.max_megapixels, white_16_bit, store)
    results = list(tqdm(found, total=len(table), unit="image", desc="checking"))
    table["sha256"] = [checked.digest for checked in results]
    bad = {
        path: checked.fault
        for path, checked in zip(table["path"], results, strict=True)
        if checked.fault is not None
    }
    if bad and data.on_bad_image == "fail":
        listing = "\n".join(f"  {folder}/{path}: {reason}" for path, reason in bad.items())
        raise UserError(
            f"{len(bad)} of {len(table)} files are no usable images: remove them, or leave them out "
            f"with data.on_bad_image: exclude.\n{listing}"
        )
    usable = table[~table["path"].isin(bad)].reset_index(drop=True)
    lost = table[~table["label"].isin(usable["label"])]
    if len(lost):
        label, path = lost["label"].iloc[0], lost["path"].iloc[0]
        raise UserError(f"no image of class {label} is usable: {folder}/{path}, for one: {bad[path]}.")
    return usable, bad, report(results, white_16_bit)


def look_at(
    table: pd.DataFrame, folder: ImageFolder, max_megapixels: float, white_16_bit: int, store: Store
) -> Iterator[Checked]:
    """Yield what there is to say of each image of `table`, whose columns say where it lies; `store` may know that of the present version of an object in S3."""

    def look(image: Image) -> Checked:
        digest = ""
        try:
            data = folder.read(place_of(image))
            digest = sha256(data).hexdigest()
            with opened(data, max_megapixels, "megapixels (data.max_megapixels)") as file:
                depth, tiff = depth_of_unknown_white(file), file.format == "TIFF"
                decode(file, white_16_bit)
                dark = depth if depth and reach(file, white_16_bit) <= DARK else None
        except Exception as error:  # Pillow's plugins raise many kinds on broken files
            return Checked(digest, fault_of(error))
        return Checked(digest, None, count_pages(data) if tiff else 1, dark)

    code = [code_digest(file).hex() for file in (__file__, decoding.__file__, opening.__file__)]
    how = [max_megapixels, white_16_bit, *map(metadata.version, ("pillow", "pi-heif")), code]
    with ThreadPoolExecutor(folder.readers) as pool:
        for first in range(0, len(table), BLOCK):
            block, new = table.iloc[first : first + BLOCK].to_dict("records"), {}
            versions = [folder.version(place_of(image)) for image in block]
            known = [values and Checked(*values) for values in find_known(versions, how, store)]
            looks = {
                row: pool.submit(look, image)
                for row, (image, checked) in enumerate(zip(block, known, strict=True))
                if checked is None
            }
            for row, (version, checked) in enumerate(zip(versions, known, strict=True)):
                found = checked or looks[row].result()
                if version and not checked:
                    new[version] = found
                yield found
            keep_known(new, how, store)
            keep_known({version: checked.digest for version, checked in new.items()}, SHA256, store)


def reach(file: ImageFile, white_16_bit: int) -> float:
    """Return the highest value in a decoded `file` of 16 bits as a fraction of white."""
    if file.mode.startswith("I"):
        return int(np.asarray(file).max()) / white_16_bit
    return int(np.asarray(file)[..., :3].max()) / 255  # Pillow has made 8 bits of them


def count_pages(data: bytes) -> int:
    """Return the number of images in a TIFF; where those after the first are broken, 1."""
    with suppress(Exception), opened(data) as file:
        return getattr(file, "n_frames", 1)
    return 1


def report(results: list[Checked], white_16_bit: int) -> dict[str, int]:
    """Say what is odd about the files, and return how many of each kind there are, none where there are none."""
    counts = {
        "dark_16_bit_images": sum(checked.dark == "grey" for checked in results),
        "dark_16_bit_colour_images": sum(checked.dark == "colour" for checked in results),
        "images_with_more_pages": sum(checked.pages > 1 for checked in results),
    }
    grey, colour, pages = counts.values()
    if grey:
        print(
            f"{grey} grey files of 16 bits come out near black (or white, where white is zero): none of their values is above a quarter of "
            f"white_16_bit: {white_16_bit}. Where they hold 12 bits, set white_16_bit: 4095; 10 bits: 1023; "
            "14 bits: 16383."
        )
    if colour:
        print(
            f"{colour} colour files of 16 bits come out near black: none of their values is above a quarter of "
            "65535, which white_16_bit does not change. Where they hold fewer bits, save them with 8."
        )
    if pages:
        print(f"{pages} TIFF files have several pages: the first is taken")
    return {name: number for name, number in counts.items() if number}


def check_labels(table: pd.DataFrame, folder: ImageFolder) -> None:
    """Raise UserError where there are fewer than two classes, or one image has two labels."""
    labels = table["label"].unique()
    if len(labels) < 2:
        raise UserError(
            f"{folder} has images of one class only ({', '.join(labels) or 'none'}): a classifier needs two or more. "
            "Where its folders are the classes, point data.images there."
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
