"""Vectors → two dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import MissingExtraError

Vectors = npt.NDArray[np.floating[Any]]
_BLOCK_ROWS = 8_192
_SAMPLE_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Projection:
    """A map: `points` of shape (n, 2); `note` says what they show, as the end of a sentence."""

    name: str
    note: str
    points: npt.NDArray[np.float64]


def pca(vectors: Vectors) -> Projection:
    """Project on the two directions of largest variance.

    The sign of each axis is fixed by its largest component, so equal input gives equal maps.
    Of more than 65,536 rows, every n-th tells the directions. O(65,536 · dim² + dim³ + n · dim)
    time; memory of one block of rows and a dim × dim matrix.
    """
    n_rows, dim = vectors.shape
    if n_rows == 0:
        return Projection("PCA", "no item has an embedding.", np.zeros((0, 2)))
    some = vectors[:: -(-n_rows // _SAMPLE_ROWS)]
    mean = some.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((dim, dim))
    for rows in _blocks(len(some)):
        block = some[rows] - mean
        scatter += block.T @ block
    variances, axes = np.linalg.eigh(scatter)
    top = axes[:, ::-1][:, :2]
    if dim == 1:
        top = np.hstack([top, np.zeros((1, 1))])
    top = top * np.sign(top[np.argmax(np.abs(top), axis=0), np.arange(2)] + 1e-300)
    points = np.concatenate([(vectors[rows] - mean) @ top for rows in _blocks(n_rows)])
    total = float(variances.sum())
    share = float(variances[::-1][:2].sum()) / total if total > 0 else 1.0
    note = f"first two principal components, {share:.0%} of the variance; distances are to scale."
    return Projection("PCA", note, points)


def _blocks(n_rows: int) -> list[slice]:
    return [slice(start, start + _BLOCK_ROWS) for start in range(0, n_rows, _BLOCK_ROWS)]


def umap(vectors: Vectors) -> Projection:
    """Lay neighbours out together with UMAP.

    About 10 s to compile, then some minutes for 100,000 rows. Seeded, so equal input gives equal
    maps on one machine. Source: McInnes, Healy & Melville, 2018.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise missing(error) from error
    n_neighbors = min(15, len(vectors) - 1)
    if n_neighbors < 2:
        note = "too few items for UMAP, so this is the PCA."
        return Projection("UMAP", note, pca(vectors).points)
    model = UMAP(
        n_neighbors=n_neighbors,
        metric="cosine",
        random_state=0,
        n_jobs=1,
        init="spectral" if len(vectors) > 50 else "random",
        min_dist=0.2,
    )
    points = model.fit_transform(np.asarray(vectors, dtype=np.float32))
    note = "neighbors stay close; distances between distant groups have no meaning."
    return Projection("UMAP", note, np.asarray(points, dtype=np.float64))


def missing(error: ImportError) -> MissingExtraError:
    """Turn a failed import of a package of the extra `report` into the command that mends it."""
    return MissingExtraError(
        f"{error.name} is not installed. Run: pip install 'datumaro-embed[report]'", extra="report"
    )
