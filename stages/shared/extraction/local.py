"""The engine of one machine: a block is computed while the next ones are decoded and the last one is written."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from stages.shared.extraction.work import Block, Key, Work, keep, versions_of
from stages.shared.images.reading import read_blocks


def compute_here(work: Work, key: Key) -> Iterator[int]:
    """Compute what `work` lacks, write it into its arrays and the store, and yield how many images are done, by block."""
    layers, store = list(work.arrays), work.parameters.store
    compute = work.passes.forward(layers)

    def write(block: Block, outputs: dict[str, np.ndarray]) -> None:
        rows = block.version * len(work.split) + block.images
        for layer, values in outputs.items():
            work.arrays[layer].write(rows, values)
        keep(outputs, block, key, store)

    with ThreadPoolExecutor(1) as writer:
        written: Future[None] = writer.submit(lambda: None)  # the block before this one
        for block, pixels in read_absent(work):
            outputs = {
                layer: work.arrays[layer].fit(output[: len(block.images)])
                for layer, output in zip(layers, compute(pixels), strict=True)
            }
            written.result()
            written = writer.submit(write, block, outputs)
            yield block.absent
        written.result()


def read_absent(work: Work) -> Iterator[tuple[Block, np.ndarray]]:
    """Yield the blocks that have an image to compute, and their pixels, (block, size, size, 3)."""
    wanted = np.flatnonzero(work.absent.any(axis=0))
    chosen, folder = work.split.iloc[wanted], Path(work.parameters.data.images)
    for rows, pixels in read_blocks(chosen, folder, work.parameters):
        images = wanted[rows]
        digests = work.split["sha256"].iloc[images].tolist()
        yield from versions_of(pixels, images, digests, work.absent[:, images], work.versions)
