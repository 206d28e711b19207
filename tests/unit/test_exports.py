"""Exports, each read by the library that it is for."""

from __future__ import annotations

import csv
import json
import os
import resource
import sys
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from embedding_reader import EmbeddingReader
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from datumaro_embed import (
    AnnotationRecord,
    Categories,
    ItemKey,
    ItemRecord,
    Status,
    convert_store,
    open_store,
)
from datumaro_embed.errors import MissingExtraError, StoreExistsError, StoreWriteError, UsageError
from datumaro_embed.escaping import csv_cell
from datumaro_embed.exports import FORMATS
from datumaro_embed.files import new_path
from datumaro_embed.info import describe
from datumaro_embed.signatures import SIGNATURE_BYTES, STATISTICS
from datumaro_embed.store import EmbeddingStore
from datumaro_embed.testing import MemoryStores
from datumaro_embed.vectors import VectorKind


def small(*annotations: AnnotationRecord) -> EmbeddingStore:
    """Two embedded items around a failed one; the first has the annotations."""
    stores = MemoryStores()
    with stores.begin("s", VectorKind(2, "float32")) as writer:
        first = ItemRecord(
            ItemKey("train", "a"),
            path="a.jpg",
            width=10,
            height=8,
            signature=b"\1" * SIGNATURE_BYTES,
            statistics=(0.5,) * len(STATISTICS),
            annotations=annotations,
        )
        writer.append(first, np.array([1.0, 0.0]))
        writer.append(ItemRecord(ItemKey("train", "b"), status=Status.MISSING, error="no"), None)
        writer.append(ItemRecord(ItemKey("val", "c")), np.array([0.0, 1.0]))
        writer.set_categories(Categories(("x", "y")))
        writer.seal({})
    return stores.open("s")


def test_parquet_opens_in_arrow_and_pandas(coco_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.parquet"
    with open_store(coco_store) as store:
        assert convert_store(store, out, to="parquet").n_items == 69
        vectors, keys = store.to_numpy(), list(store.keys())
    kind = pq.read_schema(out).field("embedding").type
    assert (kind.list_size, str(kind.value_type)) == (vectors.shape[1], "float")
    frame = pd.read_parquet(out)
    np.testing.assert_array_equal(np.stack(frame["embedding"]), vectors)
    assert [ItemKey(*pair) for pair in zip(frame["subset"], frame["id"], strict=True)] == keys


def test_embedding_reader_reads_the_npy_export(coco_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "export"
    with open_store(coco_store) as store:
        convert_store(store, out, to="npy")
        vectors, keys = np.array(store.embeddings()), list(store.keys())
    reader = EmbeddingReader(
        str(out / "img_emb"),
        metadata_folder=str(out / "metadata"),
        meta_columns=["image_path", "subset", "id"],
        file_format="parquet_npy",
    )
    assert (reader.count, reader.dimension) == vectors.shape
    parts, found = [], []
    for part, rows in reader(batch_size=20, show_progress=False):
        parts.append(part)
        found += [ItemKey(*pair) for pair in zip(rows["subset"], rows["id"], strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts), vectors)
    assert found == keys


def test_npy_is_an_ordinary_array(tmp_path: Path) -> None:
    store = small()
    convert_store(store, tmp_path / "all", to="npy")
    loaded = np.load(tmp_path / "all" / "img_emb" / "img_emb_0.npy", allow_pickle=False)
    np.testing.assert_array_equal(loaded, store.embeddings())
    assert convert_store(store, tmp_path / "some", to="npy", embedded_only=True).n_items == 2
    loaded = np.load(tmp_path / "some" / "img_emb" / "img_emb_0.npy", allow_pickle=False)
    np.testing.assert_array_equal(loaded, [[1, 0], [0, 1]])


def test_csv(tmp_path: Path) -> None:
    boxes = [AnnotationRecord("bbox", label, coords=(1, 2, 3, 4)) for label in (1, 0, 1)]
    convert_store(small(*boxes), tmp_path / "flat.csv", to="csv")
    convert_store(small(*boxes), tmp_path / "wide.csv", to="csv", vectors=True, embedded_only=True)
    with (tmp_path / "flat.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert (rows[0]["labels"], rows[0]["n_annotations"]) == ("x;y", "3")
    assert (rows[1]["status"], rows[1]["error"]) == ("missing", "no")
    with (tmp_path / "wide.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [[float(row["e0"]), float(row["e1"])] for row in rows] == [[1, 0], [0, 1]]


def test_faiss_finds_what_numpy_finds(coco_store: Path, tmp_path: Path) -> None:
    with open_store(coco_store) as store:
        convert_store(store, tmp_path / "index", to="faiss")
        vectors = store.to_numpy()
    index = faiss.read_index(str(tmp_path / "index" / "image.index"))
    similarities, rows = index.search(vectors[:5], 3)
    expected = np.sort(vectors[:5] @ vectors.T, axis=1)[:, ::-1][:, :3]
    np.testing.assert_allclose(similarities, expected, atol=1e-5)
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert pq.read_table(tmp_path / "index" / "metadata").num_rows == index.ntotal


def test_a_disk_that_is_full_for_faiss(coco_store: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_store(coco_store) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
        try:
            with pytest.raises(StoreWriteError, match="File too large"):
                convert_store(store, tmp_path / "index", to="faiss")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_faiss_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'datumaro-embed\[faiss\]'"):
        convert_store(small(), tmp_path / "index", to="faiss")
    assert list(tmp_path.iterdir()) == []


def test_coco_is_read_by_pycocotools(coco_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "coco.json"
    with open_store(coco_store) as store:
        assert convert_store(store, out, to="coco").skipped == {}
        items = [store.item(row) for row in range(len(store))]
        labels = store.categories.labels
    coco = COCO(out)
    assert len(coco.imgs) == 69
    assert len(coco.anns) == 218
    for item in items:
        found = coco.loadAnns(coco.getAnnIds(item.attributes["id"]))
        boxes = sorted(tuple(a["bbox"]) for a in found)
        assert boxes == sorted(annotation.coords for annotation in item.annotations)
        assert coco.imgs[item.attributes["id"]]["width"] == item.width
    assert tuple(category["name"] for category in coco.cats.values()) == labels


def test_coco_geometry(tmp_path: Path) -> None:
    mask = np.zeros((8, 10), dtype=np.uint8)
    mask[2:5, 3:7] = 1
    encoded = coco_mask.encode(np.asfortranarray(mask))
    rle = json.dumps({"size": [8, 10], "counts": encoded["counts"].decode()})
    square = (1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0)
    other = (5.0, 5.0, 6.0, 5.0, 6.0, 6.0)
    store = small(
        AnnotationRecord("mask", 0, rle=rle, attributes={"is_crowd": True}),
        AnnotationRecord("polygon", 1, group=3, coords=square),
        AnnotationRecord("polygon", 1, group=3, coords=other),
        AnnotationRecord("points", 0, coords=(1, 2, 4, 6), visibility=(2, 0)),
        AnnotationRecord("caption", text="a <b>"),
        AnnotationRecord("ellipse", 0, coords=(1, 1, 2, 2)),
        AnnotationRecord("bbox", -1, coords=(1, 1, 2, 2)),
        AnnotationRecord("bbox", 0, coords=()),
        AnnotationRecord("polygon", 0, coords=()),
        AnnotationRecord("polygon", 0, coords=(1, 2, 3)),
        AnnotationRecord("points", 0, coords=(1, 2, 4, 6), visibility=(2,)),
        AnnotationRecord("mask", 0, rle="{}"),
        AnnotationRecord("mask", 0, rle="no JSON"),
    )
    summary = convert_store(store, tmp_path / "c.json", to="coco")
    assert summary.skipped == {"ellipse": 1, "bbox": 2, "polygon": 2, "points": 1, "mask": 2}
    assert "not expressible here, left out: 1 ellipse" in "\n".join(summary.lines())
    content = json.loads((tmp_path / "c.json").read_text())
    masked, polygons, points = content["annotations"]
    (caption,) = json.loads((tmp_path / "captions_c.json").read_text())["annotations"]
    assert (masked["bbox"], masked["area"], masked["iscrowd"]) == ([3, 2, 4, 3], 12, 1)
    assert (polygons["area"], polygons["bbox"]) == (4.5, [1, 1, 5, 5])
    assert polygons["segmentation"] == [list(square), list(other)]
    assert (points["keypoints"], points["num_keypoints"]) == ([1, 2, 2, 4, 6, 0], 1)
    assert caption == {"image_id": 1, "id": 1, "caption": "a <b>"}
    assert [image["item_id"] for image in content["images"]] == ["a", "b", "c"]


@pytest.mark.parametrize("to", FORMATS)
def test_nothing_is_overwritten(tmp_path: Path, to: str) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StoreExistsError, match=r"already exists\. Choose a path"):
        convert_store(small(), tmp_path / "out", to=to)
    assert (tmp_path / "out").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("to", FORMATS)
def test_a_failure_leaves_nothing(tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datumaro_embed.files.FileSystem.replace", fail)
    with pytest.raises(StoreWriteError, match="Disk full"):
        convert_store(small(), tmp_path / "out", to=to)
    assert list(tmp_path.iterdir()) == []


def test_what_comes_into_the_way_meanwhile_is_kept(tmp_path: Path) -> None:
    def write_slowly() -> None:
        with new_path(tmp_path / "out") as work:
            work.write_text("ours")
            (tmp_path / "out").write_text("theirs")

    with pytest.raises(StoreExistsError, match="exists"):
        write_slowly()
    assert (tmp_path / "out").read_text() == "theirs"
    assert os.listdir(tmp_path) == ["out"]


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No format 'xls'; choose one of parquet"):
        convert_store(small(), tmp_path / "out", to="xls")
    with pytest.raises(UsageError, match="vectors is for csv only"):
        convert_store(small(), tmp_path / "out", to="npy", vectors=True)


def test_spreadsheets_run_no_cell_of_a_csv(tmp_path: Path) -> None:
    """Text that begins like a formula gets an apostrophe; numbers, negative ones too, do not."""
    stores = MemoryStores()
    with stores.begin("s", VectorKind(2, "float32")) as writer:
        for name in ("+1", "=HYPERLINK(1)", "@a", "plain"):
            boxes = (AnnotationRecord("bbox", 0, coords=(1, 2, 3, 4)),)
            record = ItemRecord(ItemKey("-s", name), path=f"={name}", annotations=boxes)
            writer.append(record, np.array([-1.0, 0.0]))
        writer.set_categories(Categories(("=cmd|' /C calc'!A0",)))
        writer.seal({})
    convert_store(stores.open("s"), tmp_path / "e.csv", to="csv", vectors=True)
    frame = pd.read_csv(tmp_path / "e.csv")
    assert frame["id"].tolist() == ["'+1", "'=HYPERLINK(1)", "'@a", "plain"]
    assert set(frame["subset"]) == {"'-s"}
    assert set(frame["labels"]) == {"'=cmd|' /C calc'!A0"}
    assert frame["e0"].tolist() == [-1.0] * 4


def test_csv_files_of_every_command_escape_alike(tmp_path: Path) -> None:
    names = sorted(["=1", "\n=x", "a", "'a", "-3", "\x1b=", "ü=", "\r\n", "@", "\t", "+\n"])
    stores = MemoryStores()
    with stores.begin("s", VectorKind(1)) as writer:
        for name in names:
            writer.append(ItemRecord(ItemKey("s", name)), np.ones(1))
        writer.seal({})
    convert_store(stores.open("s"), tmp_path / "e.csv", to="csv")
    with (tmp_path / "e.csv").open(newline="", encoding="utf-8") as file:
        assert [row["id"] for row in csv.DictReader(file)] == list(map(csv_cell, names))


def test_box_outline_and_keypoints_of_one_object_are_one_annotation(tmp_path: Path) -> None:
    outline = (1.0, 2.0, 11.0, 2.0, 11.0, 22.0)
    store = small(
        AnnotationRecord("bbox", 0, group=4, coords=(1, 2, 10, 21)),
        AnnotationRecord("polygon", 0, group=4, coords=outline),
        AnnotationRecord("points", 0, group=4, coords=(3, 4), visibility=(2,)),
        AnnotationRecord("bbox", 1, group=4, coords=(0, 0, 2, 2)),
        AnnotationRecord("bbox", 0, group=5, coords=(0, 0, 3, 3)),
        AnnotationRecord("bbox", 0, group=5, coords=(4, 4, 3, 3)),
    )
    assert convert_store(store, tmp_path / "c.json", to="coco").skipped == {}
    whole, *boxes = json.loads((tmp_path / "c.json").read_text())["annotations"]
    assert whole["bbox"] == [1, 2, 10, 21]  # the given one, not that of the outline
    assert (whole["area"], whole["segmentation"]) == (100, [list(outline)])
    assert (whole["keypoints"], whole["num_keypoints"]) == ([3, 4, 2], 1)
    assert [box["bbox"] for box in boxes] == [[0, 0, 2, 2], [0, 0, 3, 3], [4, 4, 3, 3]]
    assert "annotations  6 of 3 objects" in list(describe(store))
