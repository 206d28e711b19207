"""Maps of a store's vectors: a PCA at once, then a UMAP where it can be had."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DatumaroEmbedError
from ..store import EmbeddingStore
from .projection import framed, pca
from .tasks import Task

__all__ = ["MAX_UMAP_ROWS", "Map", "Maps"]

MAX_UMAP_ROWS = 50_000  # more take longer than anybody waits


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
            table = self._store.table(of)
            self._task.note = "PCA"
            rows = np.flatnonzero(table.has_vector).astype(np.int32)
            with_umap = find_spec("umap") is not None and 3 <= len(rows) <= MAX_UMAP_ROWS
            everything = len(rows) == len(table)
            vectors = table.embeddings(None if everything else rows)
            points = framed(pca(vectors))
            self._found[of] = Map(rows, points, "pca", not with_umap)
            try:
                if with_umap:
                    self._found[of] = Map(rows, framed(self._umap(of)), "umap", True)
            except DatumaroEmbedError:
                self._found[of] = Map(rows, points, "pca", True)
                raise

    def _umap(self, of: str) -> npt.NDArray[np.float64]:
        with tempfile.TemporaryDirectory(prefix="datumaro-embed-") as folder:
            out = str(Path(folder) / "umap.npy")
            self._task.call("lay_out", store=self._store.path, of=of, out=out)
            points: npt.NDArray[np.float64] = np.load(out, allow_pickle=False)
            return points
