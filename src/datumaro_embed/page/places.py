"""Where the findings of a store lie, which rows they are about, and what is near to those."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from ..findings import Finding, Findings, spelled
from ..records import ItemKey
from ..similarity import nearest_rows
from ..store import EmbeddingStore

__all__ = ["Place", "default_findings", "findings_of", "neighbours", "places_of"]

_NEIGHBOURS, _SEEN = 8, 32  # of the latter some are of the same item


class Place(NamedTuple):
    """What a finding is about: a row of a table, and the row of its item."""

    of: str
    row: int
    item: int


def default_findings(store: Path) -> Path:
    """Return where the findings of a store lie unless a file is named."""
    return store.with_name(f"{store.name}.findings.csv")


def findings_of(store: EmbeddingStore, path: Path) -> Findings:
    """Read a findings file, its actions as the page spells them.

    Raises `UsageError`: it is none, or that of another store.
    """
    found = Findings.read(path)
    for row in found:
        if row.store not in ("", store.uuid):
            raise UsageError(
                f"'{path}' has findings of another store (line {row.line}). Name another file with "
                "``findings``, or move this one away to audit this store."
            )
    rows = Findings(replace(row, action=spelled(row.action)) for row in found)
    rows.others = found.others
    return rows


def places_of(store: EmbeddingStore, rows: Iterable[Finding]) -> list[Place | None]:
    """Find what some findings are about; None where the store does not have it."""
    # `EmbeddingStore.row` decodes each key that it compares. Rows are in key order, and UTF-8 sorts
    # as the text does.
    ids, ends = store.column("items/id").data, store.column("items/id_offsets").tolist()
    starts = np.searchsorted(store.subset_codes, np.arange(len(store.subset_names) + 1)).tolist()
    subsets = dict(zip(store.subset_names, map(range, starts, starts[1:]), strict=True))

    def id_at(row: int) -> bytes:
        return bytes(ids[ends[row] : ends[row + 1]])

    items: dict[ItemKey, int | None] = {}
    found: list[Place | None] = []
    for row in rows:
        if row.key not in items:
            among = subsets.get(row.key.subset, range(0))
            wanted = row.key.id.encode("utf-8", "surrogatepass")
            at = bisect_left(among, wanted, key=id_at)
            is_there = at < len(among) and id_at(among[at]) == wanted
            items[row.key] = among[at] if is_there else None
        item, place = items[row.key], None
        if item is not None and row.object is None:
            place = Place("items", item, item)
        elif item is not None and row.object is not None and store.has_table("objects"):
            objects = store.objects.of(item)
            if row.object in range(len(objects)):
                place = Place("objects", objects[row.object], item)
        found.append(place)
    return found


def neighbours(store: EmbeddingStore, places: Mapping[int, Place | None]) -> dict[int, list[int]]:
    """Rows nearest to those of some findings, of other items, by finding: one scan for all."""
    found: dict[int, list[int]] = {}
    for of in ("items", "objects"):
        asked = [(i, place) for i, place in places.items() if place is not None and place.of == of]
        if not asked:
            continue
        table = store.table(of)
        allowed = table.has_vector
        asked = [(i, place) for i, place in asked if allowed[place.row]]
        queries = table.embeddings([place.row for _, place in asked])
        rows, _ = nearest_rows(table.embeddings(), queries, _SEEN, allowed=allowed)
        for (index, place), near in zip(asked, rows.tolist(), strict=True):
            others = [row for row in near if table.item_row(row) != place.item]
            found[index] = others[:_NEIGHBOURS]
    return found
