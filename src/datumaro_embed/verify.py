"""Compare a store with its dataset, item by item."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from .adapter import SourceDataset
from .objects import ObjectOptions, objects_of
from .parallel import map_ahead
from .pipeline import read_item_info
from .records import AnnotationRecord, ItemKey, ItemRecord, ObjectStatus
from .store import EmbeddingStore
from .tally import counted

BOX_TOLERANCE_PX = 0.01
_CUT = (ObjectStatus.OK, ObjectStatus.WHOLE_IMAGE, ObjectStatus.INFERENCE_FAILED)
_AREA_TOLERANCE = 0.01  # as a share: many formats do not keep areas


def compare_with_dataset(store: EmbeddingStore, source: SourceDataset) -> Iterator[str]:
    """Yield one line for each difference in keys, content hashes, sizes, splits and annotations.

    Annotations are compared by type, label name, geometry (within 0.01 px), mask, text and
    attributes, except ``area`` and attributes with a false value. If the store has objects, they
    are compared by status, label name, box, area (within 1 %) and number of annotations. Ids and
    groups are not compared, so most data shows no difference in another format.

    Reads and hashes every image file but decodes none.
    """
    seen: set[ItemKey] = set()
    for record in map_ahead(read_item_info, source):
        seen.add(record.key)
        if record.key not in store:
            yield f"{record.key}: in the dataset, not in the store"
            continue
        stored = store.item(store.row(record.key))
        labels = (store.categories.labels, source.categories.labels)
        if stored.objects is not None:
            crops = ObjectOptions.of(store.provenance) or ObjectOptions()
            like = replace(record, status=stored.status)  # images are not decoded here
            record = replace(record, objects=objects_of(like, crops))
        for difference in differences(stored, record, *labels):
            yield f"{record.key}: {difference}"
    for key in store.keys():
        if key not in seen:
            yield f"{key}: in the store, not in the dataset"


def differences(
    stored: ItemRecord,
    found: ItemRecord,
    stored_labels: Sequence[str],
    found_labels: Sequence[str],
    first: str = "in the store",
    second: str = "in the dataset",
    tolerance_px: float = BOX_TOLERANCE_PX,
) -> Iterator[str]:
    """Yield the differences of one item; `first` and `second` are words for the two sources."""
    if stored.content_sha256 != found.content_sha256:
        if any(found.content_sha256):
            yield "the image's bytes have changed"
        else:
            yield f"the image is not read: {found.error}"
    elif (stored.width, stored.height) != (found.width, found.height):
        yield (
            f"size {stored.width} × {stored.height} {first}, "
            f"{found.width} × {found.height} {second}"
        )
    if stored.split != found.split:
        yield f"split {stored.split.name} {first}, {found.split.name} {second}"
    missing = [*_shapes(stored, stored_labels, objects=found.objects is not None)]
    added = []
    for shape in _shapes(found, found_labels, objects=True):
        match = next((other for other in missing if other.same(shape, tolerance_px)), None)
        if match is None:
            added.append(shape)
        else:
            missing.remove(match)
    yield from (f"{shape} {first}, not {second}" for shape in missing)
    yield from (f"{shape} {second}, not {first}" for shape in added)


def _shapes(item: ItemRecord, labels: Sequence[str], *, objects: bool) -> Iterator[_Shape]:
    for annotation in item.annotations:
        yield _Shape(annotation, labels)
    for entry in (item.objects or ()) if objects else ():
        why = "" if entry.status in _CUT else f"{entry.status.name.lower().replace('_', ' ')} "
        what = f"{why}object of {counted(len(entry.annotations), 'annotations')}"
        yield _Shape(AnnotationRecord(what, entry.label, coords=entry.box), labels, entry.area)


class _Shape:
    """The compared properties of an annotation, printable."""

    def __init__(
        self, annotation: AnnotationRecord, labels: Sequence[str], area: float = 0.0
    ) -> None:
        known = 0 <= annotation.label < len(labels)
        given = annotation.attributes.items()
        said = {name: value for name, value in given if value and name != "area"}
        self._attributes = {name: json.dumps(said[name], sort_keys=True) for name in sorted(said)}
        self._fixed = (
            annotation.type,
            labels[annotation.label] if known else "",
            annotation.rle,
            annotation.text,
            annotation.visibility,
            annotation.extra,
            len(annotation.coords),
        )
        self._coords = annotation.coords
        self._area = area

    def same(self, other: _Shape, tolerance_px: float) -> bool:
        apart = abs(self._area - other._area)
        if (self._fixed, self._attributes) != (other._fixed, other._attributes):
            return False
        return not apart > max(1.0, _AREA_TOLERANCE * self._area) and all(
            a == b or abs(a - b) <= tolerance_px or (a != a and b != b)  # infinite, NaN
            for a, b in zip(self._coords, other._coords, strict=True)
        )

    def __str__(self) -> str:
        kind, label, *_ = self._fixed
        coords = ", ".join(f"{value:.2f}" for value in self._coords[:8])
        more = ", …" if len(self._coords) > 8 else ""
        parts = [str(kind), repr(label) if label else "", f"[{coords}{more}]" if coords else ""]
        parts += [f"area {self._area:g}"] if self._area else []
        parts += [f"{name}={value}" for name, value in self._attributes.items()]
        return " ".join(filter(None, parts))
