"""Folders of images, ImageNet and Pascal VOC: every image on disk is a row, or named."""

from __future__ import annotations

from pathlib import Path

import pytest
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from adapter_support import described, draw, import_all, lost, records
from datumaro_embed.adapter import ImportedDataset, import_dataset
from datumaro_embed.adapter.same_stem import with_distinct_ids
from datumaro_embed.tally import Tally


def paths(imported: ImportedDataset) -> dict[str, str]:
    return {key: record.path for key, record in records(imported).items()}


def test_a_folder_of_images(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "a.JPEG", "b.jpg", "c.TIFF", "c.webp", "a.png.jpg", "b.gif"]
    draw(*(tmp_path / name for name in names))
    imported = import_all(tmp_path, f"{tmp_path}:image_dir")
    assert lost(imported) == {}
    assert paths(imported) == {
        "default/a": "a.JPEG",
        "default/a.jpg": "a.jpg",
        "default/a.png": "a.png.jpg",  # its own id, which comes first
        "default/b": "b.gif",
        "default/b.jpg": "b.jpg",
        "default/c": "c.TIFF",
        "default/c.webp": "c.webp",
        "default/a.png.png": "a.png",
    }


def test_imagenet(tmp_path: Path) -> None:
    names = ["cat/a.jpg", "cat/a.png", "cat/b.JPEG", "dog/a.jpg", "7/x.gif", "7/x.jpg", "7/x.png"]
    draw(*(tmp_path / name for name in names))
    imported = import_all(tmp_path, f"{tmp_path}:imagenet")
    assert lost(imported) == {}
    assert imported.source.categories.labels == ("7", "cat", "dog")
    assert paths(imported)["default/cat:a"] == "cat/a.jpg"
    assert described(imported) == {
        "default/7:x": [("label", "7")],
        "default/7:x.jpg": [("label", "7")],
        "default/7:x.png": [("label", "7")],
        "default/cat:a": [("label", "cat")],
        "default/cat:a.png": [("label", "cat")],
        "default/cat:b": [("label", "cat")],
        "default/dog:a": [("label", "dog")],
    }


@pytest.mark.parametrize("suffix", ["", ":imagenet_with_subset_dirs"])
def test_imagenet_with_subsets(tmp_path: Path, suffix: str) -> None:
    names = ["train/cat/a.jpg", "train/cat/a.png", "train/dog/a.png", "val/cat/a.png"]
    draw(*(tmp_path / name for name in names), tmp_path / "val/dog/b.jpg")
    imported = import_all(tmp_path, f"{tmp_path}{suffix}")
    assert lost(imported) == {}
    assert described(imported) == {
        "train/cat:a": [("label", "cat")],
        "train/cat:a.png": [("label", "cat")],
        "train/dog:a": [("label", "dog")],
        "val/cat:a": [("label", "cat")],
        "val/dog:b": [("label", "dog")],
    }


def write_voc(root: Path, names: dict[str, str | None], folder: str = "JPEGImages") -> None:
    """Write items; each has an XML file that names an image, or none where that is None."""
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "ImageSets/Main/train.txt").write_text("".join(f"{name}\n" for name in names))
    (root / "Annotations").mkdir()
    for name, image in names.items():
        if image is not None:
            (root / f"Annotations/{name}.xml").write_text(
                f"<annotation><filename>{image}</filename>"
                "<size><width>96</width><height>64</height></size>"
                "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin>"
                "<xmax>11</xmax><ymax>22</ymax></bndbox></object></annotation>"
            )


def test_voc_images_are_those_of_the_items(tmp_path: Path) -> None:
    named = {"a": "a.png", "b": None, "c": "c.jpg", "d": "a.png", "e": "gone.jpg", "f": "f"}
    write_voc(tmp_path, named)
    on_disk = ["a.jpg", "a.png", "b.png", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"]
    draw(*(tmp_path / "JPEGImages" / name for name in on_disk))
    twins = ["JPEGImages/a.jpg", "JPEGImages/b.png"]
    imported = import_all(tmp_path, f"{tmp_path}:voc", without=twins)
    assert paths(imported) == {
        "train/a": "JPEGImages/a.png",  # as its XML file says
        "train/b": "JPEGImages/b.jpg",
        "train/c": "JPEGImages/c.jpg",
        "train/d": "JPEGImages/d.jpg",
        "train/e": "JPEGImages/e.jpg",
        "train/f": "JPEGImages/f.jpg",
    }
    assert {key for key, found in described(imported).items() if found} == {
        "train/a", "train/c", "train/d", "train/e", "train/f",
    }  # fmt: skip
    assert lost(imported)["items whose XML file names another image, not read"] == 3


def test_voc_items_without_an_image_stay(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a": "a.jpg", "gone": "gone.jpg", "none": None})
    draw(tmp_path / "JPEGImages/a.jpg")
    imported = import_dataset(f"{tmp_path}:voc_detection")
    assert paths(imported) == {
        "train/a": "JPEGImages/a.jpg",
        "train/gone": "JPEGImages/gone.jpg",
        "train/none": "",
    }


def test_voc_of_roboflow(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        draw(tmp_path / split / "a.jpg", tmp_path / split / "b.jpg")
        for name, image in (("a", "a.jpg"), ("b", "other.jpg")):
            (tmp_path / split / f"{name}.xml").write_text(
                f"<annotation><filename>{image}</filename>"
                "<source><database>roboflow.ai</database></source>"
                "<size><width>96</width><height>64</height></size></annotation>"
            )
    imported = import_all(tmp_path, f"{tmp_path}:roboflow_voc")
    assert lost(imported) == {"items whose XML file names another image, not read": 2}
    assert paths(imported)["valid/b"] == "valid/b.jpg"


def test_one_file_is_one_item() -> None:
    losses = Tally()
    items = [
        DatasetItem("a", subset="train", media=Image.from_file(path))
        for path in ("/x/a.png", "/x/a.jpg", "/x/a.png", "/y/a.jpg", "/x/a.jpg")
    ]
    found = with_distinct_ids([*items, DatasetItem("a"), DatasetItem("a")], losses)
    assert [(item.subset, item.id, item.media and item.media.path) for item in found] == [
        ("default", "a", None),
        ("train", "a", "/x/a.jpg"),
        ("train", "a.png", "/x/a.png"),
        ("train", "a.jpg", "/y/a.jpg"),
    ]
    assert {reason.text: reason.count for reason in losses} == {
        "items with the id of another item": 3
    }
