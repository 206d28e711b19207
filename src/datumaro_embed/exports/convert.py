"""`convert_store`: one store, one target, one result."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UsageError
from ..files import new_path
from ..store import EmbeddingStore
from ..tally import counted
from .coco_json import write_coco
from .reviewing import WITHOUT_SIZE, Notes, write_cvat, write_label_studio
from .vector_files import write_csv, write_faiss, write_npy, write_parquet

_OF_TABLES = {"parquet": write_parquet, "npy": write_npy, "faiss": write_faiss}
_OF_IMAGES = ("label-studio", "cvat")
FORMATS = (*_OF_TABLES, "csv", "coco", *_OF_IMAGES)


@dataclass(frozen=True, slots=True)
class ConvertSummary:
    """Rows written, and of which table.

    Attributes
    ----------
    skipped : dict
        How many annotations of each type the format cannot hold.
    renumbered : dict
        COCO: how many ids of images, categories and annotations were given twice.
    beside : str
        A second file, which was written too: COCO's captions, Label Studio's configuration.
    """

    out: str
    n_items: int
    skipped: dict[str, int]
    of: str = "items"
    renumbered: dict[str, int] = field(default_factory=dict)
    beside: str = ""

    def lines(self) -> list[str]:
        return [
            f"{counted(self.n_items, self.of)} in {self.out}",
            *([f"  with {self.beside}"] if self.beside else []),
            *(f"  not expressible in it, left out: {n} {k}" for k, n in self.skipped.items()),
            *(
                f"  {k} ids that were given twice, renumbered: {n}"
                for k, n in self.renumbered.items()
            ),
        ]


def convert_store(
    store: EmbeddingStore,
    out: str | os.PathLike[str],
    *,
    to: str,
    of: str = "items",
    embedded_only: bool = False,
    vectors: bool = False,
    items: Notes | None = None,
) -> ConvertSummary:
    """Write a store in another format.

    Parameters
    ----------
    out : path
        A file, or for npy and faiss a directory, that does not exist. Of coco, captions are written
        beside it: to ``captions_X.json`` for ``X.json`` or ``instances_X.json``. Of label-studio,
        the labeling configuration is: to ``X.xml``.
    to : {"parquet", "npy", "csv", "faiss", "coco", "label-studio", "cvat"}
    of : {"items", "objects", "captions"}
        What one row is; for parquet, npy and faiss. A parquet of items holds their objects and
        captions too, as lists: `import_vectors` restores the whole store.
    embedded_only : bool
        Leave out rows without a vector. Otherwise row i is item i everywhere, and the vector of a
        failed item is zero.
    vectors : bool
        csv: one column for each dimension too. Parquet, npy and faiss always have them.
    items : mapping of ItemKey to sequence of str, optional
        label-studio and cvat: which items, in this order, and what is noted of each (see
        `Findings.to_review`); by default all.

    Raises
    ------
    StoreExistsError, StoreWriteError, MissingExtraError
    UsageError
        No such format or table, or an argument of another format.
    """
    if to not in FORMATS:
        raise UsageError(f"No format {to!r}; choose one of {', '.join(FORMATS)}.", to=to)
    if vectors and to != "csv":
        raise UsageError(f"``vectors`` is for csv only; leave it out for {to}.", to=to)
    if of != "items" and to not in _OF_TABLES:
        raise UsageError(f"{to} is of items only. Choose one of {', '.join(_OF_TABLES)}.", to=to)
    if to not in _OF_IMAGES and items is not None:
        raise UsageError(
            f"``items`` is for {' and '.join(_OF_IMAGES)}; leave it out for {to}.", to=to
        )
    table = store.table(of)
    skipped: dict[str, int] = {}
    renumbered: dict[str, int] = {}
    if to in _OF_IMAGES:
        has_vector, every = table.has_vector, {store.key(row): () for row in range(len(table))}
        notes = every if items is None else items
        items = {k: v for k, v in notes.items() if not embedded_only or has_vector[store.row(k)]}
    beside = _second_file(store, Path(out), to)
    with (
        new_path(beside) if beside else nullcontext() as second,
        new_path(Path(out), directory=to in ("npy", "faiss")) as path,
    ):
        if to == "csv":
            write_csv(store, path, embedded_only=embedded_only, vectors=vectors)
        elif to == "coco":
            skipped, renumbered = write_coco(store, path, second, embedded_only=embedded_only)
        elif to == "label-studio" and second is not None:
            skipped = write_label_studio(store, path, second, items or {})
        elif to == "cvat":
            skipped = write_cvat(store, path, items or {})
        else:
            _OF_TABLES[to](table, path, embedded_only=embedded_only)
    n_rows = int(table.has_vector.sum()) if embedded_only else len(table)
    n_rows = n_rows if items is None else len(items) - skipped.get(WITHOUT_SIZE, 0)
    return ConvertSummary(str(out), n_rows, skipped, of, renumbered, str(beside or ""))


def _second_file(store: EmbeddingStore, out: Path, to: str) -> Path | None:
    if to == "label-studio":
        return out.with_suffix(".xml")
    if to == "coco" and _has_captions(store):
        return out.with_name(f"captions_{out.name.removeprefix('instances_')}")
    return None


def _has_captions(store: EmbeddingStore) -> bool:
    codes = [n for n, name in enumerate(store.ann_type_names) if name == "caption"]
    return bool(np.isin(store.ann_types, codes).any())
