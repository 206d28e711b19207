"""Vectors → two dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import MissingExtraError

__all__ = ["framed", "pca", "umap"]

Vectors = npt.NDArray[np.floating[Any]]
Points = npt.NDArray[np.float64]
_BLOCK_ROWS = 8_192
_SAMPLE_ROWS = 65_536


def pca(vectors: Vectors) -> Points:
    """Project on the two directions of largest variance: (n, 2).

    The sign of each axis is fixed by its largest component, so equal input gives equal maps.
    Of more than 65,536 rows, every n-th tells the directions. O(65,536 · dim² + dim³ + n · dim)
    time; memory of one block of rows and a dim × dim matrix.
    """
    n_rows, dim = vectors.shape
    if n_rows == 0:
        return np.zeros((0, 2))
    some = vectors[:: -(-n_rows // _SAMPLE_ROWS)]
    mean = some.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((dim, dim))
    for rows in _blocks(len(some)):
        block = some[rows] - mean
        scatter += block.T @ block
    top = np.linalg.eigh(scatter)[1][:, ::-1][:, :2]
    if dim == 1:
        top = np.hstack([top, np.zeros((1, 1))])
    top = top * np.sign(top[np.argmax(np.abs(top), axis=0), np.arange(2)] + 1e-300)
    return np.concatenate([(vectors[rows] - mean) @ top for rows in _blocks(n_rows)])


def _blocks(n_rows: int) -> list[slice]:
    return [slice(start, start + _BLOCK_ROWS) for start in range(0, n_rows, _BLOCK_ROWS)]


def umap(vectors: Vectors) -> Points:
    """Lay neighbours out together with UMAP: (n, 2); of fewer than three rows, the PCA.

    About 10 s to compile, then some minutes for 100,000 rows. Seeded, so equal input gives equal
    maps on one machine. Source: McInnes, Healy & Melville, 2018.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name} is not installed. Run: pip install 'datumaro-embed[umap]'", extra="umap"
        ) from error
    n_neighbors = min(15, len(vectors) - 1)
    if n_neighbors < 2:
        return pca(vectors)
    model = UMAP(
        n_neighbors=n_neighbors,
        metric="cosine",
        random_state=0,
        n_jobs=1,
        init="spectral" if len(vectors) > 50 else "random",
        min_dist=0.2,
    )
    points = model.fit_transform(np.asarray(vectors, dtype=np.float32))
    return np.asarray(points, dtype=np.float64)


def framed(points: Points) -> npt.NDArray[np.float32]:
    """Scale both axes alike so that everything lies in [-1, 1]."""
    if not len(points):
        return points.astype(np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = max(float((high - low).max()) / 2, 1e-12)
    scaled: npt.NDArray[np.float32] = ((points - (low + high) / 2) / scale).astype(np.float32)
    return scaled
