"""A big store of made-up vectors in clusters, with near-duplicates planted across two splits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datumaro_embed.records import ItemKey, ItemRecord, Split
from datumaro_embed.store import Hdf5Stores
from datumaro_embed.vectors import VectorKind

DIM = 512
CLUSTER_ROWS = 100
NOISE = 0.6  # within a cluster the cosine is about 1 / (1 + NOISE²) = 0.74
COPY_NOISE = 0.2  # a planted copy has a cosine of about 0.98 with its original
BLOCK_ROWS = 20_000


def n_planted(n_rows: int) -> int:
    """Planted pairs: the last rows of ``train`` again, changed a little, as ``val``."""
    return n_rows // 100


def make_store(path: Path, n_rows: int) -> None:
    """Write the store, unless it is there."""
    if path.exists():
        return
    started = time.monotonic()
    planted = n_planted(n_rows)
    with Hdf5Stores().begin(path, VectorKind(DIM), n_expected=n_rows) as writer:
        for row, vector in enumerate(_vectors(n_rows - planted, planted)):
            split = Split.TRAIN if row < n_rows - planted else Split.VAL
            key = ItemKey(split.name.lower(), f"{row:08}")
            writer.append(ItemRecord(key, split=split), vector)
        writer.seal({"source": "synthetic"})
    print(f"made {path}: {n_rows:,} rows × {DIM} in {time.monotonic() - started:.0f} s")


def queries(vectors: npt.NDArray[np.float16], n_queries: int) -> npt.NDArray[np.float32]:
    """Rows chosen at random, changed a little: array of shape (n_queries, DIM), float32."""
    rng = np.random.default_rng(1)
    chosen = vectors[rng.integers(0, len(vectors), n_queries)].astype(np.float32)
    return _unit(chosen + 0.3 * _unit(rng.standard_normal(chosen.shape, dtype=np.float32)))


def _vectors(n_rows: int, planted: int) -> Iterator[npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(1, n_rows // CLUSTER_ROWS), DIM), dtype=np.float32)
    last = np.zeros((0, DIM), dtype=np.float32)
    for start in range(0, n_rows, BLOCK_ROWS):
        count = min(BLOCK_ROWS, n_rows - start)
        noise = rng.standard_normal((count, DIM), dtype=np.float32)
        block = _unit(centres[rng.integers(0, len(centres), count)] + NOISE * noise)
        last = np.concatenate([last, block])[-planted:]
        yield from block
    yield from _unit(last + COPY_NOISE * _unit(rng.standard_normal(last.shape, dtype=np.float32)))


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths: npt.NDArray[np.float32] = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths
