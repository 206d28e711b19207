"""What the map's script reads: compact JSON, numbers as base64 of little-endian arrays."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..records import Split
from ..store import EmbeddingStore
from .facts import item_labels
from .projection import Projection

__all__ = ["FINDINGS", "main_labels", "point_data"]

FINDINGS = ("no finding", "leak between splits", "near-duplicate", "isolated")
"""What the map can mark; the index is the code of a point."""

_NO_LABEL = 65_535
_GRID = 65_535
IntArray = npt.NDArray[np.int64]


def point_data(
    store: EmbeddingStore,
    rows: IntArray,
    projections: Sequence[Projection],
    findings: IntArray,
    thumbnails: Mapping[int, str],
) -> dict[str, Any]:
    """Describe the points of the map.

    Parameters
    ----------
    store : EmbeddingStore
    rows : array of shape (n,), ascending
        The store's row of each point.
    projections : sequence of Projection
        Of these rows.
    findings : array of shape (n,)
        Index into `FINDINGS`.
    thumbnails : mapping of int to str
        Row → base64 of a picture.
    """
    keys = [store.key(row) for row in rows.tolist()]
    offsets, labels = _label_lists(store, rows)
    return {
        "id": [key.id for key in keys],
        "subset": _packed(store.subset_codes[rows], "<u2"),
        "subset_names": list(store.subset_names),
        "split": _packed(store.splits[rows], "u1"),
        "split_names": [split.name.lower() for split in Split],
        "main_label": _packed(main_labels(store)[rows], "<u2"),
        "label_offsets": _packed(offsets, "<u4"),
        "labels": _packed(labels, "<u2"),
        "label_names": list(store.categories.labels[:_NO_LABEL]),
        "width": _packed(store.widths[rows], "<u4"),
        "height": _packed(store.heights[rows], "<u4"),
        "finding": _packed(findings, "u1"),
        "finding_names": list(FINDINGS),
        "maps": [_map(projection) for projection in projections],
        "thumbnails": {
            str(point): thumbnails[row]
            for point, row in enumerate(rows.tolist())
            if row in thumbnails
        },
    }


def main_labels(store: EmbeddingStore) -> IntArray:
    """Label that most annotations of each item have, the lower index on a tie; 65,535 for none."""
    n_labels = min(len(store.categories.labels), _NO_LABEL)
    main = np.full(store.n_rows, _NO_LABEL, dtype=np.int64)
    labels = store.ann_labels.astype(np.int64)
    rows = store.ann_rows
    known = (labels >= 0) & (labels < n_labels)
    width = max(n_labels, 1)
    pairs, counts = np.unique(rows[known] * width + labels[known], return_counts=True)
    order = np.lexsort((-(pairs % width), counts))  # the last written wins: most, then lowest
    main[pairs[order] // width] = pairs[order] % width
    return main


def _label_lists(store: EmbeddingStore, rows: IntArray) -> tuple[IntArray, IntArray]:
    owners, labels = item_labels(store)
    keep = np.isin(owners, rows) & (labels < _NO_LABEL)
    owners, labels = owners[keep], labels[keep]
    return np.append(np.searchsorted(owners, rows), len(labels)), labels


def _map(projection: Projection) -> dict[str, Any]:
    """Round to a square grid of 65,536 steps, equal on both axes."""
    points = projection.points
    low = points.min(axis=0) if len(points) else np.zeros(2)
    span = float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    grid = np.round((points - low) / (span or 1.0) * _GRID)
    return {
        "name": projection.name,
        "note": projection.note,
        "x": _packed(grid[:, 0], "<u2"),
        "y": _packed(grid[:, 1], "<u2"),
    }


def _packed(values: npt.NDArray[Any], dtype: str) -> str:
    return b64encode(np.ascontiguousarray(values.astype(dtype)).tobytes()).decode("ascii")
