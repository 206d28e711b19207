"""Rows of a store → rows of findings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..store import EmbeddingStore, VectorTable
from .columns import Finding
from .table import Findings

__all__ = ["finding", "ranked"]


def finding(
    store: EmbeddingStore, table: VectorTable, row: int, *, kind: str, **values: Any
) -> Finding:
    """Make a finding of an item or an object: what it is, and the bytes that it was found in.

    Of an item, the label is the one of its whole image, where it has exactly one: that which
    ``label NAME`` replaces.
    """
    sha = store.content_sha256[table.item_row(row)]
    if table.name == "objects":
        values |= {"label": ", ".join(table.labels_of(row)), "box": table.facts(row)["box"]}
    elif table.name == "items":
        _, labels, _ = store.label_counts(row, row + 1, of_images=True)
        name = store.categories.labels[labels[0]] if len(labels) == 1 else ""
        values = {"label": name} | values
    return Finding.of(
        kind,
        table.key(row),
        content_sha256=sha.tobytes().hex() if sha.any() else "",
        store=store.uuid,
        model=store.kind.fingerprint,
        **values,
    )


def ranked(rows: Iterable[Finding]) -> Findings:
    """Give the first row rank 1, the next one 2 and so on."""
    return Findings(replace(row, rank=rank) for rank, row in enumerate(rows, start=1))
