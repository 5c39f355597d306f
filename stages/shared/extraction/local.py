"""The engine of one machine: a block is computed while the next ones are decoded and the last one is written."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from stages.shared.extraction.work import Block, ExtractionParameters, Part, Work, keep, versions_of
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

    def write(block: Block, outputs: dict[str, np.ndarray]) -> None:
        rows = block.version * len(part.split) + block.images
        for layer, values in outputs.items():
            arrays[layer].write(rows, values)
        keep(outputs, block, part.key, parameters.store)

    written: Future[None] = writer.submit(lambda: None)  # the block before this one
    for block, pixels in read_absent(part, parameters):
        outputs = {
            layer: array.fit(output[: len(block.images)])
            for (layer, array), output in zip(arrays.items(), compute(pixels), strict=True)
        }
        written.result()
        written = writer.submit(write, block, outputs)
        yield block.absent
    written.result()


def read_absent(part: Part, parameters: ExtractionParameters) -> Iterator[tuple[Block, np.ndarray]]:
    """Yield the blocks that have an image to compute, and their pixels, (block, size, size, 3)."""
    absent = part.absent
    wanted = np.flatnonzero(absent.any(axis=0))
    chosen, folder = part.split.iloc[wanted], open_folder(parameters.data.images)
    for rows, pixels in read_blocks(chosen, folder, parameters):
        images = wanted[rows]
        digests = part.split["sha256"].iloc[images].tolist()
        yield from versions_of(pixels, images, digests, absent[:, images], part.versions)
