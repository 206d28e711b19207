"""Datasets of `datumaro.experimental` → items as the legacy importers give them; vectors → fields.

Datumaro's own converter to the legacy format loses subsets, ids, label names, keypoints, captions
and images in memory, and takes every box for corners. Nothing here imports polars before it has
such a dataset.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from datumaro.components import annotation as dm
from datumaro.components import media as dm_media
from datumaro.components.dataset_base import DatasetItem

from ..errors import DatasetReadError, ItemNotFoundError, UsageError
from ..experimental import MEDIA_FIELDS, field_names, frame, is_experimental, read_samples
from ..tally import Tally, counted
from .same_stem import with_distinct_ids

if TYPE_CHECKING:
    from ..store import EmbeddingStore

__all__ = ["ExperimentalItems", "add_embeddings"]

Row = Mapping[str, Any]
Size = tuple[int, int]

_MASKS = ("InstanceMaskField", "InstanceMaskCallableField")
_SHAPES = ("BBoxField", "PolygonField", "KeypointsField", "RotatedBBoxField", "EllipseField")
_FACTS = ("NumericField", "BoolField", "StringField")
_READ = (*_SHAPES, *_FACTS, "LabelField", "CaptionField", "ImageInfoField")
_NO_LOSS = ("SubsetField", "TensorField", "TileField", "MediaInfoField", "VideoInfoField")
_NAMES = {"iscrowd": "is_crowd", "image_id": "id"}  # as the legacy importers have them
_BOX_TOLERANCE_PX = 0.1  # crops are whole pixels


class ExperimentalItems:
    """An experimental dataset with the items, categories and media of a legacy one.

    Parameters
    ----------
    dataset : datumaro.experimental Dataset
    root : path, optional
        As `read_samples` takes it.

    Attributes
    ----------
    data_path : str
        The dataset's folder.
    losses : Tally
        Fields that have no counterpart, and samples that have another's image.
    """

    def __init__(self, dataset: Any, root: str = "") -> None:
        self._dataset = dataset
        self._fields = {name: info.field for name, info in dataset.schema.attributes.items()}
        self._samples = read_samples(dataset, root)
        self.data_path = root or self._samples.root
        self.losses = Tally()
        self._media = field_names(dataset, *MEDIA_FIELDS)[:1]
        known = {*_READ, *_NO_LOSS, *_MASKS}
        for name, field in self._fields.items():
            if type(field).__name__ not in known and name not in self._media:
                self.losses.add("fields that are not read", name)
        self._shapes: dict[str, list[str]] = defaultdict(list)
        for name in field_names(dataset, *_SHAPES, *_MASKS):
            self._shapes[self._fields[name].semantic].append(name)
        self._facts = field_names(dataset, *_FACTS)
        self._captions = field_names(dataset, "CaptionField")
        self._info = field_names(dataset, "ImageInfoField")
        self._parents: dict[str, str] = {}  # of every label
        self._labels: dict[str, list[int] | None] = {}
        for name in field_names(dataset, "LabelField"):
            found = _label_parents(dataset.schema.get_categories_for_field(name))
            self._parents.update(found)
            order = list(self._parents)
            self._labels[name] = [order.index(label) for label in found] or None

    def categories(self) -> dict[dm.AnnotationType, dm.Categories]:
        """Label names of all label fields."""
        labels = dm.LabelCategories.from_iterable(self._parents.items())
        return {dm.AnnotationType.label: labels}

    def __iter__(self) -> Iterator[DatasetItem]:
        return iter(with_distinct_ids(self._items(), self.losses))

    def _items(self) -> Iterator[DatasetItem]:
        rows = frame(self._dataset, field_names(self._dataset, *_READ)).iter_rows(named=True)
        for place, (row, key) in enumerate(zip(rows, self._samples.keys, strict=True)):
            size = _size(row[self._info[0]] if self._info else None)
            annotations, attributes = self._annotations(row, place, size)
            medium = self._medium(place, size)
            try:
                item = DatasetItem(
                    key.id, key.subset, medium, annotations=annotations, attributes=attributes
                )
            except ValueError as error:
                raise DatasetReadError(f"Sample {place} cannot be called {key}: {error}") from error
            yield item

    def _medium(self, place: int, size: Size) -> dm_media.MediaElement | None:
        path, at = self._samples.paths[place], self._samples.frames[place]
        known = size[::-1] if min(size) > 0 else None
        if path and at is not None:
            return dm_media.VideoFrame(dm_media.Video(path), at)
        if path:
            return dm_media.Image.from_file(path=path, size=known)
        if not self._media or type(self._fields[self._media[0]]).__name__ in MEDIA_FIELDS[:3]:
            return None
        if type(self._fields[self._media[0]]).__name__ == "ImageBytesField":
            return dm_media.Image.from_bytes(data=partial(self._value, self._media[0], place))
        return dm_media.Image.from_numpy(data=partial(self._pixels, self._media[0], place))

    def _value(self, name: str, place: int) -> Any:
        found = getattr(self._dataset[place], name)
        return found() if callable(found) else found

    def _pixels(self, name: str, place: int) -> npt.NDArray[np.generic] | None:
        """Pixels in OpenCV's order."""
        found, field = self._value(name, place), self._fields[name]
        if found is None:
            return None
        pixels: npt.NDArray[np.generic] = np.asarray(found)
        if pixels.ndim == 3 and getattr(field, "channels_first", False):
            pixels = pixels.transpose(1, 2, 0)
        if pixels.ndim == 3 and field.format.upper().startswith("RGB"):
            pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.shape[2] > 2 else pixels
        return pixels

    def _annotations(
        self, row: Row, place: int, size: Size
    ) -> tuple[list[dm.Annotation], dict[str, Any]]:
        found: list[dm.Annotation] = []
        facts = {name: row[name] for name in self._facts}
        group = 1
        for semantic, names in self._shapes.items():
            numbers = self._numbers(row, semantic)
            made = {name: self._made(name, row, place, size, len(numbers)) for name in names}
            n_objects = len(numbers) or max(map(len, made.values()))
            same = {k for k, v in facts.items() if isinstance(v, list) and len(v) == n_objects > 0}
            own = [
                {self._fact_name(k): facts[k][number] for k in facts if k in same}
                for number in range(n_objects)
            ]
            facts = {name: value for name, value in facts.items() if name not in same}
            boxes = [shape for name in names for shape in made[name] if isinstance(shape, dm.Bbox)]
            for shapes in made.values():
                joined = len(shapes) == n_objects and _lie_in(shapes, boxes)
                for number, shape in enumerate(shapes):
                    if shape is None:
                        continue
                    if joined:
                        shape.label = numbers[number] if numbers else None
                        shape.group = group + number
                        shape.attributes = dict(own[number])
                    found.append(shape)
            group += n_objects
        found.extend(self._whole_image(row))
        attributes = {self._fact_name(k): v for k, v in facts.items() if v is not None}
        return found, attributes

    def _fact_name(self, name: str) -> str:
        return _NAMES.get(self._fields[name].semantic, name)

    def _numbers(self, row: Row, semantic: str) -> list[int | None]:
        """Labels of the shapes of a semantic, one each; of several the first."""
        for name, numbers in self._labels.items():
            field = self._fields[name]
            if field.is_list and field.semantic == semantic:
                firsts = [v[0] if isinstance(v, list) and v else v for v in row[name] or ()]
                return [_number(value, numbers) for value in firsts]
        return []

    def _whole_image(self, row: Row) -> Iterator[dm.Annotation]:
        """Labels that belong to no shape, and captions."""
        for name, numbers in self._labels.items():
            field, value = self._fields[name], row[name]
            if value is not None and not (field.is_list and field.semantic in self._shapes):
                for each in np.ravel(value).tolist():
                    yield dm.Label(_number(each, numbers))
        for name in self._captions:
            value = row[name]
            for text in value if isinstance(value, list) else [value]:
                if text is not None:
                    yield dm.Caption(text)

    def _made(
        self, name: str, row: Row, place: int, size: Size, n_labels: int
    ) -> list[dm.Annotation | None]:
        """Annotations of one field, without label; None where an object has none in it."""
        field, kind = self._fields[name], type(self._fields[name]).__name__
        if kind in _MASKS:
            n_masks = n_labels or len(self._value(name, place) or ())
            return [dm.Mask(partial(self._mask, name, place, n)) for n in range(n_masks)]
        values = row[name] or []
        scale = _scale(name, field, size) if values else (1.0, 1.0)
        if kind == "BBoxField":
            return [dm.Bbox(*_xywh(field, value, scale)) for value in values]
        if kind == "EllipseField":
            boxes = (_xywh(field, value, scale) for value in values)
            return [dm.Ellipse(x, y, x + w, y + h) for x, y, w, h in boxes]
        if kind == "RotatedBBoxField":
            turn = math.degrees if field.format == "cxcywhr" else float
            sides = (*scale, *scale)
            return [
                dm.RotatedBbox(*(a * b for a, b in zip(v, sides, strict=False)), turn(v[4]))
                for v in values
            ]
        if kind == "PolygonField":
            step = -1 if field.format == "yx" else 1
            outlines = (
                [xy * by for point in value for xy, by in zip(point[::step], scale, strict=True)]
                for value in values
            )
            return [dm.Polygon(flat) if len(flat) > 4 else None for flat in outlines]
        names = self._dataset.schema.get_categories_for_field(name)
        n_points = len(names) if names else max(1, len(values) // max(1, n_labels))
        sets = [values[start : start + n_points] for start in range(0, len(values), n_points)]
        return [
            dm.Points(
                [c * by for x, y, _ in points for c, by in ((x, scale[0]), (y, scale[1]))],
                [int(seen) for _, _, seen in points],
            )
            for points in sets
        ]

    def _mask(self, name: str, place: int, number: int) -> npt.NDArray[np.bool_]:
        return np.asarray(self._value(name, place)[number], dtype=np.bool_)


def add_embeddings(
    dataset: Any, store: EmbeddingStore, *, name: str = "embedding", missing: str = "error"
) -> Any:
    """Return an experimental dataset with the vectors of a store as tensor fields.

    Parameters
    ----------
    dataset : datumaro.experimental Dataset
        Whole or filtered, in any order; it stays as it is.
    store : EmbeddingStore
    name : str
        The new field of shape (dim,), semantic ``embedding``; None where the store has no vector of
        the item. A store with objects adds ``object_NAME`` of shape (n, dim): row i belongs to
        ``bboxes[i]``, zero where no object with a vector has that box. A dataset without boxes
        gets the rows of the store's objects.
    missing : {"error", "null"}
        What a sample does that the store does not have.

    Raises
    ------
    UsageError
        Not an experimental dataset.
    ItemNotFoundError
        A sample is not in the store.
    """
    if not is_experimental(dataset):
        raise UsageError("add_embeddings takes a dataset of datumaro.experimental.")
    if missing not in {"error", "null"}:
        raise UsageError(f"missing is {missing!r}; choose error or null.", missing=missing)
    rows = store.rows_for(dataset)
    if missing == "error" and (rows < 0).any():
        first = read_samples(dataset, store.media_root).keys[int(np.argmax(rows < 0))]
        raise ItemNotFoundError(
            f"'{store.path}' does not contain {counted(int((rows < 0).sum()), 'samples')} of the "
            f"dataset, such as '{first}'. Embed the dataset again, or pass missing='null'.",
            key=first,
        )
    has_vector = store.items.has_vector
    vectors: list[Any] = [None] * len(rows)
    known = [place for place, row in enumerate(rows.tolist()) if row >= 0 and has_vector[row]]
    for place, vector in zip(known, store.embeddings(rows[known]), strict=True):
        vectors[place] = np.asarray(vector, np.float32)
    added = {name: ("embedding", vectors)}
    if store.has_table("objects"):
        added[f"object_{name}"] = ("object_embedding", _of_objects(dataset, store, rows.tolist()))
    return _with_tensors(dataset, added)


def _of_objects(dataset: Any, store: EmbeddingStore, rows: Sequence[int]) -> list[Any]:
    fields = field_names(dataset, "BBoxField")[:1]
    names = [*fields, *field_names(dataset, "ImageInfoField")[:1]]
    given = frame(dataset, names).rows() if fields else [None] * len(rows)
    objects, found = store.objects, []
    for row, columns in zip(rows, given, strict=True):
        own = objects.of(row) if row >= 0 else range(0)
        vectors = np.zeros((len(own), store.dim), np.float32)
        if len(own):
            vectors[:] = objects.embeddings(slice(own.start, own.stop))
        if columns is not None:
            field, values = dataset.schema.attributes[fields[0]].field, columns[0] or []
            size = _size(columns[1] if len(columns) > 1 else None)
            scale = _scale(fields[0], field, size) if values else (1.0, 1.0)
            boxes = np.array([_xywh(field, value, scale) for value in values]).reshape(-1, 4)
            apart = np.abs(boxes[:, None] - objects.boxes[own.start : own.stop]).max(axis=2)
            aligned = np.zeros((len(boxes), store.dim), np.float32)
            for number, distances in enumerate(apart):
                if len(own) and distances.min() <= _BOX_TOLERANCE_PX:
                    aligned[number] = vectors[distances.argmin()]
            vectors = aligned
        found.append(vectors if row >= 0 else None)
    return found


def _with_tensors(dataset: Any, added: Mapping[str, tuple[str, list[Any]]]) -> Any:
    """Return a dataset with more fields; one of the same name or semantic is replaced."""
    import polars as pl
    from datumaro.experimental import AttributeInfo, Dataset, Schema
    from datumaro.experimental.fields import tensor_field

    semantics = {semantic for semantic, _ in added.values()}
    attributes = {
        name: info
        for name, info in dataset.schema.attributes.items()
        if name not in added
        and not (type(info.field).__name__ == "TensorField" and info.field.semantic in semantics)
    }
    columns = []
    for name, (semantic, values) in added.items():
        field = tensor_field(pl.Float32(), semantic=semantic)
        attributes[name] = AttributeInfo(type=np.ndarray | None, field=field)
        types = field.to_polars_schema(name)
        flat = [None if value is None else value.ravel() for value in values]
        shapes = [None if value is None else value.shape for value in values]
        columns.append(pl.Series(name, flat, dtype=types[name]))
        columns.append(pl.Series(f"{name}_shape", shapes, dtype=types[f"{name}_shape"]))
    kept = frame(dataset, [name for name in attributes if name not in added])
    return Dataset.from_dataframe(
        kept.with_columns(columns), dataset.dtype, schema=Schema(attributes=attributes)
    )


def _size(info: Mapping[str, int] | None) -> Size:
    return (info["width"], info["height"]) if info else (0, 0)


def _label_parents(categories: Any) -> dict[str, str]:
    """Return the label names of flat or hierarchical categories, each with its parent or ``""``."""
    items = getattr(categories, "items", None) or getattr(categories, "labels", ())
    return {getattr(i, "name", i): getattr(i, "parent", "") for i in items}


def _number(value: int | None, numbers: Sequence[int] | None) -> int | None:
    return value if value is None or numbers is None else numbers[value]


def _scale(name: str, field: Any, size: Size) -> tuple[float, float]:
    if not getattr(field, "normalize", False):
        return 1.0, 1.0
    if min(size) <= 0:
        raise DatasetReadError(
            f"Field '{name}' has fractions of the image's size, and a sample does not say its "
            "size. Add an image_info_field to the dataset."
        )
    return float(size[0]), float(size[1])


def _xywh(field: Any, box: Sequence[float], scale: tuple[float, float]) -> tuple[float, ...]:
    a, b, c, d = (value * by for value, by in zip(box, (*scale, *scale), strict=True))
    if field.format in {"x1y1x2y2", "xyxy"}:
        return a, b, c - a, d - b
    if field.format == "cxcywh":
        return a - c / 2, b - d / 2, c, d
    if field.format != "xywh":
        raise DatasetReadError(f"Boxes of the format '{field.format}' cannot be read.")
    return a, b, c, d


def _lie_in(shapes: Sequence[dm.Annotation | None], boxes: Sequence[dm.Bbox]) -> bool:
    """Tell whether keypoints lie in the boxes of the same number; other shapes are not asked.

    COCO's keypoints come from another file than its boxes, and need not be as many.
    """
    pairs = zip(shapes, boxes, strict=len(shapes) == len(boxes) > 0)
    return all(
        not isinstance(shape, dm.Points)
        or all(
            not seen.value
            or ((box.x - 1 <= x <= box.x + box.w + 1) and (box.y - 1 <= y <= box.y + box.h + 1))
            for x, y, seen in zip(
                shape.points[::2], shape.points[1::2], shape.visibility, strict=True
            )
        )
        for shape, box in pairs
    )
