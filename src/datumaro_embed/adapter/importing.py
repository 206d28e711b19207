"""``PATH[:FORMAT]`` → a SourceDataset; what Datumaro itself drops on the way is counted."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from pathlib import Path

from datumaro.components.dataset import Dataset
from datumaro.components.errors import (
    AnnotationImportError,
    DatasetNotFoundError,
    DatumaroError,
    ItemImportError,
    MultipleFormatsMatchError,
    NoMatchingFormatsError,
    UnknownFormatError,
)
from datumaro.components.importer import ImportErrorPolicy

from ..errors import DatasetReadError
from ..logs import each_warning_once
from ..tally import Tally
from .dataset import SourceDataset

__all__ = ["ImportedDataset", "import_dataset"]


@dataclass(frozen=True, slots=True)
class ImportedDataset:
    """What was imported, and what of the dataset on disk was not, or not completely."""

    source: SourceDataset
    losses: Tally = field(default_factory=Tally)


class _CountingPolicy(ImportErrorPolicy):  # type: ignore[misc]
    """Let the import go on over bad items and annotations, and remember each."""

    def __init__(self, losses: Tally) -> None:
        self._losses = losses

    def _handle_item_error(self, error: ItemImportError) -> None:
        self._note("item", error)

    def _handle_annotation_error(self, error: AnnotationImportError) -> None:
        self._note("annotation", error)

    def _note(self, kind: str, error: ItemImportError | AnnotationImportError) -> None:
        item_id, subset = error.item_id
        self._losses.add(f"{kind}s that Datumaro refuses", f"{subset}/{item_id}: {error.__cause__}")


def import_dataset(pathspec: str, *, follow_symlinks: bool = False) -> ImportedDataset:
    """Import a dataset as ``datum`` would, but lenient: a bad item does not end the import.

    Parameters
    ----------
    pathspec : str
        ``PATH`` (the format is detected) or ``PATH:FORMAT``.
    follow_symlinks : bool
        As in `SourceDataset`.

    Raises
    ------
    DatasetReadError
        No such path, no such format, or a dataset that Datumaro cannot read at all.
    EmptyDatasetError

    Notes
    -----
    Datumaro's own dataset is gone when this returns: its items, some 2 KB each, are held packed.
    """
    path, format_name = _split(pathspec)
    if not path.exists():
        raise DatasetReadError(f"{path}: no such dataset. Check the path.", path=str(path))
    losses = Tally()
    policy = _CountingPolicy(losses)
    with each_warning_once():
        try:
            dataset = Dataset.import_from(str(path), format_name, error_policy=policy)
        except Exception as error:
            raise DatasetReadError(_explain(path, format_name, error), path=str(path)) from error
        source = SourceDataset(dataset, root=path, follow_symlinks=follow_symlinks, packed=True)
    del dataset
    gc.collect()
    return ImportedDataset(source, losses)


def _split(pathspec: str) -> tuple[Path, str | None]:
    """Split at the last colon, unless the whole is a path that exists."""
    head, _, tail = pathspec.rpartition(":")
    if not head or Path(pathspec).exists():
        return Path(pathspec), None
    return Path(head), tail


def _explain(path: Path, format_name: str | None, error: Exception) -> str:
    if isinstance(error, NoMatchingFormatsError):
        return f"{path}: Datumaro recognises no dataset format here. Name it, as {path}:coco."
    if isinstance(error, MultipleFormatsMatchError):
        names = ", ".join(error.formats)
        return f"{path}: could be any of {names}. Name one, as {path}:{error.formats[0]}."
    if isinstance(error, UnknownFormatError):
        return f"{path}: Datumaro has no format {format_name!r}. `datum format` lists its formats."
    cause = error.__cause__ if isinstance(error, DatumaroError) and error.__cause__ else error
    if isinstance(cause, DatasetNotFoundError):
        return f"{path}: no {format_name or 'known'} dataset found here. Check path and format."
    what = f"{type(cause).__name__}: {cause}".splitlines()[0]
    return f"{path}: Datumaro cannot import this ({what}). Check that `datum stats` reads it."
