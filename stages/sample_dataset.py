"""Write the sample data set, ELPV: photos of solar cells in the folders functional and defective.

In each are the folders mono and poly, for the two kinds of module. The images come from the
installed package elpv-dataset and are checked against a digest. A cell is defective where its defect
probability is above 0.5. Citation and license: README.md.
"""

import shutil
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path

import pandas as pd

from stages.shared.pipeline.command import UserError, run

IMAGES = 2624
DIGEST = "6124a64cdbfc92ae58fb69edc31e9343e43472a8f7552d334fbb69b71a6daf0b"


def main(*, images: Path) -> None:
    """Write the images.

    Reads:  the installed package elpv-dataset
    Writes: images/{functional,defective}/{mono,poly}/*.png, (300, 300) uint8 grey
    """
    source = Path(str(distribution("elpv-dataset").locate_file("elpv_dataset/data")))
    cells = pd.read_csv(source / "labels.csv", sep=r"\s+", names=["path", "probability", "type"])
    digest = digest_of(cells.sort_values("path"), source)
    if (len(cells), digest) != (IMAGES, DIGEST):
        raise UserError(
            f"the installed package elpv-dataset holds {len(cells)} images with digest {digest}, not "
            f"{IMAGES} with {DIGEST}: reinstall it with pip install --require-hashes -r requirements.txt."
        )
    for path, probability, module in cells.itertuples(index=False):
        label = "defective" if probability > 0.5 else "functional"
        target = images / label / module / Path(path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target)
    print(f"{images}: {len(cells)} images, {(cells['probability'] > 0.5).sum()} of them defective")


def digest_of(cells: pd.DataFrame, source: Path) -> str:
    """Return the SHA-256 over each cell's path, defect probability, length and bytes."""
    digest = sha256()
    for path, probability in zip(cells["path"], cells["probability"], strict=True):
        image = (source / path).read_bytes()
        digest.update(f"{path} {probability:.4f} {len(image)}\n".encode() + image)
    return digest.hexdigest()


if __name__ == "__main__":
    run(main)
