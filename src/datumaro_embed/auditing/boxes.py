"""Items that failed, and boxes that cannot be right or are there twice."""

from __future__ import annotations

import numpy as np

from ..findings import Findings, finding, ranked
from ..records import ObjectStatus, Status
from ..similarity.cosine import BoolArray, Float64Array, IntArray
from ..store import EmbeddingStore

SAME_BOX, NEAR_BOX = 0.99, 0.9
"""Least intersection over union of two boxes that are the same, or hardly differ."""
HUGE_SHARE = 0.98
"""Share of its image from which a box is huge."""
_MAX_OUTSIDE = 0.05  # share of a box; less is drawn like that, or rounded
_BROKEN = {
    ObjectStatus.NO_BOX: ("the box has no width or no height", "drop"),
    ObjectStatus.OUTSIDE: ("the box lies outside the image", "drop"),
}


def failures(store: EmbeddingStore) -> Findings:
    """Give a finding for each item that has no vector; the reason is the store's.

    An image outside the dataset's folder is to be reviewed: it was not read, and may be sound.
    """
    rows = np.flatnonzero(store.statuses != Status.OK).tolist()
    statuses = {row: Status(int(store.statuses[row])) for row in rows}
    return ranked(
        finding(
            store,
            store.items,
            row,
            kind="failed",
            measure="status",
            suggestion="review" if status is Status.UNSAFE_PATH else "drop",
            reason=f"{status.name.lower()}: {store.text('items/error', row)}",
        )
        for row, status in statuses.items()
    )


def odd_boxes(store: EmbeddingStore) -> Findings:
    """Give findings of objects whose box is empty, outside, huge, or another object's as well.

    The most certain have the first ranks. Raises `UsageError`: the store has no objects.
    """
    objects = store.table("objects")
    boxes = np.asarray(store.objects.boxes, dtype=np.float64)
    sizes = objects.spread(np.stack([store.widths, store.heights], axis=1)).astype(np.float64)
    items, labels, statuses = objects.item_rows, store.objects.labels, objects.statuses
    found: list[tuple[int, str, float, str, str]] = []
    for status, (reason, suggestion) in _BROKEN.items():
        found += (
            (row, status.name.lower(), 1.0, suggestion, reason)
            for row in np.flatnonzero(statuses == status).tolist()
        )
    inside, outside = _shares(boxes, sizes)
    usable = ~np.isin(statuses, [*_BROKEN, ObjectStatus.CROWD])
    for row in np.flatnonzero(usable & (outside > _MAX_OUTSIDE)).tolist():
        share = float(outside[row])
        found.append((row, "outside", share, "review", f"{share:.0%} of the box is outside"))
    for row in np.flatnonzero(usable & (inside >= HUGE_SHARE)).tolist():
        share = float(inside[row])
        found.append((row, "share", share, "review", f"the box is {share:.0%} of the image"))
    kinds = items * (len(objects.label_names) + 1) + labels  # what has one item and one label
    every, own = (_partners(boxes, groups, usable) for groups in (items, kinds))
    overlaps, partners = np.where(own[0] >= SAME_BOX, own, every)
    for second in np.flatnonzero(overlaps).tolist():
        first, overlap = int(partners[second]), float(overlaps[second])
        same_label = labels[first] == labels[second]
        of = f"object {objects.key(first).number} of label '{', '.join(objects.labels_of(first))}'"
        how = "is that of" if overlap >= SAME_BOX else "hardly differs from that of"
        suggestion = "drop" if same_label and overlap >= SAME_BOX else "review"
        found.append((second, "iou", overlap, suggestion, f"the box {how} {of}"))
    order = ("drop", "review")
    found.sort(key=lambda each: (order.index(each[3]), -each[2], each[0]))
    return ranked(
        finding(
            store,
            objects,
            row,
            kind="box",
            measure=measure,
            value=round(value, 6),
            suggestion=suggestion,
            reason=reason,
        )
        for row, measure, value, suggestion, reason in found
    )


def _shares(boxes: Float64Array, sizes: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Give the share of the image that a box takes, and the share of the box outside it."""
    with np.errstate(all="ignore"):
        low = np.clip(boxes[:, :2], 0, sizes)
        high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, sizes)
        within = np.prod(high - low, axis=1)
        image, own = np.prod(sizes, axis=1), np.prod(boxes[:, 2:], axis=1)
        inside = np.where(image > 0, within / image, 0.0)
        outside = np.where((image > 0) & (own > 0), 1 - within / own, 0.0)
    return np.nan_to_num(inside), np.nan_to_num(outside)


def _partners(
    boxes: Float64Array, items: IntArray, usable: BoolArray
) -> tuple[Float64Array, IntArray]:
    """Give each object's overlap with the one of its item whose box is most like it, and that one.

    The overlap is 0 where no box is nearly the same. The other one is before it, and of equally
    similar ones the first. Boxes that coincide have their left sides near each other: sorted by
    these, each is compared with the next ones until none of an item is near any more. Equal boxes
    are compared once.
    """
    rows = np.flatnonzero(usable)
    placed = np.column_stack([items[rows], boxes[rows]])
    _, firsts, same = np.unique(placed, axis=0, return_index=True, return_inverse=True)
    best, partners = np.zeros(len(boxes)), np.zeros(len(boxes), np.int64)
    partners[rows] = rows[firsts[same.reshape(-1)]]
    best[rows[partners[rows] < rows]] = 1.0
    rows = rows[np.sort(firsts)]
    rows = rows[np.lexsort((rows, boxes[rows, 0], items[rows]))]
    active, step = np.arange(len(rows)), 0
    while len(active):
        step += 1
        active = active[active + step < len(rows)]
        first, second = rows[active], rows[active + step]
        # Boxes whose left sides are apart by more than a tenth of their width overlap less.
        near = (items[first] == items[second]) & (
            boxes[second, 0] - boxes[first, 0] <= (1 - NEAR_BOX) * boxes[first, 2]
        )
        active, first, second = active[near], first[near], second[near]
        one, other = np.minimum(first, second), np.maximum(first, second)
        a, b = boxes[one], boxes[other]
        low, high = (
            np.maximum(a[:, :2], b[:, :2]),
            np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]),
        )
        both = np.prod(np.clip(high - low, 0, None), axis=1)
        areas = np.prod(a[:, 2:], axis=1) + np.prod(b[:, 2:], axis=1)
        overlaps = both / np.maximum(areas - both, 1e-12)
        better = (overlaps > best[other]) | ((overlaps == best[other]) & (one < partners[other]))
        better = np.flatnonzero(better & (overlaps >= NEAR_BOX))
        better = better[np.lexsort((-one[better], overlaps[better]))]  # of one row the last remains
        best[other[better]], partners[other[better]] = overlaps[better], one[better]
    return best, partners
