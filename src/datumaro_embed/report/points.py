"""Data of the map's script: compact JSON, numbers as base64 of little-endian arrays."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
import numpy.typing as npt

from ..records import Split
from .analysis import Analysis
from .facts import Facts
from .projection import Projection

__all__ = ["FINDINGS", "main_labels", "point_data"]

FINDINGS = ("no finding", "leak between splits", "near-duplicate", "isolated")
"""Names of the codes that `Analysis.findings` returns."""

_SVG_POINTS = 4_000
_NO_LABEL = 65_535
_GRID = 65_535
IntArray = npt.NDArray[np.int64]


def point_data(found: Analysis) -> dict[str, Any]:
    """Describe the points of the map, all but their pictures."""
    store, rows = found.store, found.rows
    keys = [store.key(row) for row in rows.tolist()]
    owners, labels, _ = found.facts.item_labels
    keep = np.isin(owners, rows) & (labels < _NO_LABEL)
    owners, labels = owners[keep], labels[keep]
    return {
        "webgl": len(rows) > _SVG_POINTS,
        "id": [key.id for key in keys],
        "subset": _packed(store.subset_codes[rows], "<u2"),
        "subset_names": list(store.subset_names),
        "split": _packed(store.splits[rows], "u1"),
        "split_names": [split.name.lower() for split in Split],
        "main_label": _packed(main_labels(found.facts)[rows], "<u2"),
        "label_offsets": _packed(np.append(np.searchsorted(owners, rows), len(labels)), "<u4"),
        "labels": _packed(labels, "<u2"),
        "label_names": list(store.categories.labels[:_NO_LABEL]),
        "width": _packed(store.widths[rows], "<u4"),
        "height": _packed(store.heights[rows], "<u4"),
        "finding": _packed(found.findings(), "u1"),
        "finding_names": list(FINDINGS),
        "maps": [_map(projection) for projection in found.maps],
    }


def main_labels(facts: Facts) -> IntArray:
    """Label that most annotations of each item have, the lower index on a tie; 65,535 for none."""
    main = np.full(facts.n_items, _NO_LABEL, dtype=np.int64)
    rows, labels, counts = facts.item_labels
    order = np.lexsort((-labels, counts))  # the last written wins: most, then lowest
    order = order[labels[order] < _NO_LABEL]
    main[rows[order]] = labels[order]
    return main


def _map(projection: Projection) -> dict[str, Any]:
    """Round to a square grid of 65,536 steps, equal on both axes."""
    points = projection.points
    low = points.min(axis=0) if len(points) else np.zeros(2)
    span = float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    x, y = np.round((points - low) / (span or 1.0) * _GRID).T
    return {
        "name": projection.name,
        "note": projection.note,
        "x": _packed(x, "<u2"),
        "y": _packed(y, "<u2"),
    }


def _packed(values: npt.NDArray[Any], dtype: str) -> str:
    return b64encode(np.ascontiguousarray(values.astype(dtype)).tobytes()).decode("ascii")
