"""The engine of one machine: a block is computed while the next ones are decoded and the last one is written."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from stages.shared.extraction.work import Block, ExtractionParameters, Part, Pixels, Work, keep, versions_of
from stages.shared.images.image_folder import open_folder
from stages.shared.images.reading import read_blocks


def compute_here(work: Work) -> Iterator[int]:
    """Compute `work`, write it into its arrays and the store, and yield how many images are done, by block."""
    with ThreadPoolExecutor(1) as writer:
        for part in work.parts:
            yield from _compute(part, work.parameters, writer)


def _compute(part: Part, parameters: ExtractionParameters, writer: ThreadPoolExecutor) -> Iterator[int]:
    arrays = part.lacking
    compute = part.passes.forward(list(arrays))

    def write(block: Block, found: Sequence[np.ndarray | tf.Tensor]) -> None:
        rows, outputs = block.version * len(part.split) + block.images, {}
        for (layer, array), output in zip(arrays.items(), found, strict=True):
            outputs[layer] = array.fit(output[: len(block.images)])
            array.write(rows, outputs[layer])
        keep(outputs, block, part.key, part.store)

    written: Future[None] = writer.submit(lambda: None)  # the block before this one
    for block, pixels in read_absent(part, parameters):
        found = compute(pixels)
        written.result()
        written = writer.submit(write, block, found)
        yield block.absent
    written.result()


def read_absent(part: Part, parameters: ExtractionParameters) -> Iterator[tuple[Block, Pixels]]:
    """Yield the blocks that have an image to compute, and their pixels, (block, size, size, 3)."""
    absent = part.absent
    wanted = np.flatnonzero(absent.any(axis=0))
    chosen, folder = part.split.iloc[wanted], open_folder(parameters.data.images)
    for rows, pixels in read_blocks(chosen, folder, parameters, part.passes.block):
        images = wanted[rows]
        digests = part.split["sha256"].iloc[images].tolist()
        yield from versions_of(pixels, images, digests, absent[:, images], part.versions)
