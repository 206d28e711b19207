"""`convert_store`: one store, one target, one result."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UsageError
from ..files import FileSystem, check_output, new_path, write_errors
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
    captions = ""
    with ExitStack() as undo:
        with new_path(Path(out), directory=to in _FOLDERS) as path:
            if to == "csv":
                write_csv(store, path, embedded_only=embedded_only, vectors=vectors)
            elif to == "coco":
                coco = write_coco(store, path, _beside(path), embedded_only=embedded_only)
                skipped, renumbered = coco
                captions = _publish_captions(_beside(path), _beside(Path(out)), undo)
            elif to == "fiftyone":
                skipped = write_fiftyone(store, path, embedded_only=embedded_only)
            elif to in _TO_REVIEW:
                n_rows, skipped = _TO_REVIEW[to](store, path, findings)
            else:
                _OF_TABLES[to](table, path, embedded_only=embedded_only)
        undo.pop_all()  # both files are in their place
    return ConvertSummary(str(out), n_rows, skipped, of, renumbered, captions)


def _publish_captions(new: Path, out: Path, undo: ExitStack) -> str:
    """Put captions, if there are any, in their place before the instances; return the place.

    A run that was killed between the two has put them there already.
    """
    if not new.exists():
        return ""
    if not (out.is_file() and filecmp.cmp(new, out, shallow=False)):
        check_output(out)
        files = FileSystem()
        with write_errors(out):
            with new.open("r+b") as file:
                files.fsync(file.fileno())
            files.replace(new, out)
        undo.callback(_remove, out)
    return str(out)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _beside(instances: Path) -> Path:
    """Where the captions of a COCO file are."""
    return instances.with_name(f"captions_{instances.name.removeprefix('instances_')}")
