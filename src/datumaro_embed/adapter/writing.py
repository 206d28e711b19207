"""Datumaro items → a dataset on disk, by Datumaro's own exporters."""

from __future__ import annotations

from pathlib import Path

from datumaro.components.annotation import Label
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.environment import Environment
from datumaro.components.errors import DatumaroError, ItemExportError

from ..errors import DatasetWriteError, UsageError
from ..logs import each_warning_once
from .dataset import SourceDataset
from .media import loads_images


def as_dataset(source: SourceDataset) -> Dataset:
    """Give Datumaro's own class, which holds the items."""
    return Dataset.from_iterable(
        list(source.items()), categories=dict(source.declared), ann_types=set()
    )


@loads_images
def write_dataset(source: SourceDataset, form: str, folder: Path) -> None:
    """Write a dataset and its images into an empty folder; files of images are copied.

    Raises `DatasetWriteError`: Datumaro's exporter refuses the dataset.
    """
    try:
        with each_warning_once():
            as_dataset(source).export(str(folder), form, save_media=True)
    except Exception as error:
        cause: BaseException = error
        where = ""
        while isinstance(cause, DatumaroError) and cause.__cause__ is not None:
            if isinstance(cause, ItemExportError):
                where = f" ({'/'.join(reversed(cause.item_id))})"
            cause = cause.__cause__
        said = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise DatasetWriteError(f"Datumaro's exporter of {form} ends with {said}{where}") from error


def check_format(form: str) -> None:
    """Refuse a format that Datumaro cannot write; raises `UsageError`."""
    known = sorted(Environment().exporters)
    if form not in known:
        raise UsageError(
            f"Datumaro cannot write the format {form!r}. Choose another ``format``: "
            f"{', '.join(known)}."
        )


def with_label(item: DatasetItem, label: int) -> DatasetItem:
    """Give an item another annotation: a label of the whole image."""
    return item.wrap(annotations=[*item.annotations, Label(label)])
