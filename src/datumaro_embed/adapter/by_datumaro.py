"""Read a dataset with Datumaro's importer of its format, but continue after a bad item."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem, IDataset
from datumaro.components.environment import Environment
from datumaro.components.errors import (
    AnnotationImportError,
    DatasetImportError,
    ItemImportError,
    RepeatedItemError,
)
from datumaro.components.importer import ImportContext, ImportErrorPolicy

from ..tally import Tally
from .media import listing_lost_masks
from .same_stem import with_distinct_ids
from .voc import count_missing_masks, refused_items, with_own_images, without_damaged_masks


class _CountingPolicy(ImportErrorPolicy):  # type: ignore[misc]
    """Continue the import after bad items and annotations, and count them."""

    def __init__(self, losses: Tally) -> None:
        self._losses = losses
        self.refused: list[tuple[str, str]] = []

    def _handle_item_error(self, error: ItemImportError) -> None:
        self.refused.append(error.item_id)
        self._handle_annotation_error(error, "items")

    def _handle_annotation_error(
        self, error: ItemImportError | AnnotationImportError, things: str = "annotations"
    ) -> None:
        item_id, subset = error.item_id
        reason = f"{things} that Datumaro rejects"
        self._losses.add(reason, f"{subset}/{item_id}: {error.__cause__}")


def read_by_datumaro(path: Path, format_name: str, losses: Tally) -> Dataset:
    """Return a dataset of any format that Datumaro reads; losses are what it rejects.

    Items with the same id become distinct ones, and Pascal VOC's items get their own images.
    """
    found = Tally()
    try:
        policy = _CountingPolicy(found)
        with listing_lost_masks() as lost_masks:
            dataset = Dataset.import_from(str(path), format_name, error_policy=policy)
    except DatasetImportError as error:
        if not isinstance(error.__cause__, RepeatedItemError):
            raise
        found = Tally()
        # Two items have the same id, such as a.jpg and a.png.
        environment = Environment()
        context = ImportContext(error_policy=_CountingPolicy(found))
        extractors = [
            environment.make_extractor(
                source["format"], source["url"], **source.get("options", {}), ctx=context
            )
            for source in environment.make_importer(format_name)(str(path))
        ]
        dataset = _like(extractors[0], with_distinct_ids(chain(*extractors), found))
    if "voc" in format_name.split("_"):
        sound = without_damaged_masks(dataset, lost_masks)
        refused = refused_items(path, policy.refused)
        items = with_own_images(chain(sound, refused), found)
        dataset = _like(dataset, list(items))
        count_missing_masks(path, found)
    for mask in dict.fromkeys(lost_masks):
        found.add("mask files that cannot be read", os.path.relpath(mask, path))
    losses.update(found)
    return dataset


def _like(dataset: IDataset, items: list[DatasetItem]) -> Dataset:
    return Dataset.from_iterable(
        items,
        infos=dataset.infos(),
        categories=dataset.categories(),
        media_type=dataset.media_type(),
        ann_types=set(),
    )
