"""Formats are detected whatever else lies in a folder; and if not, it is said what is missing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from datumaro.components.dataset import Dataset

from adapter_support import (
    coco_box,
    coco_image,
    described,
    draw,
    images_below,
    write_coco_dataset,
)
from datumaro_embed.adapter import SourceDataset, import_dataset
from datumaro_embed.adapter.annotations import categories_record
from datumaro_embed.adapter.detecting import detect_format
from datumaro_embed.adapter.own_files import is_part_of_store
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import DatasetReadError, EmptyDatasetError
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.place import misdetection
from datumaro_embed.sharding import Shard
from support import SAMPLE


def write_coco(root: Path) -> None:
    write_coco_dataset(root, [coco_image(1, "a.jpg")], [coco_box(1, 1)])


def write_yolo(root: Path) -> None:
    draw(root / "images/train/a.jpg")
    (root / "labels/train").mkdir(parents=True)
    (root / "labels/train/a.txt").write_text("0 .5 .5 .2 .2\n")
    (root / "data.yaml").write_text("names: [cat, dog]\n")


def exported(format_name: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        coco = root.with_name("source")
        write_coco(coco)
        Dataset.import_from(str(coco), "coco").export(str(root), format_name, save_media=True)
        shutil.rmtree(coco)

    return write


def write_imagenet(root: Path) -> None:
    draw(root / "cat/a.jpg", root / "dog/b.jpg")


def write_subsets(root: Path) -> None:
    draw(root / "train/cat/a.jpg", root / "train/dog/b.jpg", root / "val/dog/c.jpg")


def write_images(root: Path) -> None:
    draw(root / "a.jpg", root / "b.jpg")


def write_nested(root: Path) -> None:
    write_coco(root / "inner")


WRITERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "coco": (write_coco, "coco"),
    "yolo": (write_yolo, "yolo"),
    "voc": (exported("voc"), "voc"),
    "datumaro": (exported("datumaro"), "datumaro"),
    "imagenet": (write_imagenet, "imagenet"),
    "imagenet with subsets": (write_subsets, "imagenet_with_subset_dirs"),
    "images": (write_images, "image_dir"),
    "COCO in a folder alone": (write_nested, "coco"),
}


BOTH = ("coco", "datumaro", "voc", "yolo")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that this package may leave beside images."""
    folder = tmp_path_factory.mktemp("stores")
    source = import_dataset(str(SAMPLE / "yolo")).source
    encoder, options = FakeEncoder(), EmbedOptions()
    for name in ("clip.h5", "clip.hdf5", f"kept{os.sep}"):
        embed_source(source, f"{folder}{os.sep}{name}", options, encoder=encoder)
    embed_source(source, folder / "p.h5", options, encoder=encoder, shard=Shard(2, 1))
    (folder / "clip.h5.usearch").write_bytes(b"index")
    (folder / ".datumaro-embed-1.tmp").write_bytes(b"half")
    (folder / "cut.h5").write_bytes((folder / "clip.h5").read_bytes()[:5000])
    shutil.copytree(folder / "kept", folder / "work.h5.work")
    shutil.copy(folder / "clip.h5", folder / "new.h5")
    with h5py.File(folder / "new.h5", "r+") as file:
        file.attrs["format_version"] = 99
    return folder


def contents(root: Path) -> object:
    source = import_dataset(str(root)).source
    return source.categories, [(item.key, item.path) for item in source]


@pytest.mark.parametrize("name", WRITERS)
def test_stores_in_a_dataset_change_nothing(name: str, stores: Path, tmp_path: Path) -> None:
    write, expected = WRITERS[name]
    root = tmp_path / "data"
    write(root)
    assert detect_format(root) == expected
    before = contents(root)
    for store in stores.iterdir():
        assert is_part_of_store(store), store
        (shutil.copytree if store.is_dir() else shutil.copy)(store, root / store.name)
    assert detect_format(root) == expected
    assert contents(root) == before


@pytest.mark.parametrize(("first", "second"), [(a, b) for a in BOTH for b in BOTH if a < b])
def test_two_formats_in_one_folder_are_an_error_that_names_both(
    first: str, second: str, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    for name in (first, second):  # exporting writes beside what is there
        WRITERS[name][0](tmp_path / name)
        shutil.copytree(tmp_path / name, root, dirs_exist_ok=True)
    with pytest.raises(DatasetReadError, match=rf"{root}:{first} or {root}:{second}\."):
        import_dataset(str(root))
    for name in (first, second):
        if {first, second} != {"coco", "datumaro"}:  # of one folder, which Datumaro reads whole
            assert len(import_dataset(f"{root}:{name}").source) == 1


@pytest.mark.parametrize("name", WRITERS)
def test_images_win_over_files_of_another_kind_beside_them(name: str, tmp_path: Path) -> None:
    write, expected = WRITERS[name]
    root = tmp_path / "data"
    write(root)
    before = contents(root)
    for file in ("labels.csv", "train.csv", "clip.mp4", "meta.json", "clip.h5", "old.zip"):
        (root / file).write_text("name,label\na,b\n")
    if name in ("imagenet", "images"):
        with pytest.raises(
            DatasetReadError, match=rf"no known dataset format\. .* {root}:{expected} "
        ):
            import_dataset(str(root))
    else:
        assert detect_format(root) == expected
        assert contents(root) == before


@pytest.mark.parametrize("folder", ["annotations", "."])
def test_coco_in_files_named_after_splits_wins_over_folders(folder: str, tmp_path: Path) -> None:
    for number, subset in enumerate(("train", "val")):
        write_coco_dataset(tmp_path / "made", [coco_image(1, f"{number}.jpg")], [coco_box(1, 1)])
        draw(tmp_path / "data" / subset / f"{number}.jpg")
        (tmp_path / "data" / folder).mkdir(exist_ok=True)
        source = tmp_path / "made/annotations/instances_train.json"
        shutil.move(source, tmp_path / "data" / folder / f"{subset}.json")
    found = described(import_dataset(str(tmp_path / "data")))
    assert list(found) == ["train/0", "val/1"]
    assert all(annotations for annotations in found.values())


BOTH_WAYS = "imagenet or imagenet_with_subset_dirs"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("bus/a.jpg car/b.jpg train/c.jpg", BOTH_WAYS),
        ("test/a.jpg control/b.jpg", BOTH_WAYS),
        ("train/a.jpg", BOTH_WAYS),
        ("training/cat/a.jpg validation/cat/b.jpg holdout/cat/c.jpg", BOTH_WAYS),
        ("train/a.jpg val/b.jpg", "imagenet_with_subset_dirs"),
        ("train/cat/a.jpg valid/cat/b.jpg test/c.jpg d.jpg", "imagenet_with_subset_dirs"),
        ("train/cat/a.jpg train/dog/b.jpg", "imagenet_with_subset_dirs"),
        ("train/cat/a.jpg val/cat/b.jpg docs/c.md README.md", "imagenet_with_subset_dirs"),
        ("bus/train/a.jpg car/test_drive/b.jpg", "imagenet"),
        ("train/images/a.jpg val/images/b.jpg", None),
        ("train/cat/a.jpg val/cat/b.jpg val/cat/c.txt", None),
    ],
)
def test_a_folder_called_train_is_a_subset_only_where_it_can_be_no_class(
    files: str, expected: str | None, tmp_path: Path
) -> None:
    for file in files.split():
        draw(tmp_path / file) if file.endswith(".jpg") else write_text(tmp_path / file)
    if expected in ("imagenet", "imagenet_with_subset_dirs"):
        assert detect_format(tmp_path) == expected
        return
    names = expected.split(" or ") if expected else []
    said = " or ".join(f"{tmp_path}:{name}" for name in names) or "no known dataset format"
    with pytest.raises(DatasetReadError, match=said):
        import_dataset(str(tmp_path))


def write_text(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("text")


def test_subsets_without_labels_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw(tmp_path / "train/a.jpg", tmp_path / "val/b.jpg")
    assert import_dataset(str(tmp_path)).source.categories.labels == ()
    assert "as subsets: no item has a label" in caplog.text
    assert f"Use {tmp_path}:imagenet to read them as labels" in caplog.text


def test_what_datumaro_cannot_read_says_as_what_and_how_else(tmp_path: Path) -> None:
    draw(tmp_path / "train/0.png", tmp_path / "trainannot/0.png")
    (tmp_path / "train.txt").write_text("train/0.png trainannot/0.png\n")
    said = rf"cannot import this as camvid .*, or use {tmp_path}:image_dir for images"
    with pytest.raises(DatasetReadError, match=said):
        import_dataset(str(tmp_path))


def test_folder_names_that_become_labels_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    draw(tmp_path / "2024/a.jpg", tmp_path / "2025/b.gif", tmp_path / "2025/a.jpg")
    assert import_dataset(str(tmp_path)).source.categories.labels == ("2024", "2025")
    assert f"Use {tmp_path}:image_dir to read the images without labels" in caplog.text
    caplog.clear()
    assert described(import_dataset(f"{tmp_path}:image_dir")) == {
        "default/2024/a": [],
        "default/2025/a": [],
        "default/2025/b": [],
    }
    import_dataset(f"{tmp_path}:imagenet")
    assert not caplog.records


def test_a_dataset_of_hdf5_files_is_still_detected(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "00001.h5", "w") as file:
        file["rgb"] = np.zeros((3, 8, 8), np.uint8)
        file["depth"] = np.zeros((8, 8), np.float32)
    assert detect_format(tmp_path) == "nyu_depth_v2"
    assert not is_part_of_store(tmp_path / "00001.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    assert not is_part_of_store(tmp_path / "text.h5")


CLUTTER = (".DS_Store", "Thumbs.db", "desktop.ini", "._a")


@pytest.mark.parametrize("name", WRITERS)
def test_clutter_in_every_folder_changes_nothing(name: str, tmp_path: Path) -> None:
    write, expected = WRITERS[name]
    root = tmp_path / "data"
    write(root)
    before = contents(root)
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for clutter in CLUTTER:
            (folder / clutter).write_bytes(b"\0\0\0\1Bud1")
    assert detect_format(root) == expected
    assert contents(root) == before


@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"datumaro"}))
def test_extensions_in_upper_case_are_those_of_images(name: str, tmp_path: Path) -> None:
    suffix = ".JPEG"
    write, expected = WRITERS[name]
    root = tmp_path / "data"
    write(root)
    n_items = len(import_dataset(str(root)).source)
    for path in [*root.rglob("*.jpg")]:
        path.rename(path.with_suffix(suffix))
    for path in root.rglob("*.json"):
        path.write_text(path.read_text().replace(".jpg", suffix))
    assert detect_format(root) == expected
    imported = import_dataset(str(root))
    assert len(imported.source) == n_items == len(images_below(root))
    assert all((imported.source.root / item.path).is_file() for item in imported.source)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], ["no files"]),
        (["a/b/x.txt"], ["1 .txt file in a/b/", "image_dir: not only images"]),
        (["images/a.jpg", "images/b.jpg"], ["2 .jpg files in images/", "coco: no annotations/*"]),
        (["images/a.jpg", "conf.yaml"], ["yolo: no data.yaml", "(conf.yaml names no classes)"]),
        (["images/a.jpg", "labels/a.txt"], ["yolo: no data.yaml", "/images:image_dir"]),
        (["JPEGImages/a.jpg", "Annotations/a.xml"], ["voc: Annotations/*.xml, but no ImageSets"]),
        (["cat/a.jpg", "dog/b.jpg", "README.txt"], ["(README.txt is not one)", ":imagenet where"]),
        (["a.jpg", "notes.md"], ["not only images (notes.md is not one)", "data:image_dir for"]),
        (["annotations/x.json", "images/a.jpg"], ["(annotations/x.json is not one)"]),
    ],
)
def test_what_is_not_recognised_says_what_was_looked_for(
    files: list[str], said: list[str], tmp_path: Path
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    with pytest.raises(DatasetReadError) as caught:
        import_dataset(str(root))
    if files:
        said = [*said, "Not recognized as coco: ", "; yolo: ", "; voc: ", "or give the format: "]
    for words in [*said, "Check the path"]:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_subsets_of_other_classes_have_the_labels_of_all(tmp_path: Path) -> None:
    draw(tmp_path / "train/cat/a.jpg", tmp_path / "train/emu/b.jpg")
    draw(tmp_path / "val/dog/c.jpg", tmp_path / "val/emu/small/d.jpg")
    imported = import_dataset(str(tmp_path))
    assert imported.source.categories.labels == ("cat", "dog", "emu", "emu/small")
    assert described(imported) == {
        "train/cat:a": [("label", "cat")],
        "train/emu:b": [("label", "emu")],
        "val/dog:c": [("label", "dog")],
        "val/emu/small:d": [("label", "emu/small")],
    }


@pytest.mark.parametrize("format_name", ["imagenet", "imagenet_with_subset_dirs"])
def test_folders_are_read_as_datumaro_reads_them(format_name: str, tmp_path: Path) -> None:
    for subset in ("train", "val"):
        draw(tmp_path / subset / "bb/x.jpg", tmp_path / subset / "a/10/x.jpg")
        draw(tmp_path / subset / "a/2/y.jpg", tmp_path / subset / "a/b/c/z.jpg")
    theirs = Dataset.import_from(str(tmp_path), format_name)
    ours = import_dataset(f"{tmp_path}:{format_name}").source
    assert ours.categories == categories_record(theirs.categories())
    expected = {str(item.key): item for item in SourceDataset(theirs, root=tmp_path)}
    assert [str(item.key) for item in ours] == sorted(expected)
    for item in ours:
        assert item.path == expected[str(item.key)].path
        assert item.record(None, 1, b"") == expected[str(item.key)].record(None, 1, b"")


def test_classes_of_one_letter_or_digit(tmp_path: Path) -> None:
    draw(tmp_path / "A/x.jpg", tmp_path / "b/x.jpg", tmp_path / "7/x.jpg", tmp_path / "10/x.jpg")
    assert described(import_dataset(str(tmp_path))) == {
        "default/A/x": [("label", "A")],
        "default/b/x": [("label", "b")],
        "default/7:x": [("label", "7")],
        "default/10:x": [("label", "10")],
    }


def test_the_named_way_works_where_the_format_is_not_recognised(tmp_path: Path) -> None:
    write_imagenet(tmp_path)
    (tmp_path / "README.txt").write_text("mine")
    imported = import_dataset(f"{tmp_path}:imagenet")
    assert [str(item.key) for item in imported.source] == ["default/cat:a", "default/dog:b"]
    assert len(import_dataset(f"{tmp_path / 'cat'}:image_dir").source) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.jpg", "this is a single image. Use its folder"),
        ("a.zip", "this is an archive. Unpack it"),
        ("a.json", "this file has no COCO annotations"),
        ("a.txt", "this is a file. Give the path of a dataset's folder"),
        ("a.h5", "this is a file. Give the path of a dataset's folder"),
        ("clip.h5", "this is an embedding store. Give the path of its dataset"),
    ],
)
def test_a_file_that_is_no_dataset(name: str, said: str, stores: Path, tmp_path: Path) -> None:
    if name == "clip.h5":
        shutil.copy(stores / name, tmp_path)
    else:
        (tmp_path / name).write_text("{}")
    with pytest.raises(DatasetReadError, match=said):
        import_dataset(str(tmp_path / name))


def test_what_is_not_there_or_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetReadError, match="no such dataset"):
        import_dataset(str(tmp_path / "none"))
    (tmp_path / "link").symlink_to(tmp_path / "none")
    with pytest.raises(DatasetReadError, match="cannot be read"):
        import_dataset(str(tmp_path / "link"))
    with pytest.raises(DatasetReadError, match="no format 'nonsense'"):
        import_dataset(f"{SAMPLE / 'coco'}:nonsense")
    with pytest.raises(DatasetReadError, match=r"no image_zip dataset found here. Found: \d+ "):
        import_dataset(f"{SAMPLE / 'coco'}:image_zip")


def test_a_class_name_twice_is_named(tmp_path: Path) -> None:
    exported("datumaro")(tmp_path / "data")
    (file,) = (tmp_path / "data" / "annotations").glob("*.json")
    body = json.loads(file.read_text())
    labels = body["categories"]["label"]["labels"]
    labels.append(dict(labels[0]))
    file.write_text(json.dumps(body))
    with pytest.raises(DatasetReadError, match=r"two classes are called 'cat'\. Rename one"):
        import_dataset(str(tmp_path / "data"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    write_imagenet(tmp_path / "data")
    (tmp_path / "data").chmod(0)
    try:
        with pytest.raises(DatasetReadError, match=r"cannot be read\. Check its permissions"):
            import_dataset(str(tmp_path / "data"))
    finally:
        (tmp_path / "data").chmod(0o755)


def test_an_empty_dataset_says_what_was_lost_and_what_is_there(tmp_path: Path) -> None:
    write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")])
    file = tmp_path / "annotations/instances_train.json"
    body = json.loads(file.read_text())
    body["images"] = [{"id": 1, "width": 3}, {"id": 2, "file_name": "../x.jpg"}]
    file.write_text(json.dumps(body))
    with pytest.raises(EmptyDatasetError) as caught:
        import_dataset(str(tmp_path))
    said = str(caught.value)
    assert "read as coco" in said
    assert "1 image entry without a file name" in said
    assert "1 .jpg file in images/train/" in said


def test_where_datum_would_be_misled(tmp_path: Path) -> None:
    assert "Name the store clip.hdf5" in misdetection(tmp_path / "clip.h5", tmp_path)
    assert misdetection(tmp_path / "clip.hdf5", tmp_path) == ""
    assert misdetection(tmp_path / "stores" / "clip.h5", tmp_path) == ""
    assert misdetection(f"{tmp_path}/clip", tmp_path) == ""
