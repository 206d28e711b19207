"""`convert_store`: one store, one target, one result."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..files import new_path
from ..store import EmbeddingStore
from ..tally import counted
from .coco_json import write_coco
from .vector_files import write_csv, write_faiss, write_npy, write_parquet

_OF_TABLES = {"parquet": write_parquet, "npy": write_npy, "faiss": write_faiss}
_OF_ITEMS = {"csv": write_csv, "coco": write_coco}
FORMATS = (*_OF_TABLES, *_OF_ITEMS)


@dataclass(frozen=True, slots=True)
class ConvertSummary:
    """Rows written, and of which table; of COCO, what annotations of each type it left out."""

    out: str
    n_items: int
    skipped: dict[str, int]
    of: str = "items"

    def lines(self) -> list[str]:
        return [
            f"{counted(self.n_items, self.of)} in {self.out}",
            *(f"  not expressible in COCO, left out: {n} {k}" for k, n in self.skipped.items()),
        ]


def convert_store(
    store: EmbeddingStore,
    out: str | os.PathLike[str],
    *,
    to: str,
    of: str = "items",
    embedded_only: bool = False,
    vectors: bool = False,
) -> ConvertSummary:
    """Write a store in another format.

    Parameters
    ----------
    out : path
        A file (parquet, csv, coco) or a directory (npy, faiss) that does not exist.
    to : {"parquet", "npy", "csv", "faiss", "coco"}
    of : {"items", "objects", "captions"}
        What one row is; for parquet, npy and faiss. A parquet of items holds their objects and
        captions too, as lists: `import_vectors` restores the whole store.
    embedded_only : bool
        Leave out rows without a vector. Otherwise row i is item i everywhere, and the vector of a
        failed item is zero.
    vectors : bool
        csv: one column for each dimension too. Every other format but coco always has them.

    Raises
    ------
    StoreExistsError, StoreWriteError, MissingExtraError
    UsageError
        No such format, `vectors` for another format than csv, or no such table.
    """
    if to not in FORMATS:
        raise UsageError(f"No format {to!r}; choose one of {', '.join(FORMATS)}.", to=to)
    if vectors and to != "csv":
        raise UsageError(f"``vectors`` is for csv only; leave it out for {to}.", to=to)
    if of != "items" and to not in _OF_TABLES:
        raise UsageError(f"{to} is of items only. Choose one of {', '.join(_OF_TABLES)}.", to=to)
    table = store.table(of)
    skipped: dict[str, int] = {}
    with new_path(Path(out), directory=to in ("npy", "faiss")) as path:
        if to == "csv":
            write_csv(store, path, embedded_only=embedded_only, vectors=vectors)
        elif to == "coco":
            skipped = write_coco(store, path, embedded_only=embedded_only)
        else:
            _OF_TABLES[to](table, path, embedded_only=embedded_only)
    n_rows = int(table.has_vector.sum()) if embedded_only else len(table)
    return ConvertSummary(str(out), n_rows, skipped, of)
