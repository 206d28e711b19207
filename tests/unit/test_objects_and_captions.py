"""What commands make of the tables of a store that belong to its items."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from adapter_support import SIZE, coco_image, import_all, records, write_coco_dataset
from crash.runs import N_ITEMS, QuickFiles, write_tables
from datumaro_embed import ItemKey, ItemRecord, convert_store, import_vectors, open_store
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import UsageError
from datumaro_embed.info import describe
from datumaro_embed.maintenance import compact_store, merge_stores, repair_store
from datumaro_embed.objects import ObjectOptions, objects_of
from datumaro_embed.pipeline import EmbedOptions, embed_source, read_item_info
from datumaro_embed.records import AnnotationRecord, Categories, ObjectRecord, ObjectStatus
from datumaro_embed.rle import Rle
from datumaro_embed.store.schema import BLOCK_ROWS
from datumaro_embed.testing import MemoryStores
from datumaro_embed.vectors import VectorKind
from datumaro_embed.verify import compare_with_dataset
from store_support import begin, create_store, row_content

UNIT = np.array([0.6, 0.8], np.float32)
OPTIONS = ObjectOptions(min_px=25)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """36 items with a caption each and, but for every fifth, an object."""
    write_tables(tmp_path / "s", QuickFiles(), numbers=range(N_ITEMS))
    return tmp_path / "s"


def test_a_parquet_of_items_brings_objects_and_captions_back(store: Path, tmp_path: Path) -> None:
    with open_store(store) as opened:
        summary = convert_store(opened, tmp_path / "i.parquet", to="parquet")
        assert summary.lines() == [f"36 items in {tmp_path / 'i.parquet'}"]
        before = row_content(opened)
    import_vectors(tmp_path / "i.parquet", tmp_path / "back.h5")
    with open_store(tmp_path / "back.h5") as back:
        assert row_content(back) == before


@pytest.mark.parametrize(("of", "n_rows"), [("objects", 28), ("captions", 36)])
def test_a_file_for_each_table(store: Path, tmp_path: Path, of: str, n_rows: int) -> None:
    with open_store(store) as opened:
        table = opened.table(of)
        summary = convert_store(opened, tmp_path / "t.parquet", to="parquet", of=of)
        assert summary.lines() == [f"{n_rows} {of} in {tmp_path / 't.parquet'}"]
        convert_store(opened, tmp_path / "npy", to="npy", of=of, embedded_only=True)
        for to in ("csv", "coco"):
            with pytest.raises(UsageError, match=f"{to} is of items only"):
                convert_store(opened, tmp_path / to, to=to, of=of)
        vectors = table.embeddings()
        keys = [(key.item.subset, key.item.id, key.number) for key in map(table.key, range(n_rows))]
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert [(row["subset"], row["id"], row["number"]) for row in rows] == keys
    np.testing.assert_array_equal([row["embedding"] for row in rows], vectors)
    np.testing.assert_array_equal(np.load(tmp_path / "npy/img_emb/img_emb_0.npy"), vectors)
    assert rows[1]["label_name" if of == "objects" else "text"] in ("cat", "number 1")
    for exported in ("t.parquet", "npy"):
        with pytest.raises(UsageError, match=f"holds {of}. Import the items"):
            import_vectors(tmp_path / exported, tmp_path / "x.h5")


def test_merge_renumbers_labels_of_objects(tmp_path: Path) -> None:
    for name, labels in (("a", ("dog", "cat")), ("b", ("cat", "ape"))):
        with create_store(tmp_path / f"{name}.h5", dim=2) as run:
            made = ObjectRecord(label=0, vector=UNIT)
            run.append(ItemRecord(ItemKey("", name), objects=(made, replace(made, label=7))), UNIT)
            run.set_categories(Categories(labels))
            run.seal({})
    create_store(tmp_path / "none.h5", dim=2).seal({})  # has no items, and so no table
    merge_stores([tmp_path / f"{name}.h5" for name in ("a", "none", "b")], tmp_path / "m.h5")
    with open_store(tmp_path / "m.h5") as merged:
        assert merged.verify() == []
        assert merged.objects.labels.tolist() == [0, -1, 1, -1]
        assert [merged.objects.labels_of(row) for row in range(4)] == [("dog",), (), ("cat",), ()]
        np.testing.assert_array_equal(merged.objects.vectors, [UNIT.astype(np.float16)] * 4)


def test_stores_with_other_tables_are_not_merged(store: Path, tmp_path: Path) -> None:
    with begin(tmp_path / "plain.h5", dim=8, run_fingerprint="tables") as run:
        run.append(ItemRecord(ItemKey("z", "z")), np.eye(8, dtype=np.float32)[0])
        run.seal({})
    with pytest.raises(UsageError, match=r"s' has objects and captions, .*has no objects and no"):
        merge_stores([store, tmp_path / "plain.h5"], tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()


def test_stores_whose_crops_differ_are_not_merged(tmp_path: Path) -> None:
    for name, crops in (("a", OPTIONS), ("b", replace(OPTIONS, margin=0.3))):
        with create_store(tmp_path / name, dim=2) as run:
            run.append(ItemRecord(ItemKey("", name), objects=()), UNIT)
            run.seal({"objects": crops.to_json()})
    with pytest.raises(UsageError, match=r"a' has margin 0.1, .*b' has margin 0.3, square, at l"):
        merge_stores([tmp_path / "a", tmp_path / "b"], tmp_path / "m.h5")
    with create_store(tmp_path / "unknown", dim=2) as run:
        run.append(ItemRecord(ItemKey("", "c"), objects=()), UNIT)
        run.seal({})
    merge_stores([tmp_path / "unknown", tmp_path / "b"], tmp_path / "m.h5")
    with open_store(tmp_path / "m.h5") as merged:
        assert ObjectOptions.of(merged.provenance) == replace(OPTIONS, margin=0.3)


def test_merge_and_compact_keep_every_byte(store: Path, tmp_path: Path) -> None:
    with open_store(store) as opened:
        before = row_content(opened)
    merge_stores([store], tmp_path / "m.h5")
    assert compact_store(store).n_after == 1
    for path in (store, tmp_path / "m.h5"):
        with open_store(path) as found:
            assert found.verify() == []
            assert row_content(found) == before


def test_repair_keeps_the_items_of_damaged_objects(tmp_path: Path) -> None:
    n_items = 3 * BLOCK_ROWS // 2
    with create_store(tmp_path / "s.h5", dim=2) as run:
        for number in range(n_items):
            coords = (float(number), 0.0, 40.0, 40.0)
            box = (AnnotationRecord("bbox", coords=coords),)
            record = ItemRecord(ItemKey("", f"{number:05}"), width=9999, height=99, annotations=box)
            made = (replace(objects_of(record, OPTIONS)[0], vector=UNIT),)
            run.append(replace(record, objects=made, captions=()), UNIT)
        run.seal({"objects": OPTIONS.to_json()})
    data = bytearray((tmp_path / "s.h5").read_bytes())
    with h5py.File(tmp_path / "s.h5") as file:
        data[file["objects/vector"].id.get_offset() + file["objects/vector"].nbytes - 1] ^= 1
    (tmp_path / "s.h5").write_bytes(data)
    summary = repair_store(tmp_path / "s.h5", tmp_path / "r.h5")
    n_partly = n_items - BLOCK_ROWS
    assert (summary.n_kept, summary.n_marked, summary.n_partly) == (n_items, 0, n_partly)
    assert f"  {n_partly} rows kept without damaged objects or captions" in summary.lines()
    with open_store(tmp_path / "s.h5") as before, open_store(tmp_path / "r.h5") as repaired:
        assert repaired.verify() == []
        assert repaired.items.vectors.tobytes() == before.items.vectors.tobytes()
        assert repaired.objects.boxes.tobytes() == before.objects.boxes.tobytes()
        assert int(repaired.objects.has_vector.sum()) == BLOCK_ROWS
        assert repaired.item(n_items - 1).objects[0].status is ObjectStatus.INFERENCE_FAILED


def test_info(store: Path) -> None:
    with open_store(store) as opened:
        lines = list(describe(opened))
    assert "annotations  72 of 28 objects" in lines
    assert "objects      28, 28 embedded" in lines
    assert "captions     36 embedded" in lines
    assert "object       ok: 28" in lines
    assert "label        cat: 28 objects, 36 annotations" in lines


# COCO ---------------------------------------------------------------------------------------------


def coco_objects() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Images and objects in every form that COCO has; boxes and areas are not those of outlines."""
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    mask[5:20, 6:30] = True
    rle = Rle.of_mask(mask).to_coco()
    polygons = [[10.0, 10, 20, 10, 20, 20.5], [30.0, 30, 40, 30, 40, 40]]
    forms: list[dict[str, Any]] = [
        {"segmentation": polygons, "bbox": [9.5, 10.0, 31.0, 31.25], "area": 77.5},
        {"segmentation": rle, "bbox": [6.0, 5.0, 25.0, 15.0], "area": 350.0},
        {"segmentation": rle, "bbox": [5.0, 5.0, 25.0, 15.0], "area": 351.0, "iscrowd": 1},
        {"segmentation": [], "bbox": [1.0, 2.0, 10.0, 20.0], "area": 123.0},
    ]
    objects = [
        {"id": 100 + n, "image_id": n % 2 + 1, "category_id": n % 2 + 1, "iscrowd": 0, **form}
        for n, form in enumerate([*forms, *forms[:1]])
    ]
    return [coco_image(1, "a.jpg"), coco_image(2, "b.jpg")], objects


@pytest.mark.parametrize("keypoints", [False, True])
def test_coco_gives_back_exactly_the_objects(tmp_path: Path, keypoints: bool) -> None:
    images, objects = coco_objects()
    categories: list[dict[str, Any]] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    write_coco_dataset(tmp_path / "d", images, objects, categories)
    if keypoints:
        categories = [{**c, "keypoints": ["l", "r"], "skeleton": [[1, 2]]} for c in categories]
        for entry in objects:
            entry |= {"keypoints": [3.5, 4.0, 2, 0.0, 0.0, 0], "num_keypoints": 1}
        content = {"images": images, "annotations": objects, "categories": categories}
        (tmp_path / "d/annotations/person_keypoints_train.json").write_text(json.dumps(content))
        (tmp_path / "d/annotations/instances_train.json").unlink()
    imported = import_all(tmp_path / "d")
    given = {entry["id"]: entry for entry in objects}
    with create_store(tmp_path / "s.h5", dim=2) as run:
        for record in sorted(records(imported).values(), key=lambda record: record.key):
            together = defaultdict(list)
            for number, annotation in enumerate(record.annotations):
                together[annotation.group].append(number)
            made = [
                ObjectRecord(
                    given[group]["category_id"] - 1,
                    tuple(given[group]["bbox"]),
                    given[group]["area"],
                    ObjectStatus.CROWD if given[group]["iscrowd"] else ObjectStatus.OK,
                    annotations=tuple(numbers),
                    vector=None if given[group]["iscrowd"] else UNIT,
                )
                for group, numbers in together.items()
            ]
            run.append(replace(record, objects=tuple(made), content_sha256=bytes(32)), UNIT)
        run.set_categories(imported.source.categories)
        run.seal({})
    with open_store(tmp_path / "s.h5") as store:
        assert convert_store(store, tmp_path / "c.json", to="coco").skipped == {}
    written = json.loads((tmp_path / "c.json").read_text())
    found = {entry["id"]: entry for entry in written["annotations"]}
    assert len(written["annotations"]) == len(objects)
    assert found == given
    assert written["categories"] == categories


def test_coco_loses_no_part_of_an_object_that_coco_cannot_say(tmp_path: Path) -> None:
    """Two masks, two boxes and a caption: what is no one annotation stays several."""
    rle = Rle.of_mask(np.ones((2, 2), bool)).to_json()
    annotations = (
        *(AnnotationRecord("mask", 0, group=1, rle=rle),) * 2,
        AnnotationRecord("polyline", 0, coords=(0.0, 0.0, 1.0, 1.0)),
        AnnotationRecord("caption", text="x"),
    )
    stores = MemoryStores()
    with stores.begin("s", VectorKind(2)) as run:
        no_vector = ObjectRecord(0, status=ObjectStatus.NO_BOX)
        made = (replace(no_vector, annotations=(0, 1)), replace(no_vector, annotations=(2,)))
        run.append(ItemRecord(ItemKey("", "a"), annotations=annotations, objects=made), UNIT)
        run.set_categories(Categories(("cat",)))
        run.seal({})
    summary = convert_store(stores.open("s"), tmp_path / "c.json", to="coco")
    assert summary.skipped == {"polyline": 1}
    found = json.loads((tmp_path / "c.json").read_text())["annotations"]
    assert [(entry["id"], entry["area"]) for entry in found] == [(1, 4), (2, 4)]


# verify --dataset ---------------------------------------------------------------------------------


def test_objects_are_compared_with_those_of_the_dataset(tmp_path: Path) -> None:
    images, objects = coco_objects()
    write_coco_dataset(tmp_path / "d", images, objects)
    imported = import_all(tmp_path / "d")

    def differences(change: dict[str, Any]) -> list[str]:
        with create_store(tmp_path / "s.h5", dim=2) as run:
            for item in sorted(imported.source, key=lambda item: item.key):
                record = read_item_info(item)
                found = objects_of(record, OPTIONS)
                made = [replace(o, vector=UNIT if o.has_vector else None) for o in found]
                made = [replace(one, **change) for one in made]
                run.append(replace(record, objects=tuple(made)), UNIT)
            run.set_categories(imported.source.categories)
            run.seal({"objects": OPTIONS.to_json()})
        with open_store(tmp_path / "s.h5") as store:
            return list(compare_with_dataset(store, imported.source))

    assert differences({}) == []
    for change in (
        *({"label": -1}, {"box": (0.0, 0.0, 1.0, 1.0)}, {"annotations": (0, 1)}, {"area": 7.0}),
        {"status": ObjectStatus.OUTSIDE, "vector": None},
    ):
        found = differences(change)
        assert len(found) >= 4
        assert all("object of " in line for line in found)


@pytest.mark.parametrize(
    "change", [{"iscrowd": 1}, {"area": 5.0}, {"attributes": {"x": 1}}, {"score": 0.5}]
)
def test_what_changes_an_annotation_is_a_difference(tmp_path: Path, change: dict[str, Any]) -> None:
    images, objects = coco_objects()
    write_coco_dataset(tmp_path / "d", images, objects)
    options = EmbedOptions(objects=True)
    embed_source(
        import_all(tmp_path / "d").source, tmp_path / "s.h5", options, encoder=FakeEncoder()
    )
    objects[3] |= change
    write_coco_dataset(tmp_path / "e", images, objects)
    with open_store(tmp_path / "s.h5") as store:
        assert list(compare_with_dataset(store, import_all(tmp_path / "d").source)) == []
        assert len(list(compare_with_dataset(store, import_all(tmp_path / "e").source))) >= 2


@pytest.mark.parametrize("objects", [False, True])
def test_coco_comes_back_as_it_was_given(tmp_path: Path, objects: bool) -> None:
    """Ids, numbers, attributes and captions; an id that is given twice is another one, and said."""
    images = [coco_image(40, "a.jpg"), coco_image(7, "b.jpg")]
    categories = [
        {"id": 3, "name": "cat", "supercategory": "animal"},
        {"id": 90, "name": "dog", "keypoints": ["x", "y"], "skeleton": [[1, 2]]},
    ]
    of = {"image_id": 40, "category_id": 3, "iscrowd": 0}
    outline = [[10.123, 10.4567, 20.1, 10.3, 20.2, 20.5]]
    given: list[dict[str, Any]] = [
        {"id": 5, "bbox": [5.3, 5.7, 33.21, 44.9], "area": 1491.129, "segmentation": []},
        {"id": 12, "bbox": [10.1, 10.3, 9.123456789, 9.9], "area": 50.7, "segmentation": outline},
        {"id": 9, "bbox": [0.1, 0.2, 0.3, 0.7], "area": 0.21, "segmentation": [], "score": 0.5},
        {"id": 8, "bbox": [1.0, 2.0, 3.0, 4.0], "area": 12.0, "segmentation": []},
        {"id": 8, "bbox": [1.0, 2.0, 5.0, 4.0], "area": 20.0, "segmentation": []},
    ]
    given[2] |= {"attributes": {"occluded": True, "tags": [1, "x"]}, "category_id": 90}
    given[2] |= {"keypoints": [0.123456, 0.5, 2, 0.0, 0.0, 0], "num_keypoints": 1}
    given = [of | entry for entry in given]
    texts = [{"id": n, "image_id": 7, "caption": text} for n, text in ((5, "a cat"), (6, "ü"))]
    write_coco_dataset(tmp_path / "d", images, given, categories)
    captions = {"images": images, "annotations": texts, "categories": []}
    (tmp_path / "d/annotations/captions_train.json").write_text(json.dumps(captions))
    options = EmbedOptions(objects=objects)
    imported = import_all(tmp_path / "d")
    embed_source(imported.source, tmp_path / "s.h5", options, encoder=FakeEncoder())
    with open_store(tmp_path / "s.h5") as store:
        summary = convert_store(store, tmp_path / "instances_x.json", to="coco")
    assert f"  captions in {tmp_path / 'captions_x.json'}" in summary.lines()
    written = json.loads((tmp_path / "instances_x.json").read_text())
    found = {tuple(entry["bbox"]): entry for entry in written["annotations"]}
    assert found.keys() == {tuple(entry["bbox"]) for entry in given}
    for entry in given[:3]:
        assert found[tuple(entry["bbox"])] == entry
    assert {found[tuple(entry["bbox"])]["id"] for entry in given[3:]} == {8, 1}
    assert written["categories"] == categories
    assert [image["id"] for image in written["images"]] == [40, 7]
    back = json.loads((tmp_path / "captions_x.json").read_text())
    assert sorted(back["annotations"], key=lambda entry: entry["id"]) == texts


def test_ids_that_are_taken_are_given_anew_and_counted(tmp_path: Path) -> None:
    box = AnnotationRecord("bbox", 0, ann_id=3, coords=(0.0, 0.0, 2.0, 2.0))
    stores = MemoryStores()
    with stores.begin("s", VectorKind(2)) as run:
        for name in ("a", "b"):
            made = (box, replace(box, ann_id=0), replace(box, ann_id=ord(name)))
            run.append(ItemRecord(ItemKey("", name), attributes={"id": 1}, annotations=made), UNIT)
        run.set_categories(Categories(("cat",)))
        run.seal({})
    summary = convert_store(stores.open("s"), tmp_path / "c.json", to="coco")
    content = json.loads((tmp_path / "c.json").read_text())
    found = [(entry["image_id"], entry["id"]) for entry in content["annotations"]]
    assert found == [(1, 3), (1, 1), (1, 97), (2, 2), (2, 4), (2, 98)]
    assert summary.lines()[1:] == [
        "  annotation ids that were given twice, renumbered: 1",
        "  image ids that were given twice, renumbered: 1",
    ]
