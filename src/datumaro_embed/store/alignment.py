"""Lines a store's vectors up with the items of a dataset, by (subset, id)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import ItemNotFoundError, UsageError
from ..records import ItemKey
from ..tally import counted
from .lookup import find_row

if TYPE_CHECKING:
    from .base import EmbeddingStore

__all__ = ["HasKey", "rows_for", "vectors_for"]


class HasKey(Protocol):
    """An item of a dataset: Datumaro's `DatasetItem`, or anything with these two."""

    @property
    def id(self) -> str: ...
    @property
    def subset(self) -> str: ...


def rows_for(store: EmbeddingStore, dataset: Iterable[HasKey]) -> npt.NDArray[np.int64]:
    """Row of every item.

    Parameters
    ----------
    store : EmbeddingStore
    dataset : iterable of items
        A Datumaro dataset, whole or filtered, in any order.

    Returns
    -------
    array of shape (n_items,), int64
        In the dataset's order; -1 where the store has no such item.
    """
    all_keys = store.keys()
    found = (find_row(all_keys, ItemKey(item.subset, item.id)) for item in dataset)
    return np.array([-1 if row is None else row for row in found], dtype=np.int64)


def vectors_for(
    store: EmbeddingStore, dataset: Iterable[HasKey], *, missing: str = "error"
) -> npt.NDArray[np.float32]:
    """Vector of every item: ``zip(dataset, vectors_for(store, dataset))``.

    Parameters
    ----------
    store : EmbeddingStore
    dataset : iterable of items
        As in `rows_for`.
    missing : {"error", "zero"}
        What an item does that the store does not have.

    Returns
    -------
    array of shape (n_items, dim), float32
        In the dataset's order; zero where embedding failed (see `EmbeddingStore.statuses`).

    Raises
    ------
    ItemNotFoundError
        An item is not in the store, such as after its id or subset was changed.
    """
    if missing not in {"error", "zero"}:
        raise UsageError(f"missing is {missing!r}; choose error or zero.", missing=missing)
    items = list(dataset)
    rows = rows_for(store, items)
    absent = np.flatnonzero(rows < 0)
    if len(absent) and missing == "error":
        raise _absent(store, ItemKey(items[absent[0]].subset, items[absent[0]].id), len(absent))
    vectors: npt.NDArray[Any] = np.zeros((len(rows), store.dim), dtype=np.float32)
    vectors[rows >= 0] = store.embeddings(rows[rows >= 0])
    return vectors


def _absent(store: EmbeddingStore, first: ItemKey, count: int) -> ItemNotFoundError:
    return ItemNotFoundError(
        f"'{store.path}' lacks {counted(count, 'items')} of the dataset, first '{first}'; "
        "embed the dataset again, or pass missing='zero'.",
        key=first,
        count=count,
    )
