"""Write `store.h5` and `store/`: format 2.0, which every later version must read as it is.

It was run once and its output is committed. Do not run it again: a later writer's proves nothing.

    python tests/golden/v2/make_store.py tests/golden/v2/store.h5 tests/golden/v2/store
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from datumaro_embed.records import (
    AnnotationRecord,
    CaptionRecord,
    Categories,
    CropShape,
    ItemKey,
    ItemRecord,
    ObjectRecord,
    ObjectStatus,
    Split,
    Status,
)
from datumaro_embed.store import StoreWriter
from store_support import begin, create_store

CHILD_VECTORS = np.array([[0, 1, 0, 0], [0, 0, 0.6, -0.8]], dtype=np.float32)
RECORDS = (
    ItemRecord(
        key=ItemKey("train", "000001"),
        split=Split.TRAIN,
        path="train/000001.jpg",
        width=640,
        height=480,
        content_sha256=bytes(range(32)),
        attributes={"license": 3, "note": "größer"},
        annotations=(
            AnnotationRecord(
                "bbox",
                label=1,
                ann_id=7,
                group=2,
                object_id=5,
                z_order=-1,
                coords=(10.5, 20.25, 30.0, 40.0),
                attributes={"occluded": True, "score": float("inf")},
            ),
            AnnotationRecord("polygon", label=0, coords=(0.0, 0.0, 1.0, 0.0, 1.0, 1.0)),
            AnnotationRecord("mask", label=0, rle='{"counts":"04","size":[2,2]}'),
            AnnotationRecord("points", label=1, coords=(1.0, 2.0, 3.0, 4.0), visibility=(2, 1)),
            AnnotationRecord("caption", text="a cat\non a mat 🐱"),
            AnnotationRecord("cuboid_3d", extra='{"position":[1,2,3]}'),
        ),
        objects=(
            ObjectRecord(
                label=1,
                box=(10.5, 20.25, 30.0, 40.0),
                area=1200.5,
                crop=(7, 17, 44, 64),
                shape=CropShape.PAD,
                annotations=(0, 3),
                vector=CHILD_VECTORS[0],
            ),
            ObjectRecord(
                label=0,
                box=(0.0, 0.0, 1.0, 1.0),
                area=0.5,
                status=ObjectStatus.TOO_SMALL,
                annotations=(1,),
            ),
        ),
        captions=(CaptionRecord(4, CHILD_VECTORS[1]),),
    ),
    ItemRecord(
        key=ItemKey("train", "caf\udce9"),
        split=Split.TRAIN,
        path="train/caf\udce9.jpg",
        status=Status.UNREADABLE,
        error="the image is cut short",
        content_sha256=bytes(32),
        objects=(),
        captions=(),
    ),
    ItemRecord(ItemKey("val", ""), split=Split.VAL, width=1, height=1, objects=(), captions=()),
)
VECTORS = np.array([[0.6, 0.8, 0, 0], [0, 0, 0, 0], [0, 0, -1, 0]], dtype=np.float32)
CATEGORIES = Categories(("cat", "dog"), {"label": {"attributes": ["occluded"]}})
LABEL_VECTORS = np.array([[1, 0, 0, 0], [0, 0.8, 0.6, 0]], dtype=np.float32)
KIND = {
    "dim": 4,
    "run_fingerprint": "golden",
    "model": "demo",
    "vector_settings": "f32 on CPU",
}
PROVENANCE = {"model": {"name": "demo"}, "precision": "f32"}


def write(writer: StoreWriter) -> None:
    """Write the rows."""
    with writer:
        for record, vector in zip(RECORDS, VECTORS, strict=True):
            writer.append(record, vector if record.status == Status.OK else None)
        writer.set_categories(CATEGORIES, LABEL_VECTORS)
        writer.seal(PROVENANCE)


def main(file: str, directory: str) -> None:
    """Write the file and the directory."""
    write(create_store(file, **KIND))
    write(begin(Path(directory), commit_rows=2, **KIND))


if __name__ == "__main__":
    main(*sys.argv[1:])
