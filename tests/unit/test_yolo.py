"""YOLO: every image is a row, under the right subset, with the right picture and labels."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapter_support import described, draw, lost, records
from datumaro_embed.adapter import ImportedDataset, import_dataset
from datumaro_embed.adapter.yolo import holds_yolo
from datumaro_embed.errors import DatasetReadError, EmptyDatasetError
from support import SAMPLE, assert_all_accounted

LINE = "0 .5 .5 .2 .2\n"
NAMES = "names: [cat, dog]\n"
CAT = ("bbox", "cat")
DOG = ("bbox", "dog")
NO_LABEL = "images without a label file, stored without annotations"
UNUSED = "image files without an item"


def write(root: Path, files: dict[str, str | None]) -> Path:
    """Write texts, and a picture for each name without one."""
    for name, text in files.items():
        if text is None:
            draw(root / name)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
    return root


def imported_all(root: Path, suffix: str = "") -> ImportedDataset:
    imported = import_dataset(f"{root}{suffix}")
    assert_all_accounted(root, imported)
    return imported


def paths(imported: ImportedDataset) -> dict[str, str]:
    return {str(item.key): item.path for item in imported.source}


def test_every_image_is_a_row_whatever_its_label_file_looks_like(tmp_path: Path) -> None:
    lines = {
        "ok": LINE,
        "sci": "0 .5 .5 9e-05 .2\n",
        "neg": "0 -.01 .5 .2 .2\n",
        "trail": "0 .5 .5 .2 .2 \n",
        "tab": LINE.replace(" ", "\t"),
        "blank1st": "\n" + LINE,
        "bom": "\ufeff" + LINE,
        "crlf": LINE.replace("\n", "\r\n"),
        "float_class": "0.0 .5 .5 .2 .2",
        "confidence": "0 .5 .5 .2 .2 .97\n",
        "plus": "+0 +.5 5e-1 2E-1 .2",
    }
    files = {f"labels/train/{name}.txt": text for name, text in lines.items()}
    pictures = {f"images/train/{name}.jpg": None for name in [*lines, "bg"]}
    # An unlabelled folder, and one that data.yaml does not name.
    more = {"images/test/t1.jpg": None, "data.yaml": "train: images/train\n" + NAMES}
    imported = imported_all(write(tmp_path, {**files, **pictures, **more}))
    assert described(imported) == {
        **{f"train/{name}": [CAT] for name in lines},
        "train/bg": [],
        "test/t1": [],
    }
    assert lost(imported) == {NO_LABEL: 2}
    boxes = {key: record.annotations for key, record in records(imported).items()}
    assert boxes["train/ok"][0].coords == pytest.approx((38.4, 25.6, 19.2, 12.8))
    assert boxes["train/tab"] == boxes["train/ok"] == boxes["train/plus"]
    assert boxes["train/confidence"][0].attributes == {"confidence": 0.97}


def test_utf_16_as_windows_writes_it(tmp_path: Path) -> None:
    write(tmp_path, {"data.yaml": NAMES, "images/a.jpg": None, "labels/b.txt": ""})
    (tmp_path / "labels/a.txt").write_bytes(LINE.encode("utf-16"))
    assert described(imported_all(tmp_path)) == {"default/a": [CAT]}


@pytest.mark.parametrize(
    ("text", "reason", "example", "n_kept"),
    [
        ("0 .5 .5 .2\n", "neither a box nor a polygon", ":1: 4 values", 0),
        (LINE + "0 1 2 3 4 5 6 7\n", "neither a box nor a polygon", ":2: 8 values", 1),
        ("0 .5 .5 .2 .2 17\n", "neither a box nor a polygon", ":1: 6 values", 0),
        ("cat .5 .5 .2 .2\n" + LINE, "not numbers", ":1: cat", 1),
        ("0,.5,.5,.2,.2\n", "not numbers", ":1: 0,.5", 0),
        ("0 nan .5 .2 .2\n", "NaN or infinite", ":1: nan", 0),
        ("0 .5 .5 1e999 .2\n", "NaN or infinite", ":1: 1e999", 0),
        ("0 .5 .5 1e300 .2\n", "far outside the image", ":1: ", 0),
        (LINE + "\n7 .5 .5 .2 .2\n", "unnamed class", ":3: class 7, but data.yaml names 0 to 1", 1),
        ("-1 .5 .5 .2 .2\n", "unnamed class", ":1: class -1", 0),
        ("1.5 .5 .5 .2 .2\n", "not a whole number", ":1: 1.5", 0),
    ],
)
def test_a_bad_line_costs_itself_and_is_named(
    tmp_path: Path, text: str, reason: str, example: str, n_kept: int
) -> None:
    write(tmp_path, {"data.yaml": NAMES, "images/train/a.jpg": None, "labels/train/a.txt": text})
    imported = imported_all(tmp_path)
    assert described(imported) == {"train/a": [CAT] * n_kept}
    (loss,) = imported.losses
    assert reason in loss.text
    assert loss.count == 1
    assert f"labels/train/a.txt{example}" in loss.examples[0]


def test_bytes_that_are_no_text_cost_their_line(tmp_path: Path) -> None:
    write(tmp_path, {"data.yaml": NAMES, "images/a.jpg": None, "labels/x.txt": ""})
    (tmp_path / "labels/a.txt").write_bytes(b"0 .5 .5 \xff .2\n\0\0\n" + LINE.encode())
    imported = imported_all(tmp_path)
    assert described(imported) == {"default/a": [CAT]}
    assert lost(imported)["label lines with values that are not numbers"] == 2


def test_segments_and_oriented_boxes_are_polygons(tmp_path: Path) -> None:
    lines = "0 .1 .1 .4 .1 .4 .4\n1 .1 .1 .5 .1 .5 .5 .1 .5\n" + LINE
    write(tmp_path, {"data.yaml": NAMES, "images/train/a.jpg": None, "labels/train/a.txt": lines})
    imported = imported_all(tmp_path)
    assert described(imported) == {"train/a": [CAT, ("polygon", "cat"), ("polygon", "dog")]}
    assert not imported.losses
    triangle = records(imported)["train/a"].annotations[1]
    assert triangle.coords == pytest.approx((9.6, 6.4, 38.4, 6.4, 38.4, 25.6))


def test_a_pose_is_a_box_and_its_points(tmp_path: Path) -> None:
    config = NAMES + "kpt_shape: [2, 3]\n"
    lines = "0 .5 .5 .2 .2 .4 .4 2 .6 .6 1\n" + LINE + "1 .5 .5 .2 .2 .4 .4 9 .6 .6 1\n"
    write(tmp_path, {"data.yaml": config, "images/train/a.jpg": None, "labels/train/a.txt": lines})
    imported = imported_all(tmp_path)
    assert described(imported) == {"train/a": [CAT, CAT, ("points", "cat")]}
    first, _, points = records(imported)["train/a"].annotations
    assert points.coords == pytest.approx((38.4, 25.6, 57.6, 38.4))
    assert points.visibility == (2, 1)
    assert first.group == points.group != 0
    assert lost(imported) == {"label lines with an unknown keypoint visibility": 1}


def test_the_image_under_images_is_the_one(tmp_path: Path) -> None:
    """Other folders whose parent, or name, is a split's do not win."""
    pictures = [
        *("images/train/a.png", "images/train/b.jpg", "masks/train/a.png", "preview/train/b.jpg"),
        *("runs/detect/train/a.png", "runs/images/a.png", "labels/train/a.png", "train/b.jpg"),
    ]
    labels = {f"labels/train/{name}.txt": LINE for name in "ab"}
    write(tmp_path, {"data.yaml": NAMES, **dict.fromkeys(pictures), **labels})
    imported = imported_all(tmp_path)
    assert paths(imported) == {"train/a": "images/train/a.png", "train/b": "images/train/b.jpg"}
    assert lost(imported) == {UNUSED: 6}


def test_what_the_description_leaves_out_is_no_row(tmp_path: Path) -> None:
    """Of a subset that it defines, and outside the folder that it names as ``path:``."""
    folders = ["images/train", "images/val", "images/test"]
    write(tmp_path, {f"{base}{at}/a.jpg": None for base in ("", "other/") for at in folders})
    text = "train: images/train\nval: images/train\n" + NAMES
    write(tmp_path, {"data.yaml": text, "labels/val/a.txt": LINE})
    here = {
        "train/a": "images/train/a.jpg",
        "val/a": "images/train/a.jpg",
        "test/a": "images/test/a.jpg",
    }
    imported = imported_all(tmp_path)
    assert paths(imported) == here
    assert lost(imported) == {NO_LABEL: 3, UNUSED: 4, "label files without an item": 1}
    write(tmp_path, {"data.yaml": "path: other\n" + text})
    imported = imported_all(tmp_path)
    assert paths(imported) == {key: f"other/{path}" for key, path in here.items()}
    assert lost(imported)[UNUSED] == 4


def test_two_layouts_in_one_folder_are_an_error_that_names_both(tmp_path: Path) -> None:
    """As `datum transform --overwrite` leaves them; either file can be named."""
    files = {
        "data.yaml": "train: images/train\n" + NAMES,
        **dict.fromkeys(["images/train/a.jpg", "obj_train_data/b.jpg"]),
        "obj.data": "train = data/train.txt\nnames = data/obj.names\n",
        "obj.names": "cat\n",
        "train.txt": "data/obj_train_data/b.jpg\n",
    }
    write(tmp_path, files)
    with pytest.raises(DatasetReadError, match=r"obj\.data and data\.yaml describe two YOLO"):
        import_dataset(str(tmp_path))
    for name, item_id in (("data.yaml", "train/a"), ("obj.data", "train/b")):
        imported = import_dataset(str(tmp_path / name))
        assert list(paths(imported)) == [item_id]
        assert lost(imported)[UNUSED] == 1


def test_images_of_one_label_file_are_all_named(tmp_path: Path) -> None:
    pictures = ["images/train/a.jpg", "images/train/a.png", "images/train/a.JPEG"]
    write(tmp_path, {"data.yaml": NAMES, "labels/train/a.txt": LINE, **dict.fromkeys(pictures)})
    imported = imported_all(tmp_path)
    assert described(imported) == {f"train/{name}": [CAT] for name in ("a", "a.jpg", "a.png")}
    (loss,) = imported.losses
    assert loss.text == "label files that belong to several images, which all get the annotations"
    assert loss.count == 1
    assert loss.examples == (f"labels/train/a.txt: {', '.join(sorted(pictures))}",)


@pytest.mark.parametrize(
    ("names", "labels", "told"),
    [
        ("names: {1: dog, 0: cat}", ("cat", "dog"), ()),
        ("names:\n  '1': dog\n  '0': cat", ("cat", "dog"), ()),
        ('names: {"0": cat, 1: dog}', ("cat", "dog"), ()),
        ("names:\n- cat\n- dog", ("cat", "dog"), ()),
        ("names: {0: no, 1: 007}", ("no", "007"), ()),
        ("names: {0: 1.0, 1: null}", ("1.0", "null"), ()),
        ("nc: 2\nnames: {0: cat}", ("cat", "class_1"), (1,)),
        ("names: {3: dog, 0: cat}", ("cat", "class_1", "class_2", "dog"), (1, 2)),
        ("names: [cat, cat, '']", ("cat", "cat_1", "class_2"), (1, 2)),
        ("names: {2: class_1, 0: cat}", ("cat", "class_1_", "class_1"), (1,)),
        ("nc: 3", ("class_0", "class_1", "class_2"), (0, 1, 2)),
    ],
)
def test_class_names_go_by_their_keys(
    tmp_path: Path, names: str, labels: tuple[str, ...], told: tuple[int, ...]
) -> None:
    lines = "".join(f"{number} .5 .5 .2 .2\n" for number in range(len(labels)))
    files = {"data.yaml": names, "images/train/a.jpg": None, "labels/train/a.txt": lines}
    imported = imported_all(write(tmp_path, files), ":yolo")
    assert imported.source.categories.labels == labels
    found = sorted(records(imported)["train/a"].annotations, key=lambda each: each.ann_id)
    assert [each.label for each in found] == [*range(len(labels))]
    examples = {example for loss in imported.losses for example in loss.examples}
    assert examples == {f"data.yaml: class {n} is called {labels[n]}" for n in told}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: {cat: 0}", "Write entries as 0: cat"),
        ("names: {-1: cat}", "Write entries as 0: cat"),
        ("names: {999999999999: cat}", "Write entries as 0: cat"),
        ("names: [[cat]]", "Write entries as 0: cat"),
        ("names: {0: cat, '0': dog}", "0 appears twice"),
        ("names: cat", "does not name the classes"),
        ("train: images", "does not name the classes"),
        ("names: [cat", "cannot be read as YAML"),
        ("- cat", "does not describe a dataset"),
        ("names: &a [*a]", "cannot be read as YAML"),
        ("[" * 1200, "cannot be read as YAML"),
    ],
)
def test_a_description_that_names_no_classes_is_an_error(
    tmp_path: Path, text: str, words: str
) -> None:
    write(tmp_path, {"data.yaml": text, "images/train/a.jpg": None, "labels/train/a.txt": LINE})
    with pytest.raises(DatasetReadError, match=words):
        import_dataset(f"{tmp_path}:yolo")


LISTS = {
    "as Ultralytics": "./images/a.jpg",
    "from the root": "images/a.jpg",
    "absolute": "{root}/images/a.jpg",
    "another machine": "/home/somebody/l/images/a.jpg",
    "Windows": r"C:\data\l\images\a.jpg",
    "another place": "../datasets/coco8/images/a.jpg",
    "a folder": "./images/first",
}


@pytest.mark.parametrize("entry", LISTS.values(), ids=LISTS.keys())
def test_splits_as_lists_say(tmp_path: Path, entry: str) -> None:
    name = "first/a" if entry == LISTS["a folder"] else "a"
    files = {
        "data.yaml": "path: .\ntrain: train.txt\nval: val.txt\n" + NAMES,
        f"images/{name}.jpg": None,
        "images/b.jpg": None,
        f"labels/{name}.txt": LINE,
        "labels/b.txt": "1 .5 .5 .2 .2",
        "train.txt": "\n" + entry.format(root=tmp_path) + "\n",
        "val.txt": "./images/b.jpg",
    }
    imported = imported_all(write(tmp_path, files))
    assert described(imported) == {f"train/{name}": [CAT], "val/b": [DOG]}
    assert not imported.losses


def test_what_a_list_leaves_out_is_counted_and_what_is_missing_is_a_row(tmp_path: Path) -> None:
    files = {
        "data.yaml": "train: train.txt\nval: [val.txt, nowhere]\n" + NAMES,
        **dict.fromkeys(["images/a.jpg", "images/b.jpg", "images/test/c.jpg", "other/d.jpg"]),
        "labels/a.txt": LINE,
        "train.txt": "./images/a.jpg\n./images/lost.jpg\n./images/a.jpg\n",
        "val.txt": "./images/a.jpg\n/etc/passwd.jpg\n../up.jpg\n",
    }
    imported = imported_all(write(tmp_path, files))
    assert described(imported) == {
        "train/a": [CAT],
        "train/lost": [],
        "val/a": [CAT],
        "test/c": [],
        "val/etc/passwd": [],
        "val/up": [],
    }
    assert {str(item.key) for item in imported.source if item.unsafe} == {
        "val/etc/passwd",
        "val/up",
    }
    assert lost(imported) == {
        UNUSED: 2,  # b, d
        "items with the id of another item": 1,
        "splits of data.yaml not found": 1,
        NO_LABEL: 1,  # c: an image that is missing or unsafe has no other line than its row's
    }


def test_val_is_not_found_in_train(tmp_path: Path) -> None:
    """What is left of a path when its first parts are dropped must still say which image it is."""
    files = {
        "data.yaml": "train: images/train\nval: val.txt\n" + NAMES,
        **dict.fromkeys(["images/train/1.jpg", "train/1.jpg"]),
        "val.txt": "images/val/1.jpg\nval/1.jpg\nimages/val/../train/1.jpg",
    }
    imported = imported_all(write(tmp_path, files))
    assert paths(imported) == {
        "train/1": "images/train/1.jpg",
        "val/1": "images/val/1.jpg",
        "val/1.jpg": "val/1.jpg",
        "val/train/1": "images/train/1.jpg",
    }


LAYOUTS = {
    "flat": ("train: images/train\nval: images/val", "images/train", "images/val"),
    "years": ("train: images/train2017\nval: images/val2017", "images/train2017", "images/val2017"),
    "Roboflow": ("train: ../train/images\nval: ../valid/images", "train/images", "valid/images"),
    "splits": ("train: train\nval: val", "train/images", "val/images"),
    "upper case": ("train: Images/train\nval: Images/val", "Images/train", "Images/val"),
    "path": (
        "path: ../datasets/d\ntrain: images/train\nval: images/val",
        "images/train",
        "images/val",
    ),
    "deeper": (
        "path: ./data\ntrain: images/train\nval: images/val",
        "data/images/train",
        "data/images/val",
    ),
    "no keys": ("download: no", "images/train", "images/val"),
    "another disk": ("path: /mnt/d\ntrain: /mnt/d/images/train", "images/train", "images/val"),
    "beside": ("train: train\nval: val", "train", "val"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts(tmp_path: Path, layout: tuple[str, str, str]) -> None:
    config, *folders = layout
    files: dict[str, str | None] = {"data.yaml": f"{config}\n{NAMES}"}
    expected = {}
    for folder in folders:
        labels = folder.replace("images", "labels").replace("Images", "labels")
        subset = folder.split("/")[0] if folder.endswith("/images") else folder.split("/")[-1]
        for name in ("a", "deep/er/a"):
            files[f"{folder}/{name}.jpg"] = None
            files[f"{labels}/{name}.txt"] = LINE if name == "a" else "1 .5 .5 .2 .2"
            expected[f"{subset}/{name}"] = [CAT if name == "a" else DOG]
    imported = imported_all(write(tmp_path, files), ":yolo")
    assert described(imported) == expected
    lost_now = lost(imported)
    lost_now.pop("splits of data.yaml not found", None)
    assert not lost_now


def test_several_folders_and_a_split_that_its_folder_does_not_name(tmp_path: Path) -> None:
    files = {
        "data.yaml": "train: [images/a, images/b]\nval:\n- images/holdout\ntest:\n" + NAMES,
        **dict.fromkeys(["images/a/1.jpg", "images/b/1.jpg", "images/holdout/1.jpg"]),
        "labels/b/1.txt": LINE,
    }
    imported = imported_all(write(tmp_path, files))
    assert described(imported) == {"train/a/1": [], "train/b/1": [CAT], "val/1": []}


def test_labels_without_an_image_are_counted(tmp_path: Path) -> None:
    files = {
        "data.yaml": NAMES,
        "images/train/a.jpg": None,
        "labels/classes.txt": "cat\ndog",
        **{f"labels/train/{name}.txt": LINE for name in ("a", "b", "c")},
    }
    imported = imported_all(write(tmp_path, files))
    assert [(loss.text, loss.count, loss.examples) for loss in imported.losses] == [
        ("label files without an item", 2, ("labels/train/b.txt", "labels/train/c.txt"))
    ]


@pytest.mark.parametrize("prefix", ["data/", "", "/home/somebody/darknet/data/", "./"])
def test_darknet(tmp_path: Path, prefix: str) -> None:
    files = {
        "obj.data": f"classes = 2\ntrain = {prefix}train.txt\nvalid = {prefix}valid.txt\n"
        "names = data/obj.names\nbackup = backup/\n",
        "obj.names": "cat\n\ndog\n",
        "train.txt": "".join(f"{prefix}obj_train_data/{name}.jpg\n" for name in ("a", "x/b", "c")),
        "valid.txt": f"{prefix}obj_valid_data/a.jpg\n",
        **dict.fromkeys(f"obj_train_data/{name}.jpg" for name in ("a", "x/b", "c", "unlisted")),
        "obj_valid_data/a.jpg": None,
        "obj_train_data/a.txt": LINE + "bad line\n",
        "obj_train_data/x/b.txt": "9 .5 .5 .2 .2\n1 .5 .5 .2 .2\n",
    }
    imported = imported_all(write(tmp_path, files))
    assert described(imported) == {
        "train/a": [CAT],
        "train/x/b": [DOG],
        "train/c": [],
        "valid/a": [],
    }
    assert lost(imported) == {
        NO_LABEL: 2,
        UNUSED: 1,
        "label lines with an unnamed class": 1,
        "label lines with values that are not numbers": 1,
    }


def test_darknet_without_its_names_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"obj.data": "names = ../../etc/passwd\ntrain = train.txt"})
    with pytest.raises(DatasetReadError, match="file of class names"):
        import_dataset(f"{tmp_path}:yolo")


def test_images_that_are_nowhere_near_images(tmp_path: Path) -> None:
    """As Datumaro reads it: labels/train/a.txt is of any train/a.jpg; others are no rows."""
    files = {
        "obj.names": "cat\ndog\n",
        "labels/train/a.txt": LINE,
        **dict.fromkeys(["photos/train/a.jpg", "photos/train/b.jpg", "masks/train/a.png"]),
    }
    imported = imported_all(write(tmp_path, files), ":yolo")
    assert described(imported) == {"train/a": [CAT]}
    assert paths(imported) == {"train/a": "photos/train/a.jpg"}
    assert lost(imported) == {UNUSED: 2}


def test_nothing_that_describes_it(tmp_path: Path) -> None:
    write(tmp_path, {"images/train/a.jpg": None, "labels/train/a.txt": LINE})
    with pytest.raises(DatasetReadError, match=r"looked for data\.yaml, obj\.data and obj\.names"):
        import_dataset(f"{tmp_path}:yolo")
    write(tmp_path / "empty", {"data.yaml": NAMES})
    with pytest.raises(EmptyDatasetError):
        import_dataset(f"{tmp_path / 'empty'}:yolo")


@pytest.mark.parametrize(
    ("name", "text", "is_one"),
    [
        ("data.yaml", "nc: 2", True),
        ("data.yaml", "{train: images, val: images}", False),
        ("data.yaml", "epochs: 3", False),
        ("coco8.yml", "'names': [cat]", True),
        ("mkdocs.yml", "nav:\n  names: x", False),
        ("obj.data", "names = obj.names", True),
        ("iris.data", "5.1,3.5,1.4,0.2,Iris-setosa", False),
        ("obj.names", "cat", True),
    ],
)
def test_what_describes_a_yolo_dataset(tmp_path: Path, name: str, text: str, is_one: bool) -> None:
    write(tmp_path, {name: text, "images/train/a.jpg": None})
    assert holds_yolo(tmp_path) is is_one
    assert holds_yolo(tmp_path / name) is (is_one and name != "obj.names")


def test_a_folder_that_holds_only_the_dataset_and_the_file_itself(tmp_path: Path) -> None:
    inner = {"images/train/a.jpg": None, "labels/train/a.txt": LINE, "coco8.yaml": NAMES}
    write(tmp_path / "unpacked", inner)
    for place in (tmp_path, tmp_path / "unpacked", tmp_path / "unpacked/coco8.yaml"):
        assert described(import_dataset(str(place))) == {"train/a": [CAT]}


def test_a_name_that_cannot_be_an_id_costs_one_image_and_is_counted_once(tmp_path: Path) -> None:
    names = ["a", "c:x", "back\\slash"]
    files = {"data.yaml": NAMES, **{f"images/train/{name}.jpg": None for name in names}}
    imported = imported_all(write(tmp_path, files))
    assert list(paths(imported)) == ["train/a"]
    assert lost(imported) == {"image files whose name cannot be an id": 2, NO_LABEL: 1}


def test_images_that_cannot_be_read_keep_their_rows(tmp_path: Path) -> None:
    files = {
        "data.yaml": NAMES,
        "images/train/a.jpg": "<html>",
        "images/train/b.jpg": "",
        "images/train/c.heic": "",
        **{f"labels/train/{name}.txt": LINE for name in "abc"},
    }
    imported = imported_all(write(tmp_path, files))
    assert described(imported) == {"train/a": [], "train/b": [], "train/c": []}
    assert lost(imported) == {"label files left out because the image size is unknown": 3}


def test_links_out_of_the_dataset(tmp_path: Path) -> None:
    root = write(tmp_path / "d", {"data.yaml": NAMES, "images/train/b.jpg": None})
    write(tmp_path / "out", {"a.jpg": None, "a.txt": LINE, "more/x.jpg": None})
    (root / "labels/train").mkdir(parents=True)
    (root / "images/train/a.jpg").symlink_to(tmp_path / "out/a.jpg")
    (root / "labels/train/a.txt").symlink_to(tmp_path / "out/a.txt")
    (root / "labels/train/b.txt").symlink_to(tmp_path / "out/a.txt")
    (root / "images/val").symlink_to(tmp_path / "out/more")
    (root / "images/train/loop").symlink_to(root / "images")
    (root / "images/train/self.jpg").symlink_to("self.jpg")
    (root / "images/train/nothing.png").symlink_to("absent.png")

    refused = import_dataset(str(root))
    keys = ["train/a", "train/b", "train/nothing", "train/self"]
    assert described(refused) == {key: [] for key in keys}
    assert {str(item.key) for item in refused.source if item.unsafe} == {"train/a"}
    assert lost(refused) == {
        "folders behind links that lead out of the dataset folder "
        "(--follow-symlinks allows them)": 1,
        "label files behind links that lead out of the dataset folder": 2,
    }
    allowed = import_dataset(str(root), follow_symlinks=True)
    labelled = {"train/a", "train/b"}
    assert described(allowed) == {key: [CAT] if key in labelled else [] for key in [*keys, "val/x"]}
    assert not any(item.unsafe for item in allowed.source)


def test_pipes_do_not_hang(tmp_path: Path) -> None:
    write(tmp_path, {"data.yaml": NAMES, "images/train/a.jpg": None, "labels/x.txt": ""})
    (tmp_path / "labels/train").mkdir()
    os.mkfifo(tmp_path / "labels/train/a.txt")
    os.mkfifo(tmp_path / "images/train/b.jpg")
    assert described(import_dataset(str(tmp_path))) == {"train/a": []}


def test_coco_and_yolo_of_the_same_data_have_equal_keys_and_objects() -> None:
    coco, yolo = (import_dataset(str(SAMPLE / name)) for name in ("coco", "yolo"))
    assert list(coco.source.keys()) == list(yolo.source.keys())
    assert described(coco) == described(yolo)
    for imported, name in ((coco, "coco"), (yolo, "yolo")):
        assert_all_accounted(SAMPLE / name, imported)
        assert not imported.losses
