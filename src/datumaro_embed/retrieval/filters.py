"""Filter rows of a store by subset, split and label."""

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
    """Conditions on rows; an empty field matches all, and several values match any of them.

    Splits are ``"train"``, ``"val"``, ``"test"`` or ``"other"``. `labels` match the label of any
    annotation of an item, or an object's own label.
    """

    subsets: Sequence[str] = ()
    splits: Sequence[str] = ()
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # an empty list also matches all
            names = getattr(self, field.name)
            one = (names,) if isinstance(names, str) else tuple(names)
            object.__setattr__(self, field.name, one)


ALL = Filters()


def table_to_search(store: EmbeddingStore, of: str) -> VectorTable:
    """Return a table by name; raises `UsageError` if the store does not have it."""
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

    Without `embedded_only`, rows without a vector are included.

    Raises `UsageError` for a table or name that the store does not have, with the nearest names.
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
    """Return all indices of the wanted names; raises `UsageError` with those nearest to a name."""
    for name in wanted:
        if name not in known:
            by_lower = {other.lower(): other for other in known}
            near = difflib.get_close_matches(name.lower(), by_lower, n=_SUGGESTIONS, cutoff=0.5)
            some = [by_lower[other] for other in near] or known[:_SUGGESTIONS]
            listed = ", ".join(map(repr, some)) or "none"
            more = ", …" if not near and len(known) > _SUGGESTIONS else ""
            raise UsageError(
                f"There is no {kind} {name!r} in the store. "
                f"{'Nearest' if near else 'There are'}: {listed}{more}.",
                name=name,
            )
    return [code for code, name in enumerate(known) if name in wanted]
