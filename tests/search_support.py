"""Small stores for the tests of search and duplicates, and brute force to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.records import (
    AnnotationRecord,
    Categories,
    ItemKey,
    ItemRecord,
    Split,
    Status,
)
from datumaro_embed.store import EmbeddingStore, StoreWriter, open_store
from datumaro_embed.testing import MemoryStores
from datumaro_embed.vectors import VectorKind, unit_rows
from store_support import create_store

LABELS = ("cat", "dog", "car")
SUBSETS = (("test", Split.TEST), ("train", Split.TRAIN), ("val", Split.VAL), ("x", Split.OTHER))


def fill(
    writer: StoreWriter, vectors: np.ndarray, records: Sequence[ItemRecord], provenance: Any = None
) -> None:
    """Write rows, a zero vector where the status is not OK."""
    with writer:
        writer.set_categories(Categories(LABELS))
        for record, vector in zip(records, unit_rows(vectors), strict=True):
            writer.append(record, vector if record.status is Status.OK else None)
        writer.seal(provenance or {})


def memory_store(
    vectors: np.ndarray, records: Sequence[ItemRecord], dtype: str = "float16"
) -> EmbeddingStore:
    """Return an open store in memory."""
    stores = MemoryStores()
    fill(stores.begin("m", VectorKind(vectors.shape[1], dtype)), vectors, records)
    return stores.open("m")


def file_store(path: Path, vectors: np.ndarray, records: Sequence[ItemRecord]) -> EmbeddingStore:
    """Return an open store in a file."""
    fill(create_store(path, dim=vectors.shape[1]), vectors, records)
    return open_store(path)


def fake_store(path: Path, n_items: int = 6) -> tuple[EmbeddingStore, FakeEncoder]:
    """Return a store of texts embedded by a FakeEncoder, ids ``0`` …, and the encoder."""
    encoder = FakeEncoder()
    records = [item("train", str(number)) for number in range(n_items)]
    writer = create_store(path, dim=encoder.dim, run_fingerprint=encoder.fingerprint)
    fill(
        writer,
        encoder.embed_texts([str(number) for number in range(n_items)]),
        records,
        encoder.provenance(),
    )
    return open_store(path), encoder


def item(
    subset: str,
    name: str,
    *labels: int,
    status: Status = Status.OK,
    sha: bytes = bytes(32),
    path: str = "",
    size: tuple[int, int] = (4, 4),
) -> ItemRecord:
    """Return a record; the split goes by the subset's name."""
    return ItemRecord(
        key=ItemKey(subset, name),
        split=dict(SUBSETS).get(subset, Split.OTHER),
        status=status,
        error="" if status is Status.OK else "broken",
        content_sha256=sha,
        path=path,
        width=size[0],
        height=size[1],
        annotations=tuple(AnnotationRecord("label", label=label) for label in labels),
    )


def float64_cosines(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Cosine of each row with one query, by the definition."""
    rows = vectors.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    dots = (rows * query).sum(axis=1)
    return np.divide(dots, norms, out=np.zeros(len(rows)), where=norms > 0)


def assert_nearest(
    rows: Sequence[int],
    similarities: Sequence[float],
    exact: np.ndarray,
    allowed: np.ndarray,
    k: int,
) -> None:
    """Check a result against float64 cosines: the same rows in the same order, ties by row.

    Two different ways to sum in float64 may differ in the last digits: within 1e-12 order is free.
    """
    candidates = np.flatnonzero(allowed)
    expected = candidates[np.lexsort((candidates, -exact[candidates]))][:k]
    assert len(rows) == len(expected)
    assert len(set(rows)) == len(rows)
    assert allowed[list(rows)].all()
    np.testing.assert_allclose(similarities, exact[expected], atol=1e-12)
    np.testing.assert_allclose(exact[list(rows)], exact[expected], atol=1e-12)
    clear = np.abs(np.diff(exact[expected], prepend=9, append=-9)) > 1e-12
    certain = clear[1:] & clear[:-1]
    if len(expected) < len(candidates):
        next_best = np.sort(exact[candidates])[::-1][k]
        certain &= exact[expected] - next_best > 1e-12
    np.testing.assert_array_equal(np.asarray(rows)[certain], expected[certain])
    for a, b in zip(range(len(rows)), range(1, len(rows)), strict=False):
        if similarities[a] == similarities[b]:
            assert rows[a] < rows[b]
