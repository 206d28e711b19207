"""`datumaro-embed apply` and the transform `clip_apply`: real processes on COCO and YOLO."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import yaml
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from datumaro_embed.adapter import SourceDataset, with_copied_image
from datumaro_embed.findings import Finding, Findings
from datumaro_embed.pipeline import read_item_info
from support import SAMPLE, picture, run

NAMES = {"train": ("000", "sub/b", "c"), "val": ("000", "d")}
SIZE = (120, 100)
YOLO_LINES = (
    "0 0.512345 0.5 0.25 0.123457",
    "1 0.1 0.1 0.9 0.123457 0.9 0.9 0.1 0.876543",
    "1 0.3 0.3 0.1 0.1",
)


def images(root: Path) -> None:
    for subset, names in NAMES.items():
        for number, name in enumerate(names):
            path = root / "images" / subset / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(number + 10 * len(subset), SIZE).save(path)


def coco(root: Path, *, masks: bool = True) -> Path:
    """Boxes, outlines, masks of one and of a crowd, attributes, captions; ids with gaps."""
    images(root)
    (root / "annotations").mkdir()
    pixels = np.zeros(SIZE[::-1], np.uint8, order="F")
    pixels[10:30, 20:60] = 1
    rle = coco_mask.encode(pixels)
    mask = {"size": rle["size"], "counts": rle["counts"].decode()}
    counts = [20 * 100 + 10, *([20, 80] * 40)][:-1]
    crowd = {"size": rle["size"], "counts": [*counts, 12000 - sum(counts)]}
    outline = [[3.5, 4.25, 23.7, 4.25, 23.7, 36.35, 3.5, 36.35]]
    shapes: list[dict[str, Any]] = [
        {"bbox": [3.5, 4.25, 20.2, 32.1], "segmentation": outline},
        {"bbox": [20, 10, 40, 20], "segmentation": mask},
        {"bbox": [20, 10, 40, 20], "segmentation": crowd, "iscrowd": 1},
        {"bbox": [50, 50, 20.25, 30], "attributes": {"occluded": True, "n": 3}},
    ]
    shapes = shapes if masks else [shapes[0], shapes[3]]
    categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    for subset, names in NAMES.items():
        listed, found, captions = [], [], []
        for number, name in enumerate(names, start=1):
            listed.append(
                {"id": number * 10, "file_name": f"{name}.jpg", "width": 120, "height": 100}
            )
            captions.append({"id": 900 + number, "image_id": number * 10, "caption": f"a {name}"})
            for shape in shapes:
                own = {"id": len(found) + 1, "image_id": number * 10, "category_id": 3}
                found.append({"iscrowd": 0, "area": 800, "segmentation": [], **own, **shape})
        content = {"images": listed, "annotations": found, "categories": categories}
        (root / "annotations" / f"instances_{subset}.json").write_text(json.dumps(content))
        content = {"images": listed, "annotations": captions, "categories": []}
        (root / "annotations" / f"captions_{subset}.json").write_text(json.dumps(content))
    return root


def yolo(root: Path) -> Path:
    images(root)
    for subset, names in NAMES.items():
        for name in names[: 2 if subset == "train" else 1]:  # the last has no label file
            path = root / "labels" / subset / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(YOLO_LINES) + "\n")
    content = {"train": "images/train", "val": "images/val", "names": {0: "cat", 1: "dog"}}
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return root


def finding(root: Path, action: str, key: str, **values: Any) -> Finding:
    subset, _, name = key.partition("/")
    path = root / "images" / subset / f"{name}.jpg"
    sha = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
    values = {"content_sha256": sha, **values}
    return Finding("quality", subset=subset, id=name, action=action, **values)


def act(tmp_path: Path, *rows: Finding) -> Path:
    path = tmp_path / "findings.csv"
    Findings(rows).to_csv(path)
    return path


def usual(root: Path, **first: Any) -> list[Finding]:
    """Drop an item, move one, and drop, relabel an object of another."""
    return [
        finding(root, "drop", "train/c"),
        finding(root, "subset val", "train/000"),
        finding(root, "label dog", "train/sub/b", **first),
    ]


COCO_OBJECT = {"object": 3, "label": "cat", "box": (50, 50, 20.25, 30)}
YOLO_OBJECT = {"object": 0, "label": "cat", "box": (46.48, 43.83, 30, 12.35)}


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def facts(root: Path, form: str) -> dict[str, Any]:
    """What Datumaro reads, annotations in canonical order, ids left out."""
    source = SourceDataset(Dataset.import_from(str(root), form))
    return {
        str(record.key): [
            (one.type, one.label, np.round(one.coords, 2).tolist(), one.rle, one.text,
             {name: value for name, value in one.attributes.items() if name != "area"})
            for one in record.annotations
        ]
        for record in map(read_item_info, source)
    }  # fmt: skip


def test_coco_is_written_exactly(tmp_path: Path) -> None:
    data, out = coco(tmp_path / "data"), tmp_path / "out"
    path = act(tmp_path, *usual(data, **COCO_OBJECT))
    before = files(data)
    done = run("datumaro-embed", "apply", path, data, "-o", out)
    assert "equal to the plan: 4 items, 16 objects, 2 labels" in done.stdout
    assert done.returncode == 0, done.stderr
    assert files(data) == before
    pictures = {name: data_ for name, data_ in files(out).items() if name.startswith("images")}
    assert pictures.pop("images/val/000_train.jpg") == before["images/train/000.jpg"]
    assert set(pictures) == {"images/train/sub/b.jpg", "images/val/000.jpg", "images/val/d.jpg"}
    assert all(before[name] == data_ for name, data_ in pictures.items())
    old, new = facts(data, "coco"), facts(out, "coco")
    expected = {key: old[key] for key in ("train/sub/b", "val/000", "val/d")}
    expected["val/000_train"] = old["train/000"]
    changed = [n for n, one in enumerate(new["train/sub/b"]) if one[1] == 1]
    assert len(changed) == 1
    at = changed[0]
    assert new["train/sub/b"][at][2] == [50, 50, 20.25, 30]
    moved = new.pop("train/sub/b"), expected.pop("train/sub/b")
    strip = [sorted(map(repr, [(one[0], 0, *one[2:]) for one in found if one[0] != "caption"]))
             for found in moved]  # fmt: skip
    assert strip[0] == strip[1]
    assert new == expected
    content = json.loads((out / "annotations" / "instances_val.json").read_text())
    assert sorted(each["iscrowd"] for each in content["annotations"]) == [0] * 9 + [1] * 3
    assert len({each["id"] for each in content["annotations"]}) == 12


def test_the_transform_does_the_same(tmp_path: Path) -> None:
    data, out = coco(tmp_path / "data", masks=False), tmp_path / "out"
    rows = usual(data, **COCO_OBJECT | {"object": 1})
    words = ["transform", "-t", "clip_apply", "-o", out, f"{data}:coco", "--"]
    done = run("datum", *words, "--findings", act(tmp_path, *rows))
    assert done.returncode == 0, done.stderr
    assert "1 of 5 items dropped (train 1)" in done.stderr
    done = run("datumaro-embed", "apply", tmp_path / "findings.csv", data, "-o", tmp_path / "own")
    assert done.returncode == 0, done.stderr
    assert facts(out, "coco") == facts(tmp_path / "own", "coco")


def test_yolo_keeps_every_line_to_the_last_digit(tmp_path: Path) -> None:
    data, out = yolo(tmp_path / "data"), tmp_path / "out"
    (data / "images" / "val" / "broken.jpg").write_bytes(b"no image")
    rows = [*usual(data, **YOLO_OBJECT), finding(data, "drop", "val/000", **YOLO_OBJECT)]
    path = act(tmp_path, *rows)
    before = files(data)
    done = run("datumaro-embed", "apply", path, data, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "equal to the plan: 5 items, 8 objects, 2 labels" in done.stdout
    expected = {name: data_ for name, data_ in before.items() if name.startswith("images")}
    expected["images/val/000_train.jpg"] = expected.pop("images/train/000.jpg")
    del expected["images/train/c.jpg"]
    lines = [f"{line}\n" for line in YOLO_LINES]
    expected["labels/val/000_train.txt"] = "".join(lines).encode()
    expected["labels/val/000.txt"] = "".join(lines[1:]).encode()
    expected["labels/train/sub/b.txt"] = "".join(["1" + lines[0][1:], *lines[1:]]).encode()
    found = files(out)
    described = yaml.safe_load(found.pop("data.yaml"))
    assert found == expected
    assert described == {
        "train": "images/train", "val": "images/val", "names": {0: "cat", 1: "dog"},
    }  # fmt: skip
    assert files(data) == before


def test_poses_keep_their_keypoints(tmp_path: Path) -> None:
    data, out = yolo(tmp_path / "data"), tmp_path / "out"
    content = yaml.safe_load((data / "data.yaml").read_text()) | {"kpt_shape": [2, 3]}
    (data / "data.yaml").write_text(yaml.safe_dump(content))
    line = "0 0.5 0.5 0.25 0.123457 0.4 0.45 2 0.512345 0.5 0\n"
    for path in data.rglob("*.txt"):
        path.write_text(line * 2)
    done = run(
        "datumaro-embed", "apply", act(tmp_path, finding(data, "drop", "train/c")), data,
        "-o", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.read_text() for path in (out / "labels").rglob("*.txt")} == {line * 2}
    assert yaml.safe_load((out / "data.yaml").read_text())["kpt_shape"] == [2, 3]


def test_another_format_is_read_back_too(tmp_path: Path) -> None:
    data = yolo(tmp_path / "data")
    path = act(tmp_path, *usual(data, **YOLO_OBJECT))
    for form in ("coco", "voc", "datumaro"):
        out = tmp_path / form
        done = run("datumaro-embed", "apply", path, data, "-o", out, "-f", form)
        assert done.returncode == (1 if form == "voc" else 0), done.stderr
        assert out.exists() is (form != "voc")
    # Pascal VOC has no outlines.
    done = run("datumaro-embed", "apply", path, data, "-o", tmp_path / "voc", "-f", "voc")
    assert "The format voc cannot hold this dataset as planned" in done.stderr
    assert "Formats that can: coco, datumaro, yolo_ultralytics." in done.stderr


def test_a_dry_run_prints_and_writes_the_plan_alone(tmp_path: Path) -> None:
    data, out, plan = coco(tmp_path / "data"), tmp_path / "out", tmp_path / "plan.csv"
    path = act(tmp_path, *usual(data, **COCO_OBJECT))
    done = run("datumaro-embed", "apply", path, data, "-o", out, "--dry-run", "--plan", plan)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "1 of 5 items dropped (train 1); 1 of 5 items moved to the subset 'val' (train 1); "
        "1 object relabeled (train 1)",
        "subset  items before  after",
        "train              3      1",
        "val                2      3",
        "label  annotations before  after",
        "cat                    35     27",
        "dog                     0      1",
        "a dry run: no dataset is written",
    ]
    lines = plan.read_text().splitlines()
    assert lines[0] == "line,action,group,subset,id,object,label,box,new_subset,new_id,reason"
    assert "2,subset val,,train,'000,,,,val,000_train," in lines
    assert len(lines) == 4
    path.unlink()
    path = act(tmp_path, finding(data, "subset vall", "train/c"))
    done = run("datumaro-embed", "apply", path, data, "-o", out, "--dry-run")
    assert done.stdout.startswith("1 of 5 items moved to the new subset 'vall' (train 1)\n")
    assert not out.exists()


@pytest.mark.parametrize("way", ["apply", "clip_apply"])
def test_what_coco_cannot_hold_is_refused(tmp_path: Path, way: str) -> None:
    data, out = coco(tmp_path / "data"), tmp_path / "out"
    path = act(tmp_path, finding(data, "attribute seen=1", "val/d"))
    words = ["datumaro-embed", "apply", path, data, "-o", out]
    if way == "clip_apply":
        words = ["datum", "transform", "-t", way, "-o", out, f"{data}:coco", "--"]
        words += ["--findings", path]
    done = run(*words)
    assert done.returncode == 1
    assert "val/d: the attribute 'seen' of the item is lost" in done.stderr
    assert "Formats that can: datumaro. Or drop these items, or clear their actions." in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_a_label_of_an_image_that_coco_cannot_hold_is_named(tmp_path: Path) -> None:
    data = coco(tmp_path / "data")
    path = act(tmp_path, finding(data, "label cat", "val/d"))
    done = run("datumaro-embed", "apply", path, data, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "val/d: label 'cat' in the plan, not in the output" in done.stderr


@pytest.mark.parametrize("way", ["apply", "clip_apply"])
def test_stale_rows_are_an_error_unless_skipped(tmp_path: Path, way: str) -> None:
    data, out = coco(tmp_path / "data"), tmp_path / "out"
    rows = [*usual(data, **COCO_OBJECT), finding(data, "drop", "train/gone")]
    path = act(tmp_path, *rows)
    picture(99, SIZE).save(data / "images" / "train" / "c.jpg")
    words = ["datumaro-embed", "apply", path, data, "-o", out]
    if way == "clip_apply":
        words = ["datum", "transform", "-t", way, "-o", out, f"{data}:coco", "--"]
        words += ["--findings", path]
    done = run(*words)
    assert done.returncode == 1
    assert "The dataset does not match 2 of 4 findings" in done.stderr
    assert "1 row whose image has changed since the finding was made" in done.stderr
    assert "(line 2 (train/c))" in done.stderr.replace("line 3 (train/c)", "line 2 (train/c)")
    assert not out.exists()
    if way == "apply":
        done = run(*words, "--skip-stale")
        assert done.returncode == 0, done.stderr
        assert "2 findings not applied:" in done.stdout
        assert (out / "images" / "train" / "c.jpg").exists()


def test_links_out_of_the_dataset_name_the_flag(tmp_path: Path) -> None:
    root = coco(tmp_path / "data", masks=False)
    rows = act(tmp_path, finding(root, "drop", "train/000"))
    (root / "images").rename(tmp_path / "images")
    (root / "images").symlink_to(tmp_path / "images")
    words = ["apply", rows, f"{root}:coco", "-o", tmp_path / "out"]
    refused = run("datumaro-embed", *words)
    assert refused.returncode == 1
    assert refused.stderr == (
        "datumaro-embed: 5 images are not read, such as that of 'train/000': a symbolic link leads "
        "out of the dataset folder; --follow-symlinks allows such links. Nothing was written.\n"
    )
    assert not (tmp_path / "out").exists()
    done = run("datumaro-embed", *words, "--follow-symlinks")
    assert done.returncode == 0, done.stderr
    assert len(Dataset.import_from(str(tmp_path / "out"), "coco")) == 4


def test_rows_of_a_linked_folder_name_the_flag(tmp_path: Path) -> None:
    images(tmp_path / "all")
    root = tmp_path / "all" / "images"
    sha = hashlib.sha256((root / "val" / "d.jpg").read_bytes()).hexdigest()
    row = Finding(subset="default", id="val/d", action="drop", content_sha256=sha)
    rows = act(tmp_path, row)
    (root / "val").rename(tmp_path / "val")
    (root / "val").symlink_to(tmp_path / "val")
    words = ["apply", rows, f"{root}:image_dir", "-o", tmp_path / "out"]
    refused = run("datumaro-embed", *words)
    assert refused.returncode == 1
    assert "1 image is not read, such as that of 'default/val/d': a symbolic link" in refused.stderr
    assert "--follow-symlinks" in refused.stderr
    assert not (tmp_path / "out").exists()
    done = run("datumaro-embed", *words, "--follow-symlinks")
    assert "1 of 5 items dropped" in done.stdout, done.stderr


def test_items_of_links_that_were_not_read_can_be_dropped(tmp_path: Path) -> None:
    root = coco(tmp_path / "data", masks=False)
    path = root / "images" / "val" / "d.jpg"
    path.rename(tmp_path / "d.jpg")
    path.symlink_to(tmp_path / "d.jpg")
    rows = act(tmp_path, finding(root, "drop", "val/d", content_sha256=""))
    done = run("datumaro-embed", "apply", rows, f"{root}:coco", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert len(Dataset.import_from(str(tmp_path / "out"), "coco")) == 4


def test_places_that_are_taken_or_inside_are_refused(tmp_path: Path) -> None:
    data = coco(tmp_path / "data")
    path = act(tmp_path, *usual(data, **COCO_OBJECT))
    before = files(tmp_path)
    for out, message in (
        (data / "new", "is inside the dataset"),
        (data, "is the dataset itself. Choose a folder outside it"),
        (tmp_path / "no" / "out", "does not exist"),
    ):
        done = run("datumaro-embed", "apply", path, data, "-o", out)
        assert done.returncode == 1
        assert message in done.stderr
    done = run("datumaro-embed", "apply", path, ".:coco", "-o", ".", cwd=data)
    assert "'.' is the dataset itself" in done.stderr
    done = run("datumaro-embed", "apply", path, data, "-o", tmp_path / "out", "-f", "nope")
    assert "Datumaro cannot write the format 'nope'. Choose another --format" in done.stderr
    assert files(tmp_path) == before


def test_what_is_not_changed_keeps_every_digit(tmp_path: Path) -> None:
    """Boxes and areas of COCO, which Datumaro rounds to two decimals and computes anew."""
    Findings().to_csv(tmp_path / "none.csv")
    done = run("datumaro-embed", "apply", tmp_path / "none.csv", SAMPLE / "coco", "-o",
               tmp_path / "out")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no finding has an action: fill in the column `action`" in done.stdout
    for name in ("instances_train.json", "instances_val.json"):
        before, after = (
            {
                entry["id"]: (entry["bbox"], entry["area"])
                for entry in json.loads((root / "annotations" / name).read_text())["annotations"]
            }
            for root in (SAMPLE / "coco", tmp_path / "out")
        )
        assert before == after


@pytest.mark.parametrize("way", ["apply", "clip_apply"])
def test_a_relabeled_image_gets_the_folder_of_its_label(tmp_path: Path, way: str) -> None:
    """In ImageNet's layout; a name that the other folder has already is told apart."""
    data, out = tmp_path / "data", tmp_path / "out"
    for number, name in enumerate(("big/cat/1", "dog/1", "dog/2", "eel/3")):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number, SIZE).save(data / f"{name}.png")
    before = files(data)

    def row(name: str, label: str) -> Finding:
        folder, _, stem = name.rpartition("/")
        sha = hashlib.sha256(before[f"{name}.png"]).hexdigest()
        key = {"subset": "default", "id": f"{folder}:{stem}", "label": folder}
        return Finding("mislabel", **key, action=f"label {label}", content_sha256=sha)

    path = act(tmp_path, row("big/cat/1", "dog"), row("dog/2", "eel"))
    words = ["datumaro-embed", "apply", path, f"{data}:imagenet", "-o", out]
    if way == "clip_apply":
        words = ["datum", "transform", "-t", way, "-o", out, f"{data}:imagenet", "--"]
        words += ["--findings", path]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    if way == "apply":
        gone = "labels that OUT will not have, as no image has them: 'big', 'big/cat'"
        assert gone in done.stdout
        assert done.stdout.endswith("equal to the plan: 4 items, 0 objects, 2 labels\n")
    written = {name: content for name, content in files(out).items() if name.endswith(".png")}
    assert written == {
        "dog/1.png": before["dog/1.png"],
        "dog/1_big_cat.png": before["big/cat/1.png"],
        "eel/2.png": before["dog/2.png"],
        "eel/3.png": before["eel/3.png"],
    }
    assert files(data) == before


@pytest.mark.parametrize(
    ("words", "form"),
    [
        *((("datumaro-embed", "apply"), form) for form in ("coco", "datumaro", "voc")),
        (("datumaro-embed", "apply"), "cvat"),
        (("datum", "transform", "-t", "clip_apply"), "coco"),
    ],
)
def test_images_are_copied_whatever_the_capitals_of_their_names(
    tmp_path: Path, words: tuple[str, ...], form: str
) -> None:
    """Cameras write .JPG; Datumaro's own media encode such a file anew."""
    data, out = tmp_path / "data", tmp_path / "out"
    (data / "images" / "train").mkdir(parents=True)
    (data / "annotations").mkdir()
    listed = []
    for number, suffix in enumerate((".JPG", ".JPEG", ".PNG", ".Tif", ".jpg"), start=1):
        name = f"DSC{number}{suffix}"
        picture(number, SIZE).save(data / "images" / "train" / name)
        listed.append({"id": number, "file_name": name, "width": 120, "height": 100})
    labels = [{"id": n, "image_id": n, "category_id": 1} for n in range(1, 6)]
    content = {"images": listed, "annotations": labels, "categories": [{"id": 1, "name": "cat"}]}
    (data / "annotations" / "labels_train.json").write_text(json.dumps(content))
    before = {path.name: path.read_bytes() for path in (data / "images").rglob("*.*")}
    sha = hashlib.sha256(before["DSC5.jpg"]).hexdigest()
    key = {"subset": "train", "id": "DSC5", "content_sha256": sha}
    path = act(tmp_path, Finding("quality", action="drop", **key))
    if words[0] == "datum":
        done = run(*words, "-o", out, f"{data}:coco", "--", "--findings", path)
    else:
        done = run(*words, path, data, "-o", out, "-f", form)
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_bytes() for path in out.rglob("DSC*") if path.name in before}
    del before["DSC5.jpg"]
    assert written == before


def test_a_file_is_encoded_anew_only_for_another_format(tmp_path: Path) -> None:
    """An exporter may force an extension; the contents decide, not the name."""
    path = tmp_path / "a.PNG"
    picture(1, SIZE).save(path, format="JPEG")
    medium = with_copied_image(DatasetItem("a", media=Image.from_file(str(path)))).media
    medium.save(str(tmp_path / "below" / "a.jpg"))
    medium.save(str(tmp_path / "below" / "a.bmp"))
    assert (tmp_path / "below" / "a.jpg").read_bytes() == path.read_bytes()
    assert (tmp_path / "below" / "a.bmp").read_bytes()[:2] == b"BM"


def test_coco_keeps_apart_subsets_whose_names_end_alike(tmp_path: Path) -> None:
    """Areas, boxes and outlines with two decimals are the same numbers, in the file of each."""
    data, out = tmp_path / "data", tmp_path / "out"
    (data / "annotations").mkdir(parents=True)
    subsets = ("train", "a_train", "[n]", "n")
    wanted = {}
    for number, subset in enumerate(subsets):
        folder = data / "images" / subset
        folder.mkdir(parents=True)
        outline = [10.11 + number, 10.11, 40.37, 10.11, 40.37, 50.83]
        box = [10.123 + number, 10, 30, 40]
        own = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 100.5 + number}
        shape = {"segmentation": [outline], "bbox": box}
        listed = [{"id": 1, "file_name": "0.jpg", "width": 120, "height": 100}]
        picture(number, SIZE).save(folder / "0.jpg")
        if subset == "n":
            listed.append({**listed[0], "id": 2, "file_name": "1.jpg"})
            picture(9, SIZE).save(folder / "1.jpg")
        categories = [{"id": 1, "name": "cat"}]
        content = {"images": listed, "annotations": [own | shape], "categories": categories}
        (data / "annotations" / f"instances_{subset}.json").write_text(json.dumps(content))
        wanted[subset] = own | shape
    path = act(tmp_path, finding(data, "drop", "n/1"))
    done = run("datumaro-embed", "apply", path, data, "-o", out)
    assert done.returncode == 0, done.stderr
    for subset in subsets:
        content = json.loads((out / "annotations" / f"instances_{subset}.json").read_text())
        assert content["annotations"] == [wanted[subset]]


def folders(root: Path, *names: str) -> dict[str, bytes]:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number, SIZE).save(root / f"{name}.png")
    return files(root)


def of_folder(before: dict[str, bytes], name: str, action: str) -> Finding:
    """Make a finding of an image in ImageNet's layout with subsets."""
    sha = hashlib.sha256(before[f"{name}.png"]).hexdigest()
    subset, label, stem = name.split("/")
    key = {"subset": subset, "id": f"{label}:{stem}", "label": label}
    return Finding("quality", **key, action=action, content_sha256=sha)


@pytest.mark.parametrize("way", ["apply", "clip_apply"])
def test_a_subset_that_would_lose_the_folder_of_a_label_is_refused(
    tmp_path: Path, way: str
) -> None:
    """Datumaro reads subsets only with the same folders; what is written it reads with them."""
    data, out = tmp_path / "data", tmp_path / "out"
    names = (f"{subset}/{name}" for subset in ("train", "val") for name in ("cat/1", "dog/2"))
    before = folders(data, *names, "train/cat/3", "train/dog/1", "train/eel/4", "val/eel/5")
    form = "imagenet_with_subset_dirs"

    def done(*rows: Finding) -> Any:
        path = tmp_path / f"{len(rows)}.csv"
        Findings(rows).to_csv(path)
        if way == "apply":
            return run("datumaro-embed", "apply", path, f"{data}:{form}", "-o", out)
        words = ("transform", "-t", way, "-o", out, f"{data}:{form}", "--", "--findings")
        return run("datum", *words, path)

    bad = done(*(of_folder(before, f"train/cat/{n}", "drop") for n in (1, 3)))
    assert bad.returncode != 0
    assert "but train would have no image of 'cat'." in bad.stderr
    assert "or choose another --format: coco, datumaro" in bad.stderr
    assert not out.exists()
    # a label that no subset keeps is no trouble
    eels = [of_folder(before, f"{name}", "drop") for name in ("train/eel/4", "val/eel/5")]
    good = done(of_folder(before, "train/cat/1", "label dog"), *eels)
    assert good.returncode == 0, good.stderr
    found = Dataset.import_from(str(out), form)
    assert [label.name for label in found.categories()[AnnotationType.label]] == ["cat", "dog"]
    assert {(item.subset, item.id) for item in found} == {
        ("train", "cat:3"), ("train", "dog:1"), ("train", "dog:1_cat"), ("train", "dog:2"),
        ("val", "cat:1"), ("val", "dog:2"),
    }  # fmt: skip


def test_subsets_that_had_not_the_same_folders_may_lose_more(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    before = folders(data, "train/cat/1", "train/dog/2", "val/cat/3", "val/cat/4")
    path = act(tmp_path, of_folder(before, "train/cat/1", "drop"))
    done = run("datumaro-embed", "apply", path, f"{data}:imagenet_with_subset_dirs", "-o", out)
    assert done.returncode == 0, done.stderr
    assert set(files(out)) == set(before) - {"train/cat/1.png"}


def test_a_folder_may_be_called_by_one_letter(tmp_path: Path) -> None:
    """Such as those of sign languages, which Datumaro cannot read; a relabeled image moves too."""
    data, out = tmp_path / "data", tmp_path / "out"
    before = folders(data, "train/A/1", "train/A/2", "train/B/1", "train/del/1", "train/del/2")
    rows = [
        of_folder(before, "train/A/1", "label B"),
        of_folder(before, "train/A/2", "label del"),
        of_folder(before, "train/del/1", "label A"),
    ]
    rows = [replace(row, id=row.id.replace(":", "/")) if row.label == "A" else row for row in rows]
    form = "imagenet_with_subset_dirs"
    done = run("datumaro-embed", "apply", act(tmp_path, *rows), f"{data}:{form}", "-o", out)
    assert done.returncode == 0, done.stderr
    assert files(out) == {
        "train/A/1.png": before["train/del/1.png"],
        "train/B/1.png": before["train/B/1.png"],
        "train/B/1_A.png": before["train/A/1.png"],
        "train/del/2.png": before["train/del/2.png"],
        "train/del/2_A.png": before["train/A/2.png"],
    }


@pytest.mark.parametrize("way", ["apply", "clip_apply"])
def test_names_that_are_free_after_all_moves_stay(tmp_path: Path, way: str) -> None:
    """Two images of one name change places, and one takes the place of an image that is dropped."""
    make = yolo if way == "apply" else coco
    data, out = make(tmp_path / "data"), tmp_path / "out"
    picture(50, SIZE).save(data / "images" / "val" / "c.jpg")
    if way == "clip_apply":
        for subset in NAMES:  # an image must be in all files of its subset
            (data / "annotations" / f"captions_{subset}.json").unlink()
        path = data / "annotations" / "instances_val.json"
        content = json.loads(path.read_text())
        content["images"].append({**content["images"][0], "id": 77, "file_name": "c.jpg"})
        path.write_text(json.dumps(content))
    rows = [
        finding(data, "subset val", "train/000"),
        finding(data, "subset train", "val/000"),
        finding(data, "subset val", "train/c"),
        finding(data, "drop", "val/c"),
    ]
    before = files(data)
    words = ["datumaro-embed", "apply", act(tmp_path, *rows), data, "-o", out]
    if way == "clip_apply":
        words = ["datum", "transform", "-t", way, "-o", out, f"{data}:coco", "--", "--findings"]
        words.append(tmp_path / "findings.csv")
    done = run(*words)
    assert done.returncode == 0, done.stderr
    found = {name: content for name, content in files(out).items() if name.startswith("images")}
    assert found == {
        "images/train/000.jpg": before["images/val/000.jpg"],
        "images/train/sub/b.jpg": before["images/train/sub/b.jpg"],
        "images/val/000.jpg": before["images/train/000.jpg"],
        "images/val/c.jpg": before["images/train/c.jpg"],
        "images/val/d.jpg": before["images/val/d.jpg"],
    }


def test_images_of_one_stem_get_a_label_file_each(tmp_path: Path) -> None:
    """Ultralytics reads the label file that they share for both."""
    data, out = yolo(tmp_path / "data"), tmp_path / "out"
    picture(50, SIZE).save(data / "images" / "val" / "000.png")
    before = files(data)
    path = act(tmp_path, finding(data, "label dog", "val/000", **YOLO_OBJECT))
    done = run("datumaro-embed", "apply", path, data, "-o", out)
    assert done.returncode == 0, done.stderr
    found = files(out)
    assert found["images/val/000.png.png"] == before["images/val/000.png"]
    assert found["labels/val/000.png.txt"] == before["labels/val/000.txt"]
    assert found["labels/val/000.txt"] == b"1" + before["labels/val/000.txt"][1:]
