"""`convert_store`: one store, one target, one result."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UsageError
from ..files import new_path
from ..findings import Finding, Findings
from ..store import EmbeddingStore
from ..tally import counted
from .coco_json import write_coco
from .fiftyone_files import write_fiftyone
from .review_files import write_cvat, write_label_studio
from .vector_files import write_csv, write_faiss, write_npy, write_parquet

_OF_TABLES = {"parquet": write_parquet, "npy": write_npy, "faiss": write_faiss}
_TO_REVIEW = {"cvat": write_cvat, "label_studio": write_label_studio}
FORMATS = (*_OF_TABLES, "csv", "coco", "fiftyone", *_TO_REVIEW)
_FOLDERS = ("npy", "faiss", "fiftyone", *_TO_REVIEW)


@dataclass(frozen=True, slots=True)
class ConvertSummary:
    """Rows written, and of which table.

    Attributes
    ----------
    skipped : dict
        How many annotations of each type the format cannot hold.
    renumbered : dict
        COCO: how many ids of images, categories and annotations were given twice.
    captions : str
        COCO: the file of the captions; empty where there are none.
    """

    out: str
    n_items: int
    skipped: dict[str, int]
    of: str = "items"
    renumbered: dict[str, int] = field(default_factory=dict)
    captions: str = ""

    def lines(self) -> list[str]:
        return [
            f"{counted(self.n_items, self.of)} in {self.out}",
            *([f"  captions in {self.captions}"] if self.captions else []),
            *(f"  not expressible here, left out: {n} {k}" for k, n in self.skipped.items()),
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
    findings: Iterable[Finding] | str | os.PathLike[str] | None = None,
) -> ConvertSummary:
    """Write a store in another format.

    Parameters
    ----------
    out : path
        A file (parquet, csv, coco) or else a directory that does not exist. Of coco, captions are
        written beside it: to ``captions_X.json`` for ``X.json`` or ``instances_X.json``.
    to : {"parquet", "npy", "csv", "faiss", "coco", "fiftyone", "cvat", "label_studio"}
    of : {"items", "objects", "captions"}
        What one row is; for parquet, npy and faiss. A parquet of items holds their objects and
        captions too, as lists: `import_vectors` restores the whole store.
    embedded_only : bool
        Leave out rows without a vector. Otherwise row i is item i everywhere, and the vector of a
        failed item is zero.
    vectors : bool
        csv: one column for each dimension too. parquet, npy, faiss and fiftyone always have them.
    findings : iterable of Finding or path, optional
        cvat and label_studio: write only items with findings that are not decided (no action, or
        `review`), the most suspicious first.

    Raises
    ------
    StoreExistsError, StoreWriteError, MissingExtraError
    UsageError
        No such format or table, an option of another format, or findings of other images.
    """
    if to not in FORMATS:
        raise UsageError(f"No format {to!r}; choose one of {', '.join(FORMATS)}.", to=to)
    if vectors and to != "csv":
        raise UsageError(f"``vectors`` is for csv only; leave it out for {to}.", to=to)
    if of != "items" and to not in _OF_TABLES:
        raise UsageError(f"{to} is of items only. Choose one of {', '.join(_OF_TABLES)}.", to=to)
    if findings is not None and to not in _TO_REVIEW:
        raise UsageError(f"``findings`` is for {' and '.join(_TO_REVIEW)} only.", to=to)
    if isinstance(findings, (str, os.PathLike)):
        findings = Findings.read(findings)
    table = store.table(of)
    n_rows = int(table.has_vector.sum()) if embedded_only else len(table)
    skipped: dict[str, int] = {}
    renumbered: dict[str, int] = {}
    beside = Path(out).with_name(f"captions_{Path(out).name.removeprefix('instances_')}")
    has_captions = to == "coco" and _has_captions(store)
    with (
        new_path(beside) if has_captions else nullcontext() as captions,
        new_path(Path(out), directory=to in _FOLDERS) as path,
    ):
        if to == "csv":
            write_csv(store, path, embedded_only=embedded_only, vectors=vectors)
        elif to == "coco":
            found = write_coco(store, path, captions, embedded_only=embedded_only)
            skipped, renumbered = found
        elif to == "fiftyone":
            skipped = write_fiftyone(store, path, embedded_only=embedded_only)
        elif to in _TO_REVIEW:
            n_rows, skipped = _TO_REVIEW[to](store, path, findings)
        else:
            _OF_TABLES[to](table, path, embedded_only=embedded_only)
    where = str(beside) if has_captions else ""
    return ConvertSummary(str(out), n_rows, skipped, of, renumbered, where)


def _has_captions(store: EmbeddingStore) -> bool:
    codes = [n for n, name in enumerate(store.ann_type_names) if name == "caption"]
    return bool(np.isin(store.column("annotations/type"), codes).any())
