"""Which rows of a store a question is about: by subset, split and label."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..flags import DEFAULT_TABLE, TABLES
from ..records import Split
from ..store import EmbeddingStore, VectorTable

BoolArray = npt.NDArray[np.bool_]

_SUGGESTIONS = 5


@dataclass(frozen=True, slots=True)
class Filters:
    """What a row or its item must be; an empty field asks nothing, several values mean any of them.

    Splits are ``"train"``, ``"val"``, ``"test"`` or ``"other"``; a label is one of
    any annotation of an item, or that of the object itself.
    """

    subsets: Sequence[str] = ()
    splits: Sequence[str] = ()
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # an empty list asks as little as an empty tuple
            names = getattr(self, field.name)
            one = (names,) if isinstance(names, str) else tuple(names)
            object.__setattr__(self, field.name, one)


ALL = Filters()


def table_to_search(store: EmbeddingStore, of: str) -> VectorTable:
    """Give a table of rows that belong to items; raises `UsageError` where there is none."""
    if of not in TABLES:
        raise UsageError(f"``of`` is {of!r}. Choose {', '.join(TABLES)}.", of=of)
    return store.table(of)


def matching_rows(
    store: EmbeddingStore,
    filters: Filters = ALL,
    of: str = DEFAULT_TABLE,
    *,
    embedded_only: bool = True,
) -> BoolArray:
    """Tell which rows have a vector and pass the filters: array of shape (n_rows,), bool.

    Without `embedded_only`, those without a vector may pass too.

    Raises `UsageError`: a table or a name that the store does not have, with the nearest names.
    """
    table = table_to_search(store, of)
    mask = table.has_vector if embedded_only else np.ones(len(table), np.bool_)
    if filters.subsets:
        codes = _codes("subset", filters.subsets, store.subset_names)
        mask &= table.spread(np.isin(store.subset_codes, codes))
    if filters.splits:
        names = [split.name.lower() for split in Split]
        mask &= table.spread(np.isin(store.splits, _codes("split", filters.splits, names)))
    if filters.labels:
        mask &= table.labelled(_codes("label", filters.labels, table.label_names))
    return mask


def _codes(kind: str, wanted: Sequence[str], known: Sequence[str]) -> list[int]:
    """Give every index at which one of the wanted names stands."""
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"There is no {kind} {name!r} in the store. {_nearest(name, known)}", name=name
            )
    return [code for code, name in enumerate(known) if name in wanted]


def _nearest(name: str, known: Sequence[str]) -> str:
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=_SUGGESTIONS, cutoff=0.5)
    suggested = ", ".join(repr(by_lower[other]) for other in near)
    if suggested:
        return f"Nearest: {suggested}."
    some = ", ".join(repr(other) for other in known[:_SUGGESTIONS])
    more = ", …" if len(known) > _SUGGESTIONS else ""
    return f"There are: {some or 'none'}{more}."
