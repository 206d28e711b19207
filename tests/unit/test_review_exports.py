"""What annotation tools get: the suspicious items first, as each tool reads them."""

from __future__ import annotations

import json
import shutil
import zlib
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from datumaro.components.annotation import Bbox, Label
from datumaro.components.dataset import Dataset

from datumaro_embed import (
    AnnotationRecord,
    Categories,
    Finding,
    Findings,
    ItemKey,
    ItemRecord,
    audit,
    convert_store,
    open_store,
)
from datumaro_embed.errors import UsageError
from datumaro_embed.exports.review_files import to_review
from datumaro_embed.testing import MemoryStores
from datumaro_embed.vectors import VectorKind
from report_stores import hostile_store
from support import SAMPLE


def converted(store: Path, out: Path, to: str, findings: Any = None) -> Path:
    with open_store(store) as opened:
        convert_store(opened, out, to=to, findings=findings)
    return out


def by_suspicion(found: Findings) -> list[ItemKey]:
    """Items of undecided findings, by their lowest rank."""
    rows = sorted((row for row in found if not row.action), key=lambda row: row.rank or 10**9)
    return [*dict.fromkeys(row.key for row in rows)]


@pytest.fixture
def found(objects_store: Path) -> Findings:
    """Return the findings, the leaks decided."""
    rows = audit(objects_store)
    return Findings(replace(row, action="keep" if row.kind == "leak" else "") for row in rows)


def test_what_other_decisions_settle_is_not_handed_over(objects_store: Path) -> None:
    rows = [replace(row, action="") for row in audit(objects_store)]
    with open_store(objects_store) as opened:

        def told(rows: list[Finding]) -> dict[ItemKey, tuple[list[str], dict[int, list[str]]]]:
            found = to_review(opened, rows)
            return {each.item.key: (each.reasons, each.of_annotations) for each in found}

        before = told(rows)
        of_object = next(row for row in rows if row.object is not None)
        of_item = next(row for row in rows if row.object is None and row.key != of_object.key)
        picked = replace(of_item, kind="picked", action="keep")
        whole = replace(of_object, object=None, label="", box=(), kind="picked", action="drop")
        after = told([*rows, picked, whole])
    assert of_object.key in before
    assert of_object.key not in after  # its image is dropped
    assert before[of_item.key][0]
    assert not after.get(of_item.key, ([], {}))[0]
    others = before.keys() - {of_object.key, of_item.key}
    assert {key: before[key] for key in others} == {key: after[key] for key in others}


def test_datumaro_reads_what_cvat_gets(
    objects_store: Path, found: Findings, tmp_path: Path
) -> None:
    folder = converted(objects_store, tmp_path / "cvat", "cvat", found)
    shutil.copytree(SAMPLE / "coco" / "images", folder / "images" / "images")
    items = {item.id: item for item in Dataset.import_from(str(folder), "cvat")}
    keys = by_suspicion(found)
    images = ElementTree.parse(folder / "annotations.xml").getroot().iter("image")
    with open_store(objects_store) as store:
        paths = [store[key].path for key in keys]
        assert [image.get("name") for image in images] == paths
        assert (folder / "images.txt").read_text().splitlines() == paths
        names = [*store.categories.labels, "review"]
        for key in keys:
            item, record = items[str(Path(store[key].path).with_suffix(""))], store[key]
            boxes = [each for each in item.annotations if isinstance(each, Bbox)]
            assert [names[box.label] for box in boxes] == [
                names[each.label] for each in record.annotations
            ]
            for box, each in zip(boxes, record.annotations, strict=True):
                np.testing.assert_allclose(box.get_bbox(), each.coords, atol=0.011)
    labels = json.loads((folder / "labels.json").read_text())
    assert [label["name"] for label in labels] == names
    first = next(row for row in found if row.kind == "mislabel")
    notes = [
        (names[each.label], each.attributes["finding"])
        for each in items[f"images/{first.subset}/{first.id}"].annotations
        if "finding" in each.attributes
    ]
    assert (first.label, f"mislabel: {first.reason}") in notes
    outlier = next(row for row in found if row.kind == "outlier")
    (tag,) = (
        each
        for each in items[f"images/{outlier.subset}/{outlier.id}"].annotations
        if isinstance(each, Label)
    )
    assert names[tag.label] == "review"
    assert f"outlier: {outlier.reason}" in tag.attributes["finding"]


def test_label_studio_gets_tasks_with_predictions(
    objects_store: Path, found: Findings, tmp_path: Path
) -> None:
    """The values are those of Label Studio's documentation: per cent of the image."""
    folder = converted(objects_store, tmp_path / "ls", "label_studio", found)
    tasks = json.loads((folder / "tasks.json").read_text())
    keys = by_suspicion(found)
    assert [(task["data"]["subset"], task["data"]["item_id"]) for task in tasks] == [
        (key.subset, key.id) for key in keys
    ]
    scores = [task["predictions"][0]["score"] for task in tasks]
    assert scores == sorted(scores, reverse=True)
    with open_store(objects_store) as store:
        for key, task in zip(keys, tasks, strict=True):
            item = store[key]
            assert task["data"]["image"] == f"/data/local-files/?d={item.path}"
            for each, result in zip(
                item.annotations, task["predictions"][0]["result"], strict=True
            ):
                x, y, w, h = each.coords
                value = result["value"]
                assert value["rectanglelabels"] == [store.categories.labels[each.label]]
                got = [value[name] for name in ("x", "y", "width", "height")]
                size = (item.width, item.height) * 2
                np.testing.assert_allclose(got, np.array([x, y, w, h]) * 100 / size)
                assert (result["original_width"], result["original_height"]) == size[:2]
        config = ElementTree.parse(folder / "config.xml").getroot()
        assert [e.get("value") for e in config.find("RectangleLabels")] == list(  # type: ignore[union-attr]
            store.categories.labels
        )
    first = found.filter(lambda row: not row.action)[0]
    place = keys.index(first.key)
    assert f"{first.kind}: {first.reason}" in tasks[place]["data"]["finding"]


def test_image_labels_odd_paths_and_what_is_no_number(tmp_path: Path) -> None:
    """Label Studio asks for the address of an image, in which a `&` would begin a parameter."""
    annotations = (
        AnnotationRecord("label", label=1),
        AnnotationRecord("bbox", coords=(1, 2, float("nan"), 4), label=0),
    )
    stores = MemoryStores()
    with stores.begin("s", VectorKind(2, "float32")) as writer:
        one = ItemRecord(ItemKey("train", "a"), path="x/a & b#1.jpg", width=10, height=8)
        writer.append(replace(one, annotations=annotations), np.array([1.0, 0.0]))
        writer.set_categories(Categories(("cat", "dog")))
        writer.seal({})
    store = stores.open("s")
    undecided = Findings([Finding.of("outlier", one.key, action="review", reason="odd")])
    for to in ("label_studio", "cvat", "fiftyone"):
        findings = None if to == "fiftyone" else undecided
        summary = convert_store(store, tmp_path / to, to=to, findings=findings)
        assert (summary.n_items, summary.skipped) == (1, {"bbox": 1})
    (task,) = json.loads((tmp_path / "label_studio" / "tasks.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=x/a%20%26%20b%231.jpg"
    (result,) = task["predictions"][0]["result"]
    assert (result["type"], result["value"]) == ("choices", {"choices": ["dog"]})
    config = ElementTree.parse(tmp_path / "label_studio" / "config.xml").getroot()
    assert [e.get("value") for e in config.findall("Choices[@name='choices']/Choice")] == [
        "cat",
        "dog",
    ]
    (sample,) = json.loads((tmp_path / "fiftyone" / "samples.json").read_text())["samples"]
    assert "ground_truth" not in sample
    assert sample["labels"]["classifications"] == [{"_cls": "Classification", "label": "dog"}]
    decided = Findings(replace(row, action="keep") for row in undecided)
    summary = convert_store(store, tmp_path / "none", to="cvat", findings=decided)
    assert summary.n_items == 0


def test_fiftyone_gets_boxes_splits_and_vectors(objects_store: Path, tmp_path: Path) -> None:
    folder = converted(objects_store, tmp_path / "fiftyone", "fiftyone")
    samples = json.loads((folder / "samples.json").read_text())["samples"]
    with open_store(objects_store) as store:
        assert len(samples) == len(store)
        for row, sample in enumerate(samples):
            item = store.item(row)
            assert Path(sample["filepath"]).is_file()
            assert (sample["subset"], sample["item_id"]) == (item.key.subset, item.key.id)
            assert sample["tags"] == [item.split.name.lower()]
            packed = b64decode(sample["embedding"]["$binary"]["base64"])
            vector = np.load(BytesIO(zlib.decompress(packed)))
            np.testing.assert_array_equal(vector, store.embeddings([row])[0])
            boxes = sample.get("ground_truth", {"detections": []})["detections"]
            size = (item.width, item.height) * 2
            for box, each in zip(boxes, item.annotations, strict=True):
                assert box["label"] == store.categories.labels[each.label]
                np.testing.assert_allclose(np.array(box["bounding_box"]) * size, each.coords)


def test_fiftyones_own_importer_reads_it(objects_store: Path, tmp_path: Path) -> None:
    """Its importer needs no database until samples are added to a dataset."""
    reason = "FiftyOne is not installed"
    importers = pytest.importorskip("fiftyone.utils.data.importers", reason=reason)
    importer = importers.LegacyFiftyOneDatasetImporter(
        str(converted(objects_store, tmp_path / "fiftyone", "fiftyone"))
    )
    importer.setup()
    samples = [*importer]
    with open_store(objects_store) as store:
        assert [sample["item_id"] for sample in samples] == [key.id for key in store.keys()]
        for row, sample in enumerate(samples):
            np.testing.assert_array_equal(sample["embedding"], store.embeddings([row])[0])
            n_boxes = len(sample["ground_truth"].detections) if "ground_truth" in sample else 0
            assert n_boxes == len(store.item(row).annotations)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    store = hostile_store(tmp_path)
    found = audit(store, only="outlier", media_root=tmp_path)
    for findings in (None, found):
        name = "all" if findings is None else "some"
        cvat = converted(store, tmp_path / f"cvat-{name}", "cvat", findings)
        root = ElementTree.parse(cvat / "annotations.xml").getroot()
        known = {"annotations", "version", "meta", "task", "name", "mode", "labels", "label"}
        known |= {"attributes", "attribute", "mutable", "input_type", "values", "image", "box"}
        assert {element.tag for element in root.iter()} <= known | {"tag"}
        config = converted(store, tmp_path / f"ls-{name}", "label_studio", findings) / "config.xml"
        tags = {element.tag for element in ElementTree.parse(config).getroot().iter()}
        controls = {"RectangleLabels", "PolygonLabels", "Label", "Choices", "Choice"}
        assert tags == {"View", "Header", "Image", *controls}
        converted(store, tmp_path / f"fo-{name}", "fiftyone")


def test_findings_of_other_images_or_for_other_formats_are_refused(
    objects_store: Path, found: Findings, tmp_path: Path
) -> None:
    rows = [replace(row, content_sha256="0" * 64) for row in found]
    with pytest.raises(UsageError, match="has another image there"):
        converted(objects_store, tmp_path / "x", "cvat", rows)
    with pytest.raises(UsageError, match="findings is for cvat and label_studio only"):
        converted(objects_store, tmp_path / "x", "csv", found)
    assert not (tmp_path / "x").exists()
