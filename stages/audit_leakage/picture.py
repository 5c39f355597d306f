"""The picture of the near-duplicates, side by side."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from stages.shared.images.image_folder import ImageFolder
from stages.shared.pictures.tiles import read, show
from stages.shared.pipeline.files import atomic_write

SHOWN = 12  # pairs
PAIRS_A_LINE = 3


def draw(pairs: pd.DataFrame, folder: ImageFolder, white_16_bit: int, picture: Path) -> None:
    """Draw `pairs`, the most similar first, side by side; of many the first and the last ones."""
    title, shown = f"Near-duplicates between the splits: {len(pairs)}", pairs
    if len(pairs) > SHOWN:
        half = SHOWN // 2
        title += f", of which the {half} most and the {half} least similar"
        shown = pd.concat([pairs.head(half), pairs.tail(half)])
    lines = max(1, -(-len(shown) // PAIRS_A_LINE))
    figure = Figure(figsize=(4.6 * PAIRS_A_LINE, 0.5 + 3 * lines), layout="constrained")
    figure.suptitle(title)
    places = figure.subfigures(lines, PAIRS_A_LINE, wspace=0.05, squeeze=False)
    for place, (_, pair) in zip(places.flat, shown.iterrows(), strict=False):
        left, right = place.subplots(1, 2)
        other = pair.filter(like="other_").rename(lambda name: name.removeprefix("other_"))
        show(
            left, pair, read(pair, folder, white_16_bit), f"cosine similarity {pair['cosine_similarity']:.4f}"
        )
        show(right, other, read(other, folder, white_16_bit), f"{pair['differing_bits']} of 64 bits differ")
    with atomic_write(picture) as file:
        figure.savefig(file, dpi=100)
