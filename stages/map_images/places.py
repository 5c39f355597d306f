"""Which images are on the map, and where."""

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

MOST = 3000  # images: of more, the page that shows them gets heavy, and the points a blot
COMPONENTS = 50  # of the features, which t-SNE compares
PERPLEXITY = 30  # about how many neighbours an image minds
ITERATIONS = 400  # from some 350 on, what moves is distances between clusters, which say nothing
ANGLE = 0.8  # of what is far away, how coarsely it counts


def choose(images: pd.DataFrame) -> np.ndarray:
    """Return the rows of MOST of the `images`, or of all, int64: each class in its share, and by their bytes which ones."""
    ordered = images.sort_values(["sha256", "path"])
    classes = ordered.groupby("class_index")["path"]
    share = classes.cumcount() / classes.transform("size")
    return share.sort_values(kind="stable").index[:MOST].to_numpy()


def lay_out(features: np.ndarray) -> np.ndarray:
    """Return a place for each of (n, channels) `features`, (n, 2) float64 from 0 to 1, similar ones beside each other.

    By t-SNE of their principal components, with the first two as the first places. The features are made vectors of
    length 1, so that their directions count. On one core, so that the bytes depend on no number of cores.
    Sources: van der Maaten and Hinton, Visualizing Data using t-SNE (2008); Kobak and Berens, The Art of Using t-SNE
    for Single-Cell Transcriptomics (2019), for the first places.
    """
    vectors = features.astype("float64")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(lengths > 0, lengths, 1)
    with threadpool_limits(limits=1), np.errstate(invalid="ignore"):  # where all are alike, PCA divides by 0
        components = PCA(min(COMPONENTS, *vectors.shape), random_state=0).fit_transform(vectors)
        first = np.zeros((len(vectors), 2), "float32")
        first[:, : components.shape[1]] = components[:, :2] / (np.std(components[:, 0]) or 1) * 1e-4
        tsne = TSNE(
            perplexity=min(PERPLEXITY, (len(vectors) - 1) / 3),
            init=first,  # pyright: ignore[reportArgumentType]
            max_iter=ITERATIONS,
            angle=ANGLE,
            random_state=0,
        )
        places = tsne.fit_transform(components).astype("float64")
    low, high = places.min(axis=0), places.max(axis=0)
    return 0.5 + (places - (low + high) / 2) / (np.max(high - low) or 1)
