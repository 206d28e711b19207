"""Which rows the page shows, and in which order: filters, queries, findings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.datastructures import QueryParams
from starlette.responses import Response

from ..errors import UsageError
from ..records import ObjectStatus, Status
from ..retrieval import Filters, matching_rows
from .asked import BYTES, Asked
from .session import Session

__all__ = ["answer", "find_rows"]

BoolArray = npt.NDArray[np.bool_]


def answer(asked: Asked, session: Session) -> Response:
    """Answer ``api/rows``: rows in order, int32; and with a query, the cosine of each, float32.

    Both are little-endian. Raises `UsageError`, `EncoderLoading`.
    """
    started = time.monotonic()
    of, query = asked.of, asked.query
    table = session.table(of)
    plus, minus = (
        [session.text_vector(text) for text in query.getlist(name) if text.strip()]
        for name in ("text", "nottext")
    )
    plus += [session.image(name).vector for name in query.getlist("image")]
    plus += [_row_vector(session, of, row) for row in query.getlist("like")]
    minus += [_row_vector(session, of, row) for row in query.getlist("unlike")]
    minus += [session.image(name).vector for name in query.getlist("notimage")]
    has_query = bool(plus or minus)

    filters = Filters(*(query.getlist(name) for name in ("subset", "split", "label")))
    mask = matching_rows(session.store, filters, of, embedded_only=has_query)
    if wanted := query.getlist("status"):
        known: Any = Status if of == "items" else ObjectStatus
        codes = {status.name.lower(): int(status) for status in known}
        for name in wanted:
            if name not in codes:
                raise UsageError(f"There is no status {name!r}. There are: {', '.join(codes)}.")
        mask &= np.isin(table.statuses, [codes[name] for name in wanted])
    if text := query.get("id", ""):
        mask &= table.spread(_with_id(session, text))
    order = _found(session, of, query, mask)

    if has_query:
        cosines = session.similarities(of, plus, minus)
        shown = np.flatnonzero(mask)
        shown = shown[np.argsort(-cosines[shown], kind="stable")]
        data = shown.astype("<i4").tobytes() + cosines[shown].astype("<f4").tobytes()
    else:
        shown = np.flatnonzero(mask) if order is None else order[mask[order]]
        data = shown.astype("<i4").tobytes()
    headers = {
        "X-Query-Ms": f"{1000 * (time.monotonic() - started):.0f}",
        "X-Count": str(len(shown)),
        "X-Scored": str(int(has_query)),
    }
    return Response(data, media_type=BYTES, headers=headers)


def find_rows(session: Session, of: str, indices: Sequence[int]) -> npt.NDArray[np.int64]:
    """Rows of some findings, each once, in their order; of items, those of objects count too."""
    places = (session.decisions.places[index] for index in indices)
    if of == "items":
        rows = dict.fromkeys(place.item for place in places if place is not None)
    else:
        rows = dict.fromkeys(place.row for place in places if place and place.of == of)
    return np.fromiter(rows, np.int64, len(rows))


def _row_vector(session: Session, of: str, text: str) -> npt.NDArray[Any]:
    row = int(text) if text.isascii() and text.isdigit() else -1
    table = session.check_row(of, row)
    if not table.has_vector[row]:
        raise UsageError(f"{table.key(row)} has no vector. Query with another row.")
    vector: npt.NDArray[Any] = table.embeddings([row])[0]
    return vector


def _with_id(session: Session, text: str) -> BoolArray:
    """Tell which items have a text in their id; ASCII letters of either case are the same."""
    store = session.store
    data = store.column("items/id")
    ends = store.column("items/id_offsets").astype(np.int64)
    wanted = text.lower().encode("utf-8", "surrogatepass")
    is_upper = (data >= ord("A")) & (data <= ord("Z"))
    folded = np.where(is_upper, data | 0x20, data)
    places = np.flatnonzero(folded[: max(len(folded) - len(wanted) + 1, 0)] == wanted[0])
    for offset, byte in enumerate(wanted):
        places = places[folded[places + offset] == byte]
    rows = np.searchsorted(ends, places, side="right") - 1
    found = np.zeros(store.n_rows, np.bool_)
    found[rows[places + len(wanted) <= ends[rows + 1]]] = True
    return found


def _found(
    session: Session, of: str, asked: QueryParams, mask: BoolArray
) -> npt.NDArray[np.int64] | None:
    """Narrow a mask by findings; give the order of those of some kinds, if it asks for any."""
    kinds, actions = asked.getlist("kind"), asked.getlist("action")
    decided = asked.get("decided")
    decisions = session.decisions
    order = None
    if kinds or actions:
        order = find_rows(session, of, [*decisions.chosen(kinds=kinds, actions=actions)])
        _only(mask, order)
    if decided in ("yes", "no"):
        rows = find_rows(session, of, [*decisions.chosen(kinds=kinds, decided=True)])
        if decided == "yes":
            _only(mask, rows)
        else:
            mask[rows] = False
    return None if asked.get("sort") == "row" else order


def _only(mask: BoolArray, rows: npt.NDArray[np.int64]) -> None:
    kept = rows[mask[rows]]
    mask[:] = False
    mask[kept] = True
