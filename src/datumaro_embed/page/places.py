"""Where the findings of a store lie, and which rows of its tables they are about."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from ..findings import Finding, Findings, spelled
from ..records import ItemKey
from ..store import EmbeddingStore

__all__ = ["Place", "default_findings", "findings_of", "places_of"]


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
    find = _ItemRows(store).find
    known: dict[ItemKey, int | None] = {}
    found = []
    for row in rows:
        if row.key not in known:
            known[row.key] = find(row.key)
        found.append(_place(store, row, known[row.key]))
    return found


def _place(store: EmbeddingStore, row: Finding, item: int | None) -> Place | None:
    if item is None or row.object is None:
        return None if item is None else Place("items", item, item)
    if not store.has_table("objects"):
        return None
    objects = store.objects.of(item)
    known = row.object in range(len(objects))
    return Place("objects", objects[row.object], item) if known else None


class _ItemRows:
    """Finds the rows of many keys: `EmbeddingStore.row` decodes each key that it compares.

    Rows are in key order, and UTF-8 sorts as the text does.
    """

    def __init__(self, store: EmbeddingStore) -> None:
        self._ids = store.column("items/id").data
        self._ends = store.column("items/id_offsets").tolist()
        self._codes = {name: code for code, name in enumerate(store.subset_names)}
        self._subsets = np.asarray(store.subset_codes)
        self._rows: dict[str, range] = {}

    def find(self, key: ItemKey) -> int | None:
        """Return the row of a key; None where there is none."""
        rows = self._of_subset(key.subset)
        wanted = key.id.encode("utf-8", "surrogatepass")
        place = bisect_left(rows, wanted, key=self._id)
        return rows[place] if place < len(rows) and self._id(rows[place]) == wanted else None

    def _id(self, row: int) -> bytes:
        return bytes(self._ids[self._ends[row] : self._ends[row + 1]])

    def _of_subset(self, name: str) -> range:
        if name not in self._rows:
            rows = np.flatnonzero(self._subsets == self._codes.get(name, -1))
            self._rows[name] = range(int(rows[0]), int(rows[-1]) + 1) if len(rows) else range(0)
        return self._rows[name]
