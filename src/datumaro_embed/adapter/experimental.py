"""Read `datumaro.experimental` datasets as legacy items, and add vectors to them as fields.

Datumaro's converter to the legacy format loses subsets, ids, label names, keypoints and captions,
and reads every box as corners. This module imports polars only once it has such a dataset.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from datumaro.components import annotation as dm
from datumaro.components import media as dm_media
from datumaro.components.dataset_base import DatasetItem

from ..errors import DatasetReadError, ItemNotFoundError, UsageError
from ..experimental import PATH_FIELDS, Samples, field_names, frame, is_experimental
from ..tally import Tally, counted
from .same_stem import with_distinct_ids

if TYPE_CHECKING:
    from ..store import EmbeddingStore

__all__ = ["ExperimentalItems", "add_embeddings"]

Row = Mapping[str, Any]

_FACTS = ("NumericField", "BoolField", "StringField")
_ELSEWHERE = {*_FACTS, "CaptionField", "ImageInfoField", "MediaInfoField", "SubsetField"}
_ELSEWHERE |= {*PATH_FIELDS, "TensorField", "VideoInfoField"}
_NAMES = {
    "areas": "area",
    "iscrowd": "is_crowd",
    "image_id": "id",
}  # names that the legacy importers use
_BOX_TOLERANCE_PX = 0.1  # crops are whole pixels
_XYWH: dict[str, Callable[..., tuple[float, ...]]] = {
    "x1y1x2y2": lambda x1, y1, x2, y2: (x1, y1, x2 - x1, y2 - y1),
    "xyxy": lambda x1, y1, x2, y2: (x1, y1, x2 - x1, y2 - y1),
    "xywh": lambda x, y, w, h: (x, y, w, h),
    "cxcywh": lambda x, y, w, h: (x - w / 2, y - h / 2, w, h),
}


_FORMATS: dict[str, set[str]] = {  # of fields with shapes
    "BBoxField": set(_XYWH),
    "EllipseField": set(_XYWH),
    "RotatedBBoxField": {"cxcywhr"},
    "PolygonField": {"xy"},
    "KeypointsField": {""},
}


class ExperimentalItems:
    """An experimental dataset with the interface of a legacy one: items, categories, media.

    Parameters
    ----------
    dataset : datumaro.experimental Dataset
    root : path, optional
        As in `Samples`.

    Attributes
    ----------
    data_path : str
        The dataset's folder.
    losses : Tally
        Fields that have no counterpart, and samples that share another sample's image.
    """

    def __init__(self, dataset: Any, root: str = "") -> None:
        self._dataset = dataset
        self._fields = {name: info.field for name, info in dataset.schema.attributes.items()}
        self._samples = Samples(dataset, root)
        self.data_path = self._samples.root
        self.losses = Tally()
        self._shapes: dict[str, list[str]] = defaultdict(list)  # by semantic
        self._facts: list[str] = []
        self._parents: dict[str, str] = {}  # of every label
        self._labels: dict[str, list[int]] = {}
        for name, field in self._fields.items():
            kind = type(field).__name__
            if _is_shape(field):
                self._shapes[field.semantic].append(name)
            elif kind in _FACTS and field.semantic != "caption_group_ids":
                self._facts.append(name)
            elif kind == "LabelField" and not (field.is_list and field.multi_label):
                # Flat or hierarchical categories
                categories = dataset.schema.get_categories_for_field(name)
                items: Any = getattr(categories, "items", None) or getattr(categories, "labels", ())
                found = {getattr(i, "name", i): getattr(i, "parent", "") for i in items}
                self._parents.update(found)
                self._labels[name] = [list(self._parents).index(label) for label in found]
            elif kind not in _ELSEWHERE:
                self.losses.add("fields that are not read", name)
        self._captions = field_names(dataset, "CaptionField")
        self._info = field_names(dataset, "ImageInfoField")[:1]

    def categories(self) -> dict[dm.AnnotationType, dm.Categories]:
        """Return the label names of all label fields."""
        labels = dm.LabelCategories.from_iterable(self._parents.items())
        return {dm.AnnotationType.label: labels}

    def __iter__(self) -> Iterator[DatasetItem]:
        items = []
        shapes = [name for names in self._shapes.values() for name in names]
        names = [*shapes, *self._facts, *self._labels, *self._captions, *self._info]
        rows = frame(self._dataset, names).iter_rows(named=True) if names else ({},) * len(self)
        for place, (row, key) in enumerate(zip(rows, self._samples.keys, strict=True)):
            annotations, attributes = self._annotations(row)
            path, at = self._samples.paths[place], self._samples.frames[place]
            if at is not None:
                medium = dm_media.VideoFrame(dm_media.Video(path), at)
            else:
                info = row[self._info[0]] if self._info else None
                size = (info["height"], info["width"]) if info else (0, 0)
                medium = dm_media.Image.from_file(path=path, size=size if min(size) > 0 else None)
            try:
                item = DatasetItem(key.id, subset=key.subset, media=medium)
            except ValueError as error:
                raise DatasetReadError(f"Sample {place} cannot be called {key}: {error}") from error
            items.append(item.wrap(annotations=annotations, attributes=attributes))
        return iter(with_distinct_ids(items, self.losses))

    def __len__(self) -> int:
        return len(self._samples.keys)

    @property
    def images(self) -> list[tuple[str, int | None]]:
        """File, and frame, of each sample."""
        return list(zip(self._samples.paths, self._samples.frames, strict=True))

    def label_fields(self, *, of_objects: bool) -> dict[str, list[str]]:
        """Fields of labels, of objects or of whole images, each with the names of its numbers."""
        names = list(self._parents)
        return {
            field: [names[number] for number in numbers]
            for field, numbers in self._labels.items()
            if self._is_of_objects(field) is of_objects
        }

    def fields_of_objects(self, row: Row) -> tuple[int, list[str], list[str]]:
        """Give the number of a sample's objects, the fields that have as many, and doubtful ones.

        All zero or empty where a sample may have objects of several semantics.
        """
        if len(self._shapes) != 1:
            return 0, [], []
        ((semantic, shapes),) = self._shapes.items()
        n_labels = len(self._labels_of(row, semantic))
        lengths = {name: len(self._made(name, row[name] or [], n_labels)) for name in shapes}
        n_objects = n_labels or max(lengths.values())
        others = {name: row[name] for name in (*self._facts, *self._labels)}
        lengths |= {name: len(value) for name, value in others.items() if isinstance(value, list)}
        of_objects = [name for name, length in lengths.items() if length == n_objects]
        known = {*lengths, *self._captions, *others}
        kinds = {name: type(field).__name__ for name, field in self._fields.items()}
        doubtful = [
            name
            for name, kind in kinds.items()
            if name not in known and (kind == "TensorField" or kind not in _ELSEWHERE)
        ]
        return n_objects, of_objects, [name for name in doubtful if row.get(name) is not None]

    def _annotations(self, row: Row) -> tuple[list[dm.Annotation], dict[str, Any]]:
        """Return the annotations of a sample, with one group per object, and its other values.

        A field describes the objects if it has as many values as there are labels. COCO's keypoints
        come from another file than its boxes, so their number may differ.
        """
        found: list[dm.Annotation] = []
        facts = {name: row[name] for name in self._facts if row[name] is not None}
        group = 1
        for semantic, names in self._shapes.items():
            labels = self._labels_of(row, semantic)
            made = {name: self._made(name, row[name] or [], len(labels)) for name in names}
            n_objects = len(labels) or max(map(len, made.values()))
            lists = {k: v for k, v in facts.items() if isinstance(v, list) and len(v) == n_objects}
            facts = {k: v for k, v in facts.items() if k not in lists}
            for shapes in made.values():
                for number, shape in enumerate(shapes):
                    if shape is not None and len(shapes) == n_objects:
                        shape.label = labels[number] if labels else None
                        shape.group = group + number
                        shape.attributes = {self._fact(k): v[number] for k, v in lists.items()}
                found.extend(shape for shape in shapes if shape is not None)
            group += n_objects

        # Labels that belong to no shape, and captions
        for name in self._labels:
            if not self._is_of_objects(name):
                found.extend(map(dm.Label, self._numbers(name, row[name])))
        for name in self._captions:
            texts = row[name] if isinstance(row[name], list) else [row[name]]
            found.extend(dm.Caption(text) for text in texts if text is not None)
        return found, {self._fact(name): value for name, value in facts.items()}

    def _fact(self, name: str) -> str:
        return _NAMES.get(self._fields[name].semantic, name)

    def _labels_of(self, row: Row, semantic: str) -> list[int | None]:
        """Return one label per object of a semantic."""
        for name in self._labels:
            if self._fields[name].is_list and self._fields[name].semantic == semantic:
                return self._numbers(name, row[name])
        return []

    def _numbers(self, name: str, value: Any) -> list[int | None]:
        values = value if isinstance(value, list) else [] if value is None else [value]
        numbers = self._labels[name]
        return [numbers[v] if v is not None and v < len(numbers) else v for v in values]

    def _is_of_objects(self, name: str) -> bool:
        field = self._fields[name]
        return bool(field.is_list and field.semantic in self._shapes)

    def _made(self, name: str, values: Sequence[Any], n_labels: int) -> list[dm.Annotation | None]:
        """Return one field's annotations without labels; None for objects that have none in it."""
        field, kind = self._fields[name], type(self._fields[name]).__name__
        if kind == "KeypointsField":
            names = self._dataset.schema.get_categories_for_field(name)
            size = len(names or ()) or max(1, len(values) // max(1, n_labels))
            values = [values[start : start + size] for start in range(0, len(values), size)]
        found: list[dm.Annotation | None] = []
        for value in values:
            one: dm.Annotation | None = None  # such as for a polygon of less than 3 points
            if kind == "RotatedBBoxField":
                one = dm.RotatedBbox(*value[:4], math.degrees(value[4]))
            elif kind == "PolygonField" and len(value) > 2:
                one = dm.Polygon([c for point in value for c in point])
            elif kind == "KeypointsField":
                seen = [int(seen) for *_, seen in value]
                one = dm.Points([c for x, y, _ in value for c in (x, y)], seen)
            elif kind != "PolygonField":
                x, y, w, h = _XYWH[field.format](*value)
                is_box = kind == "BBoxField"
                one = dm.Bbox(x, y, w, h) if is_box else dm.Ellipse(x, y, x + w, y + h)
            found.append(one)
        return found


def add_embeddings(
    dataset: Any, store: EmbeddingStore, *, name: str = "embedding", missing: str = "error"
) -> Any:
    """Return an experimental dataset with the vectors of a store as tensor fields.

    Parameters
    ----------
    dataset : datumaro.experimental Dataset
        Whole or filtered, in any order; it is not changed.
    store : EmbeddingStore
    name : str
        Name of the new field, shape (dim,), semantic ``embedding``; None if the item has no vector.
        A store with objects adds ``object_NAME`` of shape (n, dim): row i belongs to ``bboxes[i]``
        and is zero if the object has no vector. A dataset without boxes gets the rows of the
        store's objects.
    missing : {"error", "null"}
        Raise an error, or use None, for a sample or a box that is not in the store.

    Raises
    ------
    UsageError
        `dataset` is not an experimental dataset.
    ItemNotFoundError
        A sample, or one of its boxes, is not in the store.
    """
    if not is_experimental(dataset):
        raise UsageError("add_embeddings takes a dataset of datumaro.experimental.")
    if missing not in {"error", "null"}:
        raise UsageError(f"missing is {missing!r}; choose error or null.", missing=missing)
    rows = store.rows_for(dataset)
    known = (rows >= 0) & store.items.has_vector[rows] if store.n_rows else rows >= 0
    vectors = store.for_dataset(dataset, missing="zero")
    added = {name: ("embedding", [v if k else None for v, k in zip(vectors, known, strict=True)])}
    absent = np.flatnonzero(rows < 0).tolist()
    if store.has_table("objects"):
        # The vectors of each sample's boxes, matched by their coordinates.
        fields = [n for n in field_names(dataset, "BBoxField") if _is_shape(_field(dataset, n))][:1]
        given = frame(dataset, fields)[fields[0]].to_list() if fields else [None] * len(rows)
        objects, all_boxes = store.objects, store.objects.boxes
        of_boxes: list[npt.NDArray[np.float32] | None] = []
        for row, values in zip(rows.tolist(), given, strict=True):
            own = objects.of(row) if row >= 0 else range(0)
            each: npt.NDArray[np.float32] | None = None
            if row >= 0:
                each = np.asarray(objects.embeddings(slice(own.start, own.stop)), np.float32)
            if each is not None and fields:
                to_xywh = _XYWH[_field(dataset, fields[0]).format]
                boxes = np.array([to_xywh(*value) for value in values or ()]).reshape(-1, 4)
                stored = np.vstack([all_boxes[own.start : own.stop], np.full((1, 4), np.inf)])
                off = np.abs(boxes[:, None] - stored).max(axis=2)
                each = np.vstack([each, np.zeros((1, store.dim), np.float32)])[off.argmin(axis=1)]
                is_known = off.min(axis=1) <= _BOX_TOLERANCE_PX
                is_known |= boxes[:, 2:].min(axis=1) <= 0
                each = each if is_known.all() else None
            of_boxes.append(each)
        added[f"object_{name}"] = ("object_embedding", of_boxes)
        absent = [place for place, found in enumerate(of_boxes) if found is None]
    if absent and missing == "error":
        key = Samples(dataset, store.media_root).keys[absent[0]]
        raise ItemNotFoundError(
            f"'{store.path}' does not contain {counted(len(absent), 'samples')} of the dataset, or "
            f"one of their boxes, such as '{key}'. Embed again, or pass missing='null'.",
            key=key,
            count=len(absent),
        )
    return _with_tensors(dataset, added)


def _with_tensors(dataset: Any, added: Mapping[str, tuple[str, list[Any]]]) -> Any:
    """Return a dataset with added fields, which replace those of the same name or semantic."""
    import polars as pl
    from datumaro.experimental import AttributeInfo, Dataset, Schema
    from datumaro.experimental.fields import tensor_field

    replaced = [
        n
        for semantic, _ in added.values()
        for n in field_names(dataset, "TensorField", semantic=semantic)
    ]
    attributes = {
        name: info
        for name, info in dataset.schema.attributes.items()
        if name not in (*added, *replaced)
    }
    table = frame(dataset, attributes)
    for name, (semantic, values) in added.items():
        field = tensor_field(pl.Float32(), semantic=semantic)
        attributes[name] = AttributeInfo(type=np.ndarray | None, field=field)
        flat = [None if value is None else pl.Series(value.ravel()) for value in values]
        shapes = [None if value is None else value.shape for value in values]
        table = table.with_columns(
            pl.Series(column, content, dtype=dtype)
            for (column, dtype), content in zip(
                field.to_polars_schema(name).items(), (flat, shapes), strict=True
            )
        )
    return Dataset.from_dataframe(table, dataset.dtype, schema=Schema(attributes=attributes))


def _field(dataset: Any, name: str) -> Any:
    return dataset.schema.attributes[name].field


def _is_shape(field: Any) -> bool:
    """Tell whether a field has shapes in pixels; fractions of the image are not read."""
    formats = _FORMATS.get(type(field).__name__, ())
    return getattr(field, "format", "") in formats and not field.normalize
