"""A Datumaro dataset as the pipeline reads it: sorted by (subset, id), paths checked."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from datumaro.components import media as dm
from datumaro.components.annotation import AnnotationType
from datumaro.components.annotation import Categories as DmCategories
from datumaro.components.dataset_base import DatasetItem, IDataset

from ..errors import DatasetReadError, EmptyDatasetError, UsageError
from ..experimental import is_experimental
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
from .experimental import ExperimentalItems
from .fence import Fence
from .items import Items
from .media import media_file


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One item before its image is read."""

    key: ItemKey
    medium: dm.MediaElement | None
    path: str  # as in ItemRecord
    unsafe: str  # why the path may not be opened; empty where it may
    item: DatasetItem
    labels: tuple[str, ...]
    relative_boxes: bool

    @property
    def n_annotations(self) -> int:
        """Number of its annotations, none of them read."""
        return len(self.item.annotations)

    def declared_size(self) -> tuple[int, int] | None:
        """Width and height as the dataset says, the image unopened; None where it says nothing."""
        medium = self.medium
        if not isinstance(medium, dm.Image) or not medium.has_size:
            return None
        height, width = medium.size
        return (width, height) if max(width, height) < 2**31 else None

    def record(
        self,
        stored: tuple[int, int] | None,
        orientation: int,
        content_sha256: bytes,
        *,
        status: Status = Status.OK,
        error: str = "",
    ) -> ItemRecord:
        """Complete the record with what the image says.

        Parameters
        ----------
        stored : (width, height) or None
            Pixels as stored in the file; None where the image could not be read.
        orientation : int
            EXIF 1 to 8.
        content_sha256, status, error
            As in ItemRecord.
        """
        declared = self.declared_size()
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

    Raises `UsageError`, `EmptyDatasetError`, `DatasetReadError`: no dataset; no items; the same
    (subset, id) twice.

    Holds one reference to each item (Datumaro holds the items themselves); no image is opened.

    Parameters
    ----------
    dataset : datumaro Dataset, legacy or experimental, or anything with its items, categories and
        media
    root : path, optional
        No image may lie outside. Without it Datumaro's own record of where the dataset came from is
        used, else the longest folder that all image files share.
    follow_symlinks : bool
        Allow image files that are links leading out of the root.
    packed : bool
        Keep the items packed: for a caller who lets go of the dataset.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        root: Path | None = None,
        follow_symlinks: bool = False,
        packed: bool = False,
    ) -> None:
        self.losses = Tally()
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
        if not items:
            raise EmptyDatasetError("The dataset has no items. Check the path and the format.")
        for first, second in pairwise((item.subset, item.id) for item in items):
            if first == second:
                raise DatasetReadError(
                    f"Two items are called {'/'.join(first)}. Rename one of them "
                    "(`datum transform -t rename`, or reindex)."
                )
        declared_root = root or getattr(dataset, "data_path", None)
        self.root: Path = Path(declared_root or _common_folder(items))
        self._items = Items(items, packed=packed)
        self._follow_symlinks = follow_symlinks
        self._relative_boxes = has_relative_boxes(dataset)

    def __len__(self) -> int:
        return len(self._items)

    def keys(self) -> Iterator[ItemKey]:
        """Every item's key, ascending."""
        return self._items.keys()

    def only(self, wanted: Callable[[ItemKey], bool]) -> SourceDataset:
        """Return the same dataset with fewer items, none perhaps; categories and root stay."""
        part = copy(self)
        part._items = self._items.only(wanted)
        return part

    def changed(
        self, items: Iterable[DatasetItem], new_labels: Sequence[str] = ()
    ) -> SourceDataset:
        """Return a dataset of other items made of these, with further labels; the root stays."""
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
        for item in self._items:
            file = media_file(item.media)
            path, unsafe = fence.place(file) if file else ("", "")
            key = ItemKey(item.subset, item.id)
            yield SourceItem(
                key, item.media, path, unsafe, item, self.categories.labels, self._relative_boxes
            )


def _common_folder(items: Sequence[DatasetItem]) -> str:
    folders = {os.path.dirname(path) for item in items if (path := media_file(item.media))}
    try:
        return os.path.commonpath([os.path.abspath(f) for f in folders])
    except ValueError:  # no files at all, or on several drives
        return "."


def format_of(dataset: object) -> str | None:
    """Return the format that a dataset was imported from; None where nothing tells.

    A transform gets the importer's own object, which does not name its format; its class lies in
    the folder of the format.
    """
    if own := getattr(dataset, "_format", None):
        return str(own)
    _, _, below = type(dataset).__module__.partition("plugins.data_formats.")
    found = (format_of(source) for source in _sources(dataset))
    return below.split(".")[0] or next(filter(None, found), None)


def has_relative_boxes(dataset: object) -> bool:
    """Tell whether boxes were fractions that Datumaro multiplied by a size (YOLO).

    Datumaro keeps a dataset's format, and a transform's sources, in private attributes only.
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
