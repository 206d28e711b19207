"""`convert_store`: one store, one target, one result."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UsageError
from ..files import new_path
from ..records import Status
from ..store import EmbeddingStore
from ..tally import counted
from .coco_json import write_coco
from .vector_files import write_csv, write_faiss, write_npy, write_parquet

_WRITERS: dict[str, Callable[..., dict[str, int] | None]] = {
    "parquet": write_parquet,
    "npy": write_npy,
    "csv": write_csv,
    "faiss": write_faiss,
    "coco": write_coco,
}
FORMATS = tuple(_WRITERS)


@dataclass(frozen=True, slots=True)
class ConvertSummary:
    """Rows written; of COCO, how many annotations of each type it cannot express."""

    out: str
    n_items: int
    skipped: dict[str, int]

    def lines(self) -> list[str]:
        return [
            f"{counted(self.n_items, 'items')} in {self.out}",
            *(f"  not expressible in COCO, left out: {n} {k}" for k, n in self.skipped.items()),
        ]


def convert_store(
    store: EmbeddingStore,
    out: str | os.PathLike[str],
    *,
    to: str,
    embedded_only: bool = False,
    vectors: bool = False,
) -> ConvertSummary:
    """Write a store in another format.

    Parameters
    ----------
    out : path
        A file (parquet, csv, coco) or a directory (npy, faiss) that does not exist.
    to : {"parquet", "npy", "csv", "faiss", "coco"}
    embedded_only : bool
        Leave out items without a vector. Otherwise row i is item i everywhere, and the vector of a
        failed item is zero.
    vectors : bool
        csv: one column for each dimension too. Every other format but coco always has them.

    Raises
    ------
    StoreExistsError, StoreWriteError, MissingExtraError
    UsageError
        No such format, or `vectors` for another format than csv.
    """
    if to not in FORMATS:
        raise UsageError(f"No format {to!r}; choose one of {', '.join(FORMATS)}.", to=to)
    if vectors and to != "csv":
        raise UsageError(f"``vectors`` is for csv only; leave it out for {to}.", to=to)
    options = {"embedded_only": embedded_only} | ({"vectors": vectors} if to == "csv" else {})
    with new_path(Path(out), directory=to in ("npy", "faiss")) as path:
        skipped = _WRITERS[to](store, path, **options) or {}
    n_ok = int(np.count_nonzero(store.statuses == Status.OK))
    return ConvertSummary(str(out), n_ok if embedded_only else store.n_rows, skipped)
