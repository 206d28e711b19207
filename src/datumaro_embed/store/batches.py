"""The vectors of a store: all in one array, or some at a time with their keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..records import ItemKey, ShortRepr, Status

if TYPE_CHECKING:
    from .base import EmbeddingStore

__all__ = ["VectorBatch", "check_dtype", "check_n_rows", "iter_batches", "to_numpy"]

_DTYPES = ("float16", "float32", "float64")


@dataclass(frozen=True, slots=True, repr=False)
class VectorBatch(ShortRepr):
    """Some consecutive rows of a store.

    Attributes
    ----------
    rows : array of shape (n,), int64
    keys : tuple of ItemKey
    vectors : array of shape (n, dim), float32
    """

    rows: npt.NDArray[np.int64]
    keys: tuple[ItemKey, ...]
    vectors: npt.NDArray[np.float32]


def to_numpy(
    store: EmbeddingStore, *, dtype: str = "float32", embedded_only: bool = False
) -> npt.NDArray[np.floating[Any]]:
    """Copy the vectors.

    Parameters
    ----------
    store : EmbeddingStore
    dtype : {"float32", "float16", "float64"}
    embedded_only : bool
        Leave out items without a vector; otherwise theirs is zero.

    Returns
    -------
    array of shape (n, dim)
        In row order; norm 1, or zero.
    """
    check_dtype(dtype)
    vectors = store.embeddings(store.statuses == Status.OK) if embedded_only else store.embeddings()
    return np.array(vectors, dtype=dtype)


def iter_batches(
    store: EmbeddingStore, n_rows: int = 4096, *, embedded_only: bool = False
) -> Iterator[VectorBatch]:
    """Yield keys and vectors, `n_rows` at a time, in row order and bounded memory.

    Parameters
    ----------
    store : EmbeddingStore
    n_rows : int
        Rows in each batch but the last.
    embedded_only : bool
        Leave out items without a vector.

    Raises
    ------
    UsageError
        `n_rows` is below 1.
    """
    check_n_rows(n_rows)
    rows = np.flatnonzero(store.statuses == Status.OK) if embedded_only else np.arange(store.n_rows)
    for start in range(0, len(rows), n_rows):
        some = rows[start : start + n_rows]
        keys = tuple(store.key(row) for row in some.tolist())
        yield VectorBatch(some, keys, np.asarray(store.embeddings(some), dtype=np.float32))


def check_dtype(dtype: str) -> None:
    """Refuse a type that vectors are not given in; raises `UsageError`."""
    if dtype not in _DTYPES:
        raise UsageError(f"dtype is {dtype!r}; choose one of {', '.join(_DTYPES)}.", dtype=dtype)


def check_n_rows(n_rows: int) -> None:
    """Refuse a batch of no rows; raises `UsageError`."""
    if n_rows < 1:
        raise UsageError(f"n_rows is {n_rows}; give at least 1.", n_rows=n_rows)
