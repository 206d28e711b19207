"""A folder that FiftyOne imports as `fiftyone.types.LegacyFiftyOneDataset`.

Source: LegacyFiftyOneDatasetImporter of FiftyOne 1.22.1: ``samples.json`` holds samples as
`Sample.from_dict` reads them. It is the one format of FiftyOne's own that is a file for people and
not a dump of its database.
"""

from __future__ import annotations

import io
import json
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..records import AnnotationRecord, ItemRecord, Status
from ..store import EmbeddingStore


def write_fiftyone(store: EmbeddingStore, folder: Path, *, embedded_only: bool) -> dict[str, int]:
    """Write samples with splits as tags, labels, boxes, outlines and vectors.

    Returns how many annotations of each type were left out.
    """
    names = store.categories.labels
    skipped: Counter[str] = Counter()
    with (folder / "samples.json").open("w", encoding="utf-8") as file:
        file.write('{"samples": [')
        separator = ""
        for row in range(store.n_rows):
            item = store.item(row, without=("objects",))
            if embedded_only and item.status is not Status.OK:
                continue
            shown = [each for each in item.annotations if _can_be_shown(each)]
            skipped.update(each.type for each in item.annotations if not _can_be_shown(each))
            item = replace(item, annotations=tuple(shown))
            vector = store.embeddings([row])[0] if item.status is Status.OK else None
            sample = _sample(item, names, str(Path(store.media_root, item.path)), vector)
            file.write(separator + json.dumps(sample, allow_nan=False))
            separator = ",\n"
        file.write("]}")
    return dict(sorted(skipped.items()))


def _can_be_shown(each: AnnotationRecord) -> bool:
    known = each.type in ("bbox", "polygon", "polyline", "points", "label", "caption")
    return known and bool(np.isfinite(each.coords).all())


def _sample(
    item: ItemRecord, names: tuple[str, ...], path: str, vector: npt.NDArray[Any] | None
) -> dict[str, Any]:
    size = (item.width or 1, item.height or 1)
    fields = {
        "ground_truth": ("Detections", [*_detections(item, names, size)]),
        "outlines": ("Polylines", [*_outlines(item, names, size)]),
        "keypoints": ("Keypoints", [*_keypoints(item, names, size)]),
        "labels": ("Classifications", [*_classifications(item, names)]),
    }
    sample: dict[str, Any] = {
        "filepath": path,
        "tags": [item.split.name.lower()],
        "metadata": {"_cls": "ImageMetadata", "width": item.width, "height": item.height},
        "subset": item.key.subset,
        "item_id": item.key.id,
        "status": item.status.name.lower(),
    }
    for name, (kind, found) in fields.items():
        if found:
            sample[name] = {"_cls": kind, kind.lower(): found}
    captions = [each.text for each in item.annotations if each.type == "caption"]
    if captions:
        sample["captions"] = captions
    if vector is not None:
        sample["embedding"] = _array(vector.astype(np.float32))
    return sample


def _array(values: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Give an array as FiftyOne keeps it: a zipped .npy file, in MongoDB's extended JSON."""
    stream = io.BytesIO()
    np.save(stream, values)
    data = b64encode(zlib.compress(stream.getvalue())).decode()
    return {"$binary": {"base64": data, "subType": "00"}}


def _label(each: AnnotationRecord, names: tuple[str, ...]) -> str | None:
    return names[each.label] if 0 <= each.label < len(names) else None


def _points(each: AnnotationRecord, size: tuple[int, int]) -> list[list[float]]:
    """Give points as fractions of the image."""
    found: list[list[float]] = (np.array(each.coords).reshape(-1, 2) / size).tolist()
    return found


def _detections(
    item: ItemRecord, names: tuple[str, ...], size: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    for each in item.annotations:
        if each.type == "bbox":
            x, y, w, h = each.coords
            box = [x / size[0], y / size[1], w / size[0], h / size[1]]
            yield {"_cls": "Detection", "label": _label(each, names), "bounding_box": box}


def _outlines(
    item: ItemRecord, names: tuple[str, ...], size: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    for each in item.annotations:
        if each.type in ("polygon", "polyline"):
            closed = each.type == "polygon"
            yield {
                "_cls": "Polyline",
                "label": _label(each, names),
                "points": [_points(each, size)],
                "closed": closed,
                "filled": closed,
            }


def _keypoints(
    item: ItemRecord, names: tuple[str, ...], size: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    for each in item.annotations:
        if each.type == "points":
            yield {"_cls": "Keypoint", "label": _label(each, names), "points": _points(each, size)}


def _classifications(item: ItemRecord, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for each in item.annotations:
        if each.type == "label":
            yield {"_cls": "Classification", "label": _label(each, names)}
