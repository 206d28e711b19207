"""What a store holds, in numbers: labels, annotations, sizes, failures, typical items."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..causes import cause_of, detail_of
from ..records import Split, Status
from ..store import EmbeddingStore
from ..vectors import unit_rows

__all__ = ["facts_of", "first_labels", "label_totals", "summary", "typical"]

_EXAMPLES = 60  # labels that have one
_TYPICAL = 12
_MAX_FAILURES = 50  # examples of one cause
_MAX_SIZES = 2000
IntArray = npt.NDArray[np.int64]


def label_totals(store: EmbeddingStore) -> list[dict[str, Any]]:
    """Count the items and objects of each label, in the dataset's order."""
    names = store.categories.labels
    items = np.bincount(store.items.label_counts()[1], minlength=len(names))
    objects = np.zeros(len(names), np.int64)
    if store.has_table("objects"):
        own = np.asarray(store.objects.labels)
        objects = np.bincount(own[own >= 0], minlength=len(names))
    return [
        {"name": name, "items": int(items[n]), "objects": int(objects[n])}
        for n, name in enumerate(names)
    ]


def facts_of(store: EmbeddingStore, labels: list[dict[str, Any]]) -> dict[str, Any]:
    """Give what ``api/store`` says of the store alone."""
    splits = store.splits
    codes, first, counts = np.unique(store.subset_codes, return_index=True, return_counts=True)
    statuses = np.bincount(store.statuses, minlength=len(Status))
    return {
        "uuid": store.uuid,
        "model": store.model_fact("name"),
        "items": store.n_rows,
        "objects": len(store.objects) if store.has_table("objects") else 0,
        "embedded": int(statuses[Status.OK]),
        "subsets": [
            {
                "name": store.subset_names[code],
                "items": int(n),
                "split": Split(int(splits[row])).name.lower(),
            }
            for code, row, n in zip(codes, first, counts, strict=True)
        ],
        "labels": labels,
        "statuses": [
            {"name": status.name.lower(), "items": int(statuses[status])}
            for status in Status
            if statuses[status]
        ],
    }


def first_labels(store: EmbeddingStore, of: str) -> IntArray:
    """Number of each row's label; of an item, the one that most of its annotations have; -1."""
    if of == "objects":
        return np.asarray(store.objects.labels, np.int64)
    rows, labels, counts = store.items.label_counts()
    order = np.lexsort((labels, -counts, rows))
    first, places = np.unique(rows[order], return_index=True)
    found = np.full(store.n_rows, -1)
    found[first] = labels[order][places]
    return found


def summary(store: EmbeddingStore) -> dict[str, Any]:
    """Answer ``api/summary``: O(n_items · dim + n_annotations), and a look-up for each failure."""
    vectors = store.embeddings()
    has_vector = np.asarray(store.statuses) == Status.OK
    types = np.bincount(
        store.column("annotations/type"), minlength=len(store.ann_type_names)
    ).tolist()

    # Annotations of each label by split, most first, with the item most typical of it.
    rows, labels, counts = store.items.label_counts()
    names = store.categories.labels
    table = np.zeros((len(names), len(Split)), dtype=np.int64)
    np.add.at(table, (labels, np.asarray(store.splits)[rows].astype(np.int64)), counts)
    n_items = np.bincount(labels, minlength=len(names))
    order = np.argsort(-table.sum(axis=1), kind="stable").tolist()
    examples: dict[int, int] = {}
    for label in order[:_EXAMPLES]:
        own = rows[labels == label]
        for row in typical(vectors, own[has_vector[own]], 1):
            examples[label] = row
    return {
        "annotations": {name: n for name, n in zip(store.ann_type_names, types, strict=True) if n},
        "labels": [
            {
                "name": names[label],
                "annotations": int(table[label].sum()),
                "items": int(n_items[label]),
                "splits": {
                    split.name.lower(): int(table[label, split])
                    for split in Split
                    if table[label, split]
                },
                "example": examples.get(label),
            }
            for label in order
        ],
        "sizes": sizes(store.widths, store.heights),
        "failures": _failures(store),
        "typical": typical(vectors, np.flatnonzero(has_vector), _TYPICAL),
    }


def sizes(widths: npt.NDArray[Any], heights: npt.NDArray[Any]) -> dict[str, Any]:
    """Count image sizes, upright pixels, the commonest first; 0 stands for unknown."""
    known = (widths > 0) & (heights > 0)
    pairs = np.stack([widths, heights], axis=1)[known].astype(np.int64)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    surplus = pairs[:, 0] - pairs[:, 1]
    return {
        "counts": [[*found[at].tolist(), int(counts[at])] for at in order[:_MAX_SIZES]],
        "different": len(found),
        "landscape": int(np.count_nonzero(surplus > 0)),
        "portrait": int(np.count_nonzero(surplus < 0)),
        "square": int(np.count_nonzero(surplus == 0)),
        "unknown": int(np.count_nonzero(~known)),
    }


def typical(vectors: npt.NDArray[Any], rows: IntArray, k: int) -> list[int]:
    """Give at most `k` of some rows: those most similar to their mean, the most similar first."""
    if not len(rows):
        return []
    some = np.asarray(vectors[rows], dtype=np.float32)
    centre = unit_rows(some.mean(axis=0)[None])[0]
    found: list[int] = rows[np.argsort(-(some @ centre), kind="stable")[:k]].tolist()
    return found


def _failures(store: EmbeddingStore) -> list[dict[str, Any]]:
    """Group the items without a vector by cause, the commonest first."""
    found: dict[tuple[Status, str], list[int]] = {}
    for row in np.flatnonzero(store.statuses != Status.OK).tolist():
        group = Status(int(store.statuses[row])), cause_of(store.text("items/error", row))
        found.setdefault(group, []).append(row)
    return [
        {
            "status": status.name.lower(),
            "cause": cause,
            "items": len(rows),
            "examples": [
                {
                    "row": row,
                    "name": str(store.key(row)),
                    "detail": detail_of(store.text("items/error", row), cause),
                }
                for row in rows[:_MAX_FAILURES]
            ],
        }
        for (status, cause), rows in sorted(found.items(), key=lambda pair: -len(pair[1]))
    ]
