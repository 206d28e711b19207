"""Image files that no item has are counted; masks, previews and hidden files are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datumaro.components.dataset import Dataset

from adapter_support import coco_box, coco_image, draw, lost, write_coco_dataset, write_document
from datumaro_embed.adapter import SourceDataset, import_dataset, unused_images
from datumaro_embed.adapter.disk import count_unused_images, is_mask_folder
from datumaro_embed.adapter.fence import Fence
from datumaro_embed.kinds import is_image_name
from datumaro_embed.tally import Tally
from support import assert_all_accounted

UNUSED = "image files without an item"
OTHER_TYPE = "image files of types that Datumaro does not look for"
TWIN = "image files whose name differs from another only in the extension"


def named(root: Path, files: list[str]) -> list[tuple[str, str]]:
    """Return files with the ids that items of a flat folder have."""
    return [(str(root / name) if name else "", Path(name).stem) for name in files]


def unused(root: Path, files: list[str], format_name: str = "") -> dict[str, int]:
    losses = Tally()
    count_unused_images(named(root, files), root, losses, format_name=format_name)
    return {reason.text: reason.count for reason in losses}


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("names", "n_counted"),
    [
        # Wherever they lie.
        (["images/train/b.jpg", "images/train/x/c.JPEG", "images/test/d.png", "images/e.bmp"], 4),
        (["other/b.jpg", "b.jpg", "masks/train/a.png", "runs/train/a.jpg"], 3),
        (["images/masks/a.png", "images/train_masks/a.png", "images/SegmentationClass/a.png"], 0),
        (["trainannot/a.png", "gtFine/train/a.png", "GTLeft/a.png", "SemSeg/a.png"], 0),
        ([".hidden.jpg", "images/.cache/b.jpg", "images/__MACOSX/b.jpg", "images/Thumbs.db"], 0),
        (["images/train/._b.jpg", "images/.DS_Store", "images/a.txt", "images/b"], 0),
        (["images/train/a_seg.png", "images/train/a_parts_1.png", "images/train/a-mask.png"], 0),
        (["images/train/b_mask.png", "images/train/a_seg_2.jpg"], 2),  # of no item's name
    ],
)
def test_image_folders(tmp_path: Path, names: list[str], n_counted: int) -> None:
    touch(tmp_path, "images/train/a.jpg", *names)
    found = unused(tmp_path, ["images/train/a.jpg"])
    assert sum(found.values()) == n_counted
    assert set(found) <= {UNUSED}


def test_folders_beside_one_that_an_id_names(tmp_path: Path) -> None:
    images = [coco_image(1, "cat/a.jpg")]
    write_document(tmp_path / "annotations/instances_train.json", images)
    draw(tmp_path / "cat/a.jpg", tmp_path / "dog/b.gif", tmp_path / "masks/a.png")
    imported = import_dataset(str(tmp_path))
    assert lost(imported) == {OTHER_TYPE: 1}
    assert_all_accounted(tmp_path, imported, without=("masks",))


def test_splits_beside_each_other(tmp_path: Path) -> None:
    names = ["val2017/a.jpg", "test2017/x/b.jpg", "val_masks/a.png", "validation_masks/a.png"]
    touch(tmp_path, "train2017/a.jpg", *names, "previews/a.jpg")
    assert unused(tmp_path, ["train2017/a.jpg"]) == {UNUSED: 3}
    assert unused(tmp_path, ["train2017/a.jpg"], "yolo") == {UNUSED: 5}  # which has no masks


def test_a_folder_around_items_is_none_of_masks(tmp_path: Path) -> None:
    touch(tmp_path, "masks/1/a.jpg", "masks/2/b.jpg", "masks/1/mask/a.png")
    assert unused(tmp_path, ["masks/1/a.jpg"]) == {UNUSED: 1}


def test_types_that_datumaro_does_not_look_for(tmp_path: Path) -> None:
    names = [f"cat/b.{extension}" for extension in ("heic", "AVIF", "jxl", "gif", "dcm", "svg")]
    touch(tmp_path, "cat/a.jpg", *names, "with_mask/c.HEIC")
    assert unused(tmp_path, ["cat/a.jpg"]) == {OTHER_TYPE: 6}
    assert unused(tmp_path, ["cat/a.jpg"], "imagenet") == {OTHER_TYPE: 7}


def test_one_stem_and_two_extensions(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.jpg", "x/a.png", "x/b.png", "y/a.png")
    losses = Tally()
    count_unused_images(named(tmp_path, ["x/a.jpg"]), tmp_path, losses)
    assert [(each.text, each.examples) for each in losses] == [
        (UNUSED, ("x/b.png", "y/a.png")),
        (TWIN, ("x/a.png beside a.jpg",)),
    ]


def test_links_are_known_by_what_they_lead_to(tmp_path: Path) -> None:
    root = touch(tmp_path / "d", "images/train/a.jpg", "images/train/own.jpg", "images/b.jpg")
    touch(tmp_path / "out", "c.jpg", "more/d.jpg")
    (root / "images/train/to_own.jpg").symlink_to("own.jpg")  # the target has an item
    (root / "images/train/item.jpg").symlink_to("../b.jpg")  # and here the link
    (root / "images/train/out.jpg").symlink_to(tmp_path / "out/c.jpg")
    (root / "images/val").symlink_to(tmp_path / "out/more")
    (root / "images/loop").symlink_to(root)
    used = [f"images/train/{name}.jpg" for name in ("a", "own", "item")]
    assert unused(root, used) == {UNUSED: 1}  # out.jpg
    losses = Tally()
    count_unused_images(named(root, used), root, losses, follow_symlinks=True)
    assert [each.examples for each in losses] == [("images/train/out.jpg", "images/val/d.jpg")]
    (tmp_path / "link").symlink_to(root)
    assert unused(tmp_path / "link", used) == {UNUSED: 1}


def test_nothing_is_counted_where_items_have_no_image_files(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "video.mp4")
    assert unused(tmp_path, []) == {}
    assert unused(tmp_path, ["video.mp4", ""]) == {}


def test_coco_with_images_that_it_does_not_list(tmp_path: Path) -> None:
    write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")], [coco_box(1, 1)])
    draw(tmp_path / "images/train/b.jpg", tmp_path / "images/test/c.jpg", tmp_path / "extra/d.jpg")
    touch(tmp_path, "images/train/e.heic", "annotations/panoptic_train/a.png")
    imported = import_dataset(str(tmp_path))
    assert lost(imported) == {UNUSED: 3, OTHER_TYPE: 1}
    assert_all_accounted(tmp_path, imported, without=("annotations",))


def test_panoptic_masks_are_no_images(tmp_path: Path) -> None:
    draw(tmp_path / "val2017/1.jpg", tmp_path / "panoptic_val2017/1.png")
    draw(tmp_path / "annotations/panoptic_val2017/1.png")
    segment = {"image_id": 1, "file_name": "1.png", "segments_info": []}
    file = tmp_path / "annotations/panoptic_val2017.json"
    write_document(file, [coco_image(1, "1.jpg")], [segment])
    imported = import_dataset(str(tmp_path))
    assert not [loss for loss in imported.losses if "image files" in loss.text]


def test_a_folder_of_images_has_every_image_below_it(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg", tmp_path / "x/b.png")
    touch(tmp_path, "c.heic", "with_mask/d.avif", "notes.txt", ".cache/e.png")
    imported = import_dataset(f"{tmp_path}:image_dir")
    assert lost(imported) == {}
    assert len(imported.source) == 4
    assert_all_accounted(tmp_path, imported)


def test_voc_with_an_image_of_no_list(tmp_path: Path) -> None:
    draw(*(tmp_path / f"JPEGImages/{name}.jpg" for name in "ab"))
    draw(tmp_path / "SegmentationClass/a.png")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\n")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/a.xml").write_text(
        "<annotation><filename>a.jpg</filename><size><width>96</width><height>64</height></size>"
        "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax>"
        "</bndbox></object></annotation>"
    )
    imported = import_dataset(f"{tmp_path}:voc")
    assert lost(imported)[UNUSED] == 1
    assert_all_accounted(tmp_path, imported, without=("SegmentationClass",))


def test_datumaros_own_format(tmp_path: Path) -> None:
    draw(tmp_path / "images/train/a.jpg", tmp_path / "images/train/b.jpg")
    (tmp_path / "annotations").mkdir()
    item = {"id": "a", "annotations": [], "image": {"path": "a.jpg", "size": [64, 96]}}
    body = {"infos": {}, "categories": {}, "items": [item]}
    (tmp_path / "annotations/train.json").write_text(json.dumps(body))
    imported = import_dataset(f"{tmp_path}:datumaro")
    assert lost(imported) == {UNUSED: 1}
    assert_all_accounted(tmp_path, imported)


@pytest.mark.parametrize("split_first", [False, True])
def test_what_datumaro_has_imported_itself(tmp_path: Path, split_first: bool) -> None:
    """The transform knows items alone; the folder in which they lie tells the rest."""
    line = "0 0.5 0.5 0.2 0.2\n"
    place = "{1}/{0}" if split_first else "{0}/{1}"
    (tmp_path / "data.yaml").write_text("names: [cat]\n")
    for subset, name in (("train", "a"), ("train", "b"), ("val", "c")):
        draw(tmp_path / place.format("images", subset) / f"{name}.jpg")
        if name == "a":
            label = tmp_path / place.format("labels", subset) / f"{name}.txt"
            label.parent.mkdir(parents=True)
            label.write_text(line)
    draw(tmp_path / "other.jpg")
    name = "roboflow_yolo" if split_first else "yolo"
    dataset = Dataset.import_from(str(tmp_path), name)
    items_alone = Dataset.from_iterable([*dataset], categories=dataset.categories())
    assert len(dataset) == 1
    for source in (dataset, items_alone):
        found = unused_images(SourceDataset(source))
        assert [(each.text, each.count) for each in found] == [(UNUSED, 3)]


def test_the_transform_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Datumaro has no item for images without a label file; the transform sees its items alone."""
    draw(*(tmp_path / f"images/train/{name}.jpg" for name in "abc"))
    (tmp_path / "data.yaml").write_text("names: [cat]\n")
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    dataset = Dataset.import_from(str(tmp_path), "yolo")
    dataset.transform("clip_embed", store=str(tmp_path / "e.hdf5"), model="demo")
    assert len([*dataset]) == 1
    (warning,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "no item for 2 image files" in warning
    assert "images/train/b.jpg, images/train/c.jpg" in warning
    assert "datumaro-embed embed" in warning


def test_a_walk_ends_whatever_links_there_are(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abcdef"]
    for folder in folders:
        folder.mkdir()
        touch(folder, "x.jpg")
    for folder in folders:
        for other in folders:
            (folder / f"to_{other.name}").symlink_to(other)
    losses = Tally()
    walked = list(Fence(tmp_path).walk(losses))
    assert len(walked) <= 1 + 6 + 6 * 8
    assert {folder.path for folder in walked} >= {str(folder) for folder in folders}
    assert {loss.text for loss in losses} == {"folders skipped because too many links lead there"}


def test_folders_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg")
    (tmp_path / "gone").symlink_to(tmp_path / "a")
    fence, losses = Fence(tmp_path), Tally()
    walk = fence.walk(losses)
    next(walk)  # the folder is taken away while the walk is under way
    (tmp_path / "a/x.jpg").unlink()
    (tmp_path / "a").rmdir()
    assert [folder.path for folder in walk] == []
    assert lost_examples(losses) == [
        "a: No such file or directory",
        "gone: No such file or directory",
    ]


def lost_examples(losses: Tally) -> list[str]:
    return sorted(example for loss in losses for example in loss.examples)


def test_names() -> None:
    assert all(map(is_image_name, ["a.jpg", "a.b.JPEG", "x.HeIc", "a.tiff", "a.PNG"]))
    assert not any(map(is_image_name, ["jpg", ".jpg.txt", "a.json", "a.mp4", "Thumbs.db", "a"]))
    assert all(map(is_mask_folder, ["masks", "train_masks", "SegmentationClassAug", "gtFine"]))
    assert not any(map(is_mask_folder, ["images", "maskeddata", "labelled_photos", "train"]))
