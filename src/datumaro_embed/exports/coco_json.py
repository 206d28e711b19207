"""COCO JSON of the normalised annotations.

Source: the COCO data format (images, annotations, categories; boxes x, y, w, h in pixels from the
top-left; masks as compressed RLE). Images carry ``subset``, ``item_id`` and ``split`` besides.
Captions are in a file of their own, as their annotations have no category.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ..objects import group_annotations, hull, outlined_area
from ..records import AnnotationRecord, Categories, ItemRecord, ObjectStatus, Status
from ..rle import Rle
from ..store import EmbeddingStore

Row = dict[str, Any]
_TOGETHER = ("bbox", "mask", "points", "polygon")


def write_coco(
    store: EmbeddingStore, path: Path, captions: Path, *, embedded_only: bool
) -> tuple[dict[str, int], dict[str, int]]:
    """Write a file of the instances, and one of captions if there are any; ids as given, if free.

    Returns how many annotations of each type were left out, as COCO has no place for them; and how
    many ids of each kind were given twice, and have another number now.
    """
    skipped: Counter[str] = Counter()
    renumbered: Counter[str] = Counter()
    images: list[Row] = []
    annotations: list[Row] = []
    texts: list[Row] = []
    categories = list(_categories(store.categories))
    _number(categories, 0, renumbered, "category")
    for row in range(store.n_rows):
        item = store.item(row)
        if embedded_only and item.status is not Status.OK:
            continue
        images.append(
            {
                "id": item.attributes.get("id"),
                "file_name": item.path or item.key.id,
                "width": item.width,
                "height": item.height,
                "subset": item.key.subset,
                "item_id": item.key.id,
                "split": item.split.name.lower(),
            }
        )
        for found in _of_item(item, skipped):
            if (label := found.pop("label", -1)) >= 0:
                found["category_id"] = categories[label]["id"]
            kind = texts if "caption" in found else annotations
            kind.append({"image_id": len(images) - 1, **found})
    _number(images, 0, renumbered, "image")
    info = {"description": "written by datumaro-embed: boxes in upright pixels"}
    for file, entries, kinds in ((path, annotations, categories), (captions, texts, [])):
        if file == captions and not entries:
            continue
        _number(entries, 1, renumbered, "annotation")
        for entry in entries:
            entry["image_id"] = images[entry["image_id"]]["id"]
        content = {"info": info, "images": images, "annotations": entries, "categories": kinds}
        file.write_text(json.dumps(content), encoding="utf-8")
    return dict(sorted(skipped.items())), dict(sorted(renumbered.items()))


def _number(entries: Sequence[Row], least: int, renumbered: Counter[str], kind: str) -> None:
    """Keep ids that are whole numbers, not too low and not taken; number the rest."""
    kept: set[int] = set()
    others: list[Row] = []
    for entry in entries:
        number = entry["id"]
        if type(number) is int and number >= least and number not in kept:
            kept.add(number)
        else:
            others.append(entry)
            renumbered.update([kind] if number in kept else ())
    free = (number for number in count(1) if number not in kept)
    for entry, number in zip(others, free, strict=False):
        entry["id"] = number


def _categories(categories: Categories) -> Iterator[Row]:
    """Yield each label, with its keypoints and their skeleton where it has some."""
    points = _part(_part(categories.full, "points"), "items")
    listed = _part(categories.full, "label").get("items")
    entries = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    known = {entry.get("name"): entry for entry in entries}
    for label, name in enumerate(categories.labels):
        fact = known.get(name, {})
        shown = _part(points, str(label))
        fields = {
            "supercategory": fact.get("parent"),
            "keypoints": shown.get("labels"),
            "skeleton": shown.get("joints"),
        }
        found = {field: value for field, value in fields.items() if value}
        yield {"id": fact.get("coco_id"), "name": name, **found}


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _of_item(item: ItemRecord, skipped: Counter[str]) -> Iterator[Row]:
    """Yield one annotation for each object, where they are known, and what belongs to none."""
    rest = dict(enumerate(item.annotations))
    for entry in item.objects or ():
        parts = [rest.pop(number) for number in entry.annotations if number in rest]
        found = list(coco_annotations(parts, skipped))
        if len(found) == 1 and "bbox" in found[0] and entry.status is not ObjectStatus.NO_BOX:
            found[0] |= {"bbox": list(entry.box), "area": entry.area}
        yield from found
    yield from coco_annotations(list(rest.values()), skipped)


def coco_annotations(
    annotations: Sequence[AnnotationRecord], skipped: Counter[str]
) -> Iterator[Row]:
    """Yield COCO annotations; what shares group and label is one of them."""
    objects = group_annotations(annotations)
    in_objects = {place for places in objects for place in places}
    others = [[place] for place in range(len(annotations)) if place not in in_objects]
    for places in sorted([*objects, *others]):
        found = [annotations[place] for place in places]
        parts = [part for part in found if part.type in (*_TOGETHER, "caption")]
        skipped.update(part.type for part in found if part not in parts)
        if not parts:
            continue
        try:
            with np.errstate(all="ignore"):
                geometry = _geometry(parts)
        except (KeyError, TypeError, ValueError):  # coordinates that are none, a mask that is none
            geometry = None
        numbers = [*geometry.get("bbox", ()), geometry.get("area", 0)] if geometry else []
        if geometry is None or not np.isfinite(numbers).all():  # JSON has no NaN and no infinity
            skipped.update(part.type for part in parts)
            continue
        annotation = {"id": parts[0].ann_id, "label": parts[0].label, **geometry}
        if "caption" not in geometry:
            given: dict[str, Any] = {}
            for part in reversed(parts):
                given |= part.attributes
            if given:  # JSON has no NaN
                given = json.loads(json.dumps(given), parse_constant=lambda _: None)
            annotation["iscrowd"] = int(bool(given.pop("is_crowd", False)))
            names = [name for name in ("area", "score") if type(given.get(name)) in (int, float)]
            annotation |= {name: given.pop(name) for name in names}
            annotation |= {"attributes": given} if given else {}
        yield annotation


def _geometry(parts: list[AnnotationRecord]) -> Row | None:
    """Give what COCO says of one instance; None where it has no word for it.

    The box is the given one, else that of the outline; the area is the outline's.
    """
    first = parts[0]
    if first.type == "caption":
        return {"caption": first.text}
    if first.label < 0:
        return None
    kinds = {kind: [part for part in parts if part.type == kind] for kind in _TOGETHER}
    geometry: Row = {}
    if kinds["points"]:
        part = kinds["points"][0]
        points = np.array(part.coords).reshape(-1, 2)
        visibility = part.visibility or (2,) * len(points)
        shown = zip(points.tolist(), visibility, strict=True)
        x1, y1, x2, y2 = hull(part) or (0.0, 0.0, 0.0, 0.0)
        geometry |= {
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "keypoints": [value for (x, y), seen in shown for value in (x, y, seen)],
            "num_keypoints": sum(seen > 0 for seen in visibility),
        }
    if kinds["bbox"]:
        x, y, w, h = kinds["bbox"][0].coords
        geometry |= {"bbox": [x, y, w, h], "area": w * h, "segmentation": []}
    if kinds["mask"]:
        rle = Rle.from_json(kinds["mask"][0].rle)
        geometry |= {"bbox": rle.box(), "area": rle.area(), "segmentation": rle.to_coco()}
    if polygons := [part.coords for part in kinds["polygon"]]:
        corners = np.concatenate([np.array(coords).reshape(-1, 2) for coords in polygons])
        low, high = corners.min(axis=0), corners.max(axis=0)
        geometry["bbox"] = [*low.tolist(), *(high - low).tolist()]
        geometry["area"] = outlined_area(polygons)
        geometry["segmentation"] = [list(coords) for coords in polygons]
    if kinds["bbox"]:
        geometry["bbox"] = list(kinds["bbox"][0].coords)
    return geometry
