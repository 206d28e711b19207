"""Vectors → two dimensions: a PCA at once, then a UMAP where it can be had."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DatumaroEmbedError, MissingExtraError
from ..store import EmbeddingStore, VectorTable
from .tasks import Task

__all__ = ["MAX_UMAP_ROWS", "Map", "Maps", "laid_out", "pca", "umap"]

MAX_UMAP_ROWS = 50_000  # more take longer than anybody waits
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


def laid_out(
    table: VectorTable, project: Callable[[Vectors], Points]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Project a table: its rows with a vector, and their places, both axes scaled to [-1, 1]."""
    rows = np.flatnonzero(table.has_vector).astype(np.int32)
    points = project(table.embeddings(None if len(rows) == len(table) else rows))
    if not len(points):
        return rows, points.astype(np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = max(float((high - low).max()) / 2, 1e-12)
    return rows, ((points - (low + high) / 2) / scale).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Map:
    """Rows with a vector, and their place: (n,) int32, (n, 2) float32 in [-1, 1]."""

    rows: npt.NDArray[np.int32]
    points: npt.NDArray[np.float32]
    method: str
    is_final: bool

    def to_bytes(self) -> bytes:
        """Give n, the rows, x and y, little-endian."""
        n = np.array([len(self.rows)], "<i4")
        x, y = self.points.astype("<f4").T
        return b"".join(part.tobytes() for part in (n, self.rows.astype("<i4"), x, y))


class Maps:
    """The maps of one store, made when they are asked for."""

    def __init__(self, store: EmbeddingStore, task: Task) -> None:
        self._store, self._task = store, task
        self._found: dict[str, Map] = {}
        self._begun: set[str] = set()
        self._waiting: list[str] = []
        self._lock = threading.Lock()

    def get(self, of: str) -> Map | None:
        """Give the best map there is; None while the first one is computed."""
        with self._lock:
            if of not in self._begun:
                self._begun.add(of)
                self._waiting.append(of)
                if self._task.state != "running":
                    self._task.start(self._work)
        return self._found.get(of)

    def _work(self) -> None:
        while self._waiting:
            of = self._waiting.pop(0)
            self._task.note = "PCA"
            rows, points = laid_out(self._store.table(of), pca)
            with_umap = find_spec("umap") is not None and 3 <= len(rows) <= MAX_UMAP_ROWS
            self._found[of] = Map(rows, points, "pca", not with_umap)
            if not with_umap:
                continue
            try:
                with tempfile.TemporaryDirectory(prefix="datumaro-embed-") as folder:
                    out = str(Path(folder) / "umap.npy")
                    self._task.call("lay_out", store=self._store.path, of=of, out=out)
                    self._found[of] = Map(rows, np.load(out, allow_pickle=False), "umap", True)
            except DatumaroEmbedError:
                self._found[of] = Map(rows, points, "pca", True)
                raise
