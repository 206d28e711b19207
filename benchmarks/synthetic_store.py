"""A big store of made-up vectors in clusters, with near-duplicates planted across two splits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datumaro_embed.records import (
    AnnotationRecord,
    Categories,
    ItemKey,
    ItemRecord,
    ObjectRecord,
    Split,
)
from datumaro_embed.store import Hdf5Stores
from datumaro_embed.vectors import VectorKind

DIM = 512
CLUSTER_ROWS = 100
OBJECTS_PER_ITEM = 7
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


def make_object_store(path: Path, n_objects: int) -> None:
    """Write a store of 7 objects an item, each with a vector and one of 80 labels."""
    if path.exists():
        return
    vectors, box = _vectors(n_objects, 1), (10.0, 20.0, 30.0, 40.0)
    n_items = n_objects // OBJECTS_PER_ITEM
    with Hdf5Stores().begin(path, VectorKind(DIM), n_expected=n_items) as writer:
        writer.set_categories(Categories(tuple(f"label {n}" for n in range(80))))
        for n in range(n_items):
            labels = [(n + m) % 80 for m in range(OBJECTS_PER_ITEM)]
            objects = tuple(
                ObjectRecord(label, box, 1200.0, annotations=(m,), vector=next(vectors))
                for m, label in enumerate(labels)
            )
            annotations = tuple(AnnotationRecord("bbox", label, coords=box) for label in labels)
            key, path_ = ItemKey("train", f"{n:08}"), f"images/{n:08}.jpg"
            record = ItemRecord(key, Split.TRAIN, path_, 640, 480, annotations=annotations)
            writer.append(replace(record, objects=objects), objects[0].vector)
        writer.seal({"source": "synthetic"})


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
