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
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..records import AnnotationRecord, ItemRecord, Status
from ..store import EmbeddingStore

_FIELDS = {  # of a sample, and their kinds
    "ground_truth": "Detections",
    "outlines": "Polylines",
    "keypoints": "Keypoints",
    "labels": "Classifications",
}


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
            sample: dict[str, Any] = {
                "filepath": str(Path(store.media_root, item.path)),
                "tags": [item.split.name.lower()],
                "metadata": {"_cls": "ImageMetadata", "width": item.width, "height": item.height},
                "subset": item.key.subset,
                "item_id": item.key.id,
                "status": item.status.name.lower(),
            }
            fields = _fields(item, names)
            for name, kind in _FIELDS.items():
                if kind in fields:
                    sample[name] = {"_cls": kind, kind.lower(): fields[kind]}
            captions = [each.text for each in item.annotations if each.type == "caption"]
            if captions:
                sample["captions"] = captions
            if item.status is Status.OK:
                # FiftyOne keeps an array as a zipped .npy file, in MongoDB's extended JSON.
                stream = io.BytesIO()
                np.save(stream, store.embeddings([row])[0].astype(np.float32))
                data = b64encode(zlib.compress(stream.getvalue())).decode()
                sample["embedding"] = {"$binary": {"base64": data, "subType": "00"}}
            file.write(separator + json.dumps(sample, allow_nan=False))
            separator = ",\n"
        file.write("]}")
    return dict(sorted(skipped.items()))


def _can_be_shown(each: AnnotationRecord) -> bool:
    known = each.type in ("bbox", "polygon", "polyline", "points", "label", "caption")
    return known and bool(np.isfinite(each.coords).all())


def _fields(item: ItemRecord, names: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    """Return an item's annotations by FiftyOne's kind; coordinates are fractions of the image."""
    width, height = item.width or 1, item.height or 1
    fields: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in item.annotations:
        label = names[each.label] if 0 <= each.label < len(names) else None
        points = []
        if each.type in ("polygon", "polyline", "points"):
            points = (np.array(each.coords).reshape(-1, 2) / (width, height)).tolist()
        if each.type == "bbox":
            x, y, w, h = each.coords
            box = [x / width, y / height, w / width, h / height]
            fields["Detections"].append({"_cls": "Detection", "label": label, "bounding_box": box})
        elif each.type in ("polygon", "polyline"):
            closed = each.type == "polygon"
            outline = {"points": [points], "closed": closed, "filled": closed}
            fields["Polylines"].append({"_cls": "Polyline", "label": label, **outline})
        elif each.type == "points":
            fields["Keypoints"].append({"_cls": "Keypoint", "label": label, "points": points})
        elif each.type == "label":
            fields["Classifications"].append({"_cls": "Classification", "label": label})
    return fields
