"""What the page shows of a row: cards of the grid, everything about an item, groups of findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import numpy as np
from starlette.responses import Response

from ..errors import UsageError
from ..findings import Finding
from ..objects import ObjectOptions, objects_of
from ..records import ItemRecord, ObjectStatus, Split, Status
from ..store import EmbeddingStore
from .asked import BYTES, Asked
from .places import neighbours
from .session import Session
from .summary import facts_of, first_labels

__all__ = ["card", "codes", "groups", "item", "overview", "version"]

_MAX_BOXES = _MAX_FINDINGS = 200
_MAX_ANNOTATIONS = 500
_MAX_LETTERS = 2000
_MAX_GROUPS = 100
_NAMED = ("subset", "split", "label", "status", "finding")
_TOLD = ("suggestion", "action", "reason", "value", "object", "label")


def overview(_: Asked, session: Session) -> dict[str, Any]:
    """Answer ``api/store``: what there is, and how much of it."""
    decisions = session.decisions
    return facts_of(session.store, session.labels) | {
        "frozen": False,
        "name": session.path.name,
        "path": str(session.path),
        "text": session.has_texts,
        "media_root": "" if session.media_root is None else str(session.media_root),
        "findings": str(decisions.path),
        "kinds": decisions.kinds(),
        "decided": decisions.n_decided,
        "read_only": decisions.read_only,
        "problems": decisions.problems(),
        "replaced": session.is_replaced(),
        "dataset": session.dataset,
    }


def card(session: Session, of: str, row: int) -> dict[str, Any]:
    """Give one card of ``api/cards``."""
    store = session.store
    item_row, number = (row, None) if of == "items" else store.owner("objects", row)
    record = store.item(item_row, without=("annotations", "objects", "captions"))
    boxes = _boxes(store, item_row, record)
    found = session.decisions.of_row(of, row, item_row)[:_MAX_FINDINGS]
    rows = [session.decisions.rows[index] for index in found]
    return {
        "row": row,
        "item": item_row,
        "subset": record.key.subset,
        "id": record.key.id,
        "split": record.split.name.lower(),
        "status": record.status.name.lower(),
        "error": record.error,
        "labels": store.table(of).labels_of(row),
        "width": record.width,
        "height": record.height,
        "v": version(record.content_sha256),
        "boxes": boxes[:_MAX_BOXES],
        "n_boxes": len(boxes),
        "object": boxes[number] if number is not None else None,
        "findings": [
            {
                "index": index,
                "kind": row.kind,
                "object": row.object,
                "suggestion": row.suggestion,
                "action": row.action,
                "reason": row.reason,
            }
            for index, row in zip(found, rows, strict=True)
        ],
        "action": next((each.action for each in rows if each.action and each.object == number), ""),
    }


def version(sha256: bytes) -> str:
    """Give the part of a content hash that stands in the URL of a picture."""
    return sha256.hex()[:12] if any(sha256) else ""


def item(asked: Asked, session: Session) -> dict[str, Any]:
    """Answer ``api/item``: the card, and what else is known of the item."""
    store, row = session.store, asked.number("row")
    session.check_row("items", row)
    record = store.item(row, without=("objects", "captions"))
    names = store.categories.labels
    shown = record.annotations[:_MAX_ANNOTATIONS]
    objects = store.objects.of(row) if store.has_table("objects") else range(0)
    statuses = store.rows("objects/status", objects.start, objects.stop) if len(objects) else ()
    return card(session, "items", row) | {
        "path": record.path,
        "sha256": record.content_sha256.hex(),
        "has_vector": record.has_vector,
        "attributes": _shortened(record.attributes),
        "n_annotations": len(record.annotations),
        "annotations": [
            {
                "type": each.type,
                "label": names[each.label] if 0 <= each.label < len(names) else "",
                "text": each.text[:_MAX_LETTERS],
                "coords": each.coords[:8],
                "attributes": _shortened(each.attributes),
            }
            for each in shown
        ],
        "object_statuses": [ObjectStatus(n).name.lower() for n in statuses[:_MAX_ANNOTATIONS]],
    }


def _shortened(attributes: Any) -> dict[str, str]:
    return {str(name): str(value)[:_MAX_LETTERS] for name, value in [*attributes.items()][:100]}


def _boxes(store: EmbeddingStore, row: int, record: ItemRecord) -> list[dict[str, Any]]:
    """Give the boxes of an item's objects, as fractions of its picture."""
    first: int | None = None
    if store.has_table("objects"):
        rows = store.objects.of(row)
        first = rows.start
        boxes = store.rows("objects/box", rows.start, rows.stop).tolist()
        labels = store.rows("objects/label", rows.start, rows.stop).tolist()
    else:
        record = store.item(row, without=("captions",))
        found = objects_of(record, ObjectOptions())
        boxes, labels = [each.box for each in found], [each.label for each in found]
    names, width, height = store.categories.labels, record.width or 1, record.height or 1
    return [
        {
            "object": None if first is None else first + number,
            "number": number,
            "label": names[label] if 0 <= label < len(names) else "",
            "x": x / width,
            "y": y / height,
            "w": w / width,
            "h": h / height,
        }
        for number, ((x, y, w, h), label) in enumerate(zip(boxes, labels, strict=True))
    ]


def codes(asked: Asked, session: Session) -> Response | list[str]:
    """Answer ``api/codes``: a number for each row of a table, uint16, or their names."""
    of, by = asked.of, asked.query.get("by", "label")
    table, store = session.table(of), session.store
    if by not in _NAMED:
        raise UsageError(f"by is {by!r}. Choose of {', '.join(_NAMED)}.")
    names: Sequence[str]
    if by == "subset":
        values, names = table.spread(store.subset_codes), store.subset_names
    elif by == "split":
        values, names = table.spread(store.splits), [split.name.lower() for split in Split]
    elif by == "status":
        known: Any = Status if of == "items" else ObjectStatus
        values, names = table.statuses, [status.name.lower() for status in known]
    elif by == "label":
        values, names = first_labels(store, of) + 1, ["", *store.categories.labels]
    else:  # the kind of each row's first finding, in the order of kinds; 0 none
        values, kinds = np.zeros(len(table), np.int64), [""]
        decisions = session.decisions
        for index in decisions.chosen():
            place, kind = decisions.places[index], decisions.rows[index].kind
            if place is None or (of == "objects" and place.of != of):
                continue
            if kind not in kinds:
                kinds.append(kind)
            row = place.item if of == "items" else place.row
            values[row] = values[row] or kinds.index(kind)
        names = kinds
    if asked.query.get("names"):
        return [*names]
    limited = np.minimum(values.astype(np.int64), 65_535).astype("<u2")
    return Response(limited.tobytes(), media_type=BYTES)


def groups(asked: Asked, session: Session) -> dict[str, Any]:
    """Answer ``api/groups``: the findings of a kind by group, most suspicious first.

    In ``outline``, measure and value of every group, and if it is decided; else some groups.
    """
    kind, decisions = asked.query.get("kind", ""), session.decisions
    rows, members = decisions.rows, _grouped(session, kind)
    if asked.query.get("outline"):
        return {
            "measures": [rows[some[0]].measure for some in members],
            "values": [_value(rows[index] for index in some) for some in members],
            "decided": [all(map(decisions.is_decided, some)) for some in members],
        }

    offset = asked.number("offset", "0")
    limit = min(asked.number("limit", "20"), _MAX_GROUPS)
    decided = {"yes": True, "no": False}.get(asked.query.get("decided", ""))
    if decided is not None:
        members = [some for some in members if decided == all(map(decisions.is_decided, some))]
    shown = members[offset : offset + limit]
    firsts = {some[0]: decisions.places[some[0]] for some in shown} if kind == "mislabel" else {}
    new = {index: place for index, place in firsts.items() if index not in session.near}
    session.near |= neighbours(session.store, new)

    found = []
    for some in shown:
        first, told = rows[some[0]], []
        for index in some:
            place, facts = decisions.places[index], asdict(rows[index])
            told.append(
                {
                    "index": index,
                    **(place._asdict() if place is not None else {}),
                    **{name: value for name, value in facts.items() if name in _TOLD},
                    "covered": decisions.covering(index),
                }
            )
        found.append(
            {
                "kind": first.kind,
                "group": first.group,
                "rank": first.rank,
                "measure": first.measure,
                "value": _value(rows[index] for index in some),
                "rows": told,
                "neighbors": session.near.get(some[0], []),
            }
        )
    return {"total": len(members), "groups": found}


def _grouped(session: Session, kind: str) -> list[list[int]]:
    """Give the findings of a kind by group, most suspicious first."""
    decisions = session.decisions
    indices = decisions.chosen(kinds=[kind])

    def number(index: int) -> int:
        group = decisions.rows[index].group
        return -1 - index if group is None else group

    def rank(index: int) -> tuple[int, int]:
        return decisions.rows[index].rank or 2**31, number(index)

    return [[*some] for _, some in groupby(sorted(indices, key=rank), number)]


def _value(rows: Iterable[Finding]) -> float | None:
    return max((row.value for row in rows if row.value is not None), default=None)
