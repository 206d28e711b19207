"""Which rows the page shows, and in which order: filters, queries, findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.datastructures import QueryParams

from ..errors import UsageError
from ..records import ObjectStatus, Status
from ..retrieval import Filters, matching_rows
from .session import Session

__all__ = ["Answer", "answer", "find_rows"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows in order, (n,) int32; and where there was a query, the cosine of each, (n,) float32."""

    rows: npt.NDArray[np.int32]
    similarities: npt.NDArray[np.float32] | None

    def to_bytes(self) -> bytes:
        """Give the rows, then the cosines, little-endian."""
        data = self.rows.astype("<i4").tobytes()
        return (
            data if self.similarities is None else data + self.similarities.astype("<f4").tobytes()
        )


def answer(session: Session, asked: QueryParams) -> Answer:
    """Answer ``api/rows``; raises `UsageError`, `EncoderLoading`."""
    of = asked.get("of", "items")
    table = session.table(of)
    plus, minus = _query(session, of, asked)
    has_query = bool(plus or minus)
    filters = Filters(*(asked.getlist(name) for name in ("subset", "split", "label")))
    mask = matching_rows(session.store, filters, of, embedded_only=has_query)
    if wanted := asked.getlist("status"):
        mask &= np.isin(table.statuses, _statuses(of, wanted))
    if text := asked.get("id", ""):
        mask &= table.spread(_with_id(session, text))
    order = _found(session, of, asked, mask)
    if not has_query:
        rows = np.flatnonzero(mask) if order is None else order[mask[order]]
        return Answer(rows.astype(np.int32), None)
    cosines = session.similarities(of, plus, minus)
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(-cosines[rows], kind="stable")]
    return Answer(rows.astype(np.int32), cosines[rows])


def find_rows(session: Session, of: str, indices: Sequence[int]) -> npt.NDArray[np.int64]:
    """Rows of some findings, each once, in their order; of items, those of objects count too."""
    places = (session.decisions.places[index] for index in indices)
    if of == "items":
        rows = dict.fromkeys(place.item for place in places if place is not None)
    else:
        rows = dict.fromkeys(place.row for place in places if place and place.of == of)
    return np.fromiter(rows, np.int64, len(rows))


def _query(session: Session, of: str, asked: QueryParams) -> tuple[list[Any], list[Any]]:
    """Give the vectors to be like, and those to be unlike."""
    plus = [session.text_vector(text) for text in asked.getlist("text") if text.strip()]
    minus = [session.text_vector(text) for text in asked.getlist("nottext") if text.strip()]
    plus += [session.image(name).vector for name in asked.getlist("image")]
    plus += [_row_vector(session, of, row) for row in asked.getlist("like")]
    minus += [_row_vector(session, of, row) for row in asked.getlist("unlike")]
    minus += [session.image(name).vector for name in asked.getlist("notimage")]
    return plus, minus


def _row_vector(session: Session, of: str, text: str) -> npt.NDArray[Any]:
    row = int(text) if text.isascii() and text.isdigit() else -1
    table = session.check_row(of, row)
    if not table.has_vector[row]:
        raise UsageError(f"{table.key(row)} has no vector. Query with another row.")
    vector: npt.NDArray[Any] = table.embeddings([row])[0]
    return vector


def _statuses(of: str, wanted: Sequence[str]) -> list[int]:
    known: Any = Status if of == "items" else ObjectStatus
    names = {status.name.lower(): int(status) for status in known}
    for name in wanted:
        if name not in names:
            raise UsageError(f"There is no status {name!r}. There are: {', '.join(names)}.")
    return [names[name] for name in wanted]


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
