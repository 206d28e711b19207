"""A Datumaro dataset for the pipeline: sorted by (subset, id), with checked paths."""

from __future__ import annotations

import os
import reprlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datumaro.components import media as dm
from datumaro.components.annotation import AnnotationType
from datumaro.components.annotation import Categories as DmCategories
from datumaro.components.dataset_base import DatasetItem, IDataset

from ..errors import DatasetReadError, EmptyDatasetError, UsageError
from ..geometry import BoxRule, choose_rule, to_upright, upright_size
from ..records import Categories, ItemKey, ItemRecord, Status, split_of
from ..tally import Tally
from .annotations import (
    UNDECLARED_LABEL,
    annotation_record,
    canonical_order,
    categories_record,
    geometry_notes,
    jsonable,
    read_annotations,
    with_labels,
)
from .fence import Fence
from .items import Items
from .media import media_file

if TYPE_CHECKING:
    from ..video import Videos


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One item before its image is read."""

    key: ItemKey
    medium: dm.MediaElement | None
    path: str  # as in ItemRecord
    unsafe: str  # why the path may not be opened; empty if it may
    item: DatasetItem
    labels: tuple[str, ...]
    relative_boxes: bool
    videos: Videos | None  # the decoders of one pass, for a video frame

    @property
    def n_annotations(self) -> int:
        """Number of annotations; reads none of them."""
        return len(self.item.annotations)

    def record(
        self,
        stored: tuple[int, int] | None,
        orientation: int,
        content_sha256: bytes,
        *,
        status: Status = Status.OK,
        error: str = "",
    ) -> ItemRecord:
        """Return the complete record, with facts from the image.

        Parameters
        ----------
        stored : (width, height) or None
            Pixels as stored in the file; None if the image could not be read.
        orientation : int
            EXIF 1 to 8.
        content_sha256, status, error
            As in ItemRecord.
        """
        declared: tuple[int, int] | None = None
        if isinstance(self.medium, dm.Image) and self.medium.has_size:  # known without opening it
            height, width = self.medium.size
            declared = (width, height) if max(width, height) < 2**31 else None
        size = stored or declared or (0, 0)
        rule = choose_rule(size, orientation, declared=declared, relative=self.relative_boxes)
        turned = orientation if rule is BoxRule.ROTATED_WITH_IMAGE else 1
        width, height = upright_size(size, orientation)
        annotations, notes = read_annotations(
            self.item.annotations,
            lambda each: to_upright(annotation_record(each, turned), rule, size, orientation),
        )
        for place, annotation in annotations.items():
            notes.extend(geometry_notes(annotation, width, height))
            if 0 < len(self.labels) <= annotation.label:
                annotations[place] = replace(annotation, label=-1)
                notes.append(UNDECLARED_LABEL)
        if stored and declared and declared not in (stored, (width, height)):
            notes.append("images whose size differs from the declared one")
        attributes: dict[str, Any] = jsonable(self.item.attributes)
        if rule is not None:
            attributes["exif_boxes"] = rule.value
        place_of = {id(record): place for place, record in annotations.items()}
        ordered = canonical_order(annotations.values(), self.labels)
        return ItemRecord(
            key=self.key,
            split=split_of(self.key.subset),
            path=self.path,
            width=width,
            height=height,
            status=status,
            error=error,
            content_sha256=content_sha256,
            attributes=attributes,
            annotations=ordered,
            notes=tuple(notes),
            places=tuple(place_of[id(record)] for record in ordered),
        )


class SourceDataset:
    """Items of a Datumaro dataset in store order; each path is checked before it is opened.

    Raises `UsageError` if `dataset` is not a dataset, `EmptyDatasetError` if it has no items, and
    `DatasetReadError` if it has the same (subset, id) twice.

    Holds one reference to each of Datumaro's items; opens no image.

    Parameters
    ----------
    dataset : datumaro Dataset, legacy or experimental, or anything with its items, categories and
        media
    root : path, optional
        Folder that must contain all images. The default is the folder from which Datumaro imported
        the dataset, else the deepest folder that contains all image files.
    follow_symlinks : bool
        Allow image files that are links leading out of the root.
    packed : bool
        Keep compressed copies of the items, so that the caller can free the dataset.
    every : int
        Use only the video frames whose number is a multiple of this.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        root: Path | None = None,
        follow_symlinks: bool = False,
        packed: bool = False,
        every: int = 1,
    ) -> None:
        self.losses = Tally()
        if "datumaro.experimental.dataset" in sys.modules:  # else it cannot be of that kind
            from ..experimental import is_experimental
            from .experimental import ExperimentalItems

            if is_experimental(dataset):
                dataset = ExperimentalItems(dataset, str(root or ""))
                self.losses = dataset.losses
        if isinstance(dataset, type) or not callable(getattr(dataset, "categories", None)):
            raise UsageError(
                f"{reprlib.repr(dataset)} is not a Datumaro dataset. Pass one, such as "
                "Dataset.import_from(PATH) or Dataset.from_iterable(ITEMS) "
                "(`from datumaro.components.dataset import Dataset`)."
            )
        self.declared: Mapping[AnnotationType, DmCategories] = dataset.categories()
        self.categories: Categories = categories_record(self.declared)
        items = sorted(dataset, key=lambda item: (item.subset, item.id))
        if every > 1:
            items = [
                item
                for item in items
                if not isinstance(item.media, dm.VideoFrame) or item.media.index % every == 0
            ]
        if not items:
            raise EmptyDatasetError("The dataset has no items. Check the path and the format.")
        for first, second in pairwise((item.subset, item.id) for item in items):
            if first == second:
                raise DatasetReadError(
                    f"Two items are called {'/'.join(first)}. Rename one of them "
                    "(`datum transform -t rename`, or reindex)."
                )
        declared_root = root or getattr(dataset, "data_path", None)
        if not declared_root:
            files = filter(None, (media_file(item.media) for item in items))
            folders = {os.path.dirname(file) for file in files}
            try:
                declared_root = os.path.commonpath([os.path.abspath(f) for f in folders])
            except ValueError:  # no files at all, or on several drives
                declared_root = "."
        self.root: Path = Path(declared_root)
        self._items = Items(items, packed=packed)
        self._follow_symlinks = follow_symlinks
        self._relative_boxes = has_relative_boxes(dataset)

    def __len__(self) -> int:
        return self._items.n_items

    def keys(self) -> Iterator[ItemKey]:
        """Yield every item's key, ascending."""
        return self._items.keys()

    def only(self, wanted: Callable[[ItemKey], bool]) -> SourceDataset:
        """Return the dataset with only the wanted items, maybe none; keeps categories and root."""
        part = copy(self)
        part._items = self._items.only(wanted)
        return part

    def changed(
        self, items: Iterable[DatasetItem], new_labels: Sequence[str] = ()
    ) -> SourceDataset:
        """Return a dataset of changed items, with more labels; keeps the root."""
        part = copy(self)
        ordered = sorted(items, key=lambda item: (item.subset, item.id))
        part._items = Items(ordered, packed=self._items.packed)
        part.declared = with_labels(self.declared, new_labels)
        part.categories = categories_record(part.declared)
        return part

    def items(self) -> Iterator[DatasetItem]:
        """Datumaro's items."""
        return iter(self._items)

    def __iter__(self) -> Iterator[SourceItem]:
        fence = Fence(self.root, self._follow_symlinks)
        labels, videos = self.categories.labels, None
        for item in self._items:
            file = media_file(item.media)
            path, unsafe = fence.place(file) if file else ("", "")
            if isinstance(item.media, dm.VideoFrame):
                from ..video import Videos, frame_path

                path = frame_path(path, item.media.index)
                videos = videos or Videos()
                videos.expect(file, item.media.index)
            key = ItemKey(item.subset, item.id)
            yield SourceItem(
                *(key, item.media, path, unsafe, item, labels, self._relative_boxes, videos)
            )


def format_of(dataset: object) -> str | None:
    """Return the format from which a dataset was imported; None if unknown.

    A transform gets the importer's object, which does not name its format, but its class is in the
    folder of the format.
    """
    if own := getattr(dataset, "_format", None):
        return str(own)
    _, _, below = type(dataset).__module__.partition("plugins.data_formats.")
    found = (format_of(source) for source in _sources(dataset))
    return below.split(".")[0] or next(filter(None, found), None)


def has_relative_boxes(dataset: object) -> bool:
    """Tell whether boxes were fractions that Datumaro multiplied by a size (YOLO).

    Only private attributes of Datumaro have a dataset's format and a transform's sources.
    """
    bases = {base.__name__ for base in type(dataset).__mro__}
    return (
        "yolo" in str(getattr(dataset, "_format", None))
        or not bases.isdisjoint({"YoloLooseBase", "YoloStrictBase"})
        or any(map(has_relative_boxes, _sources(dataset)))
    )


def _sources(dataset: object) -> Iterator[object]:
    for name in ("_extractor", "_source", "_data"):
        source = getattr(dataset, name, None)
        if isinstance(source, IDataset):
            yield source
    subsets = getattr(dataset, "_subsets", None)
    for entry in subsets.values() if isinstance(subsets, dict) else ():
        yield from (entry if isinstance(entry, list) else [entry])
