"""Objects with the demo model: real files, real commands, vectors of the saved crops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datumaro_embed import ClipEncoder, open_store
from datumaro_embed.images import read_image
from datumaro_embed.objects import cut
from support import SAMPLE, run, write_pictures

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return ClipEncoder.load("demo", precision="f32")


def embed(dataset: Path | str, store: Path, *words: str) -> str:
    done = run(
        *("datumaro-embed", "embed", dataset, "--store", store, "--model", "demo", "--objects"),
        *("--precision", "f32", *words),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def coco_of_objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coco") / "s.h5"
    embed(SAMPLE / "coco", path)
    return path


def test_coco_and_yolo_give_equal_objects(coco_of_objects: Path, tmp_path: Path) -> None:
    embed(SAMPLE / "yolo", tmp_path / "yolo.h5")
    with open_store(coco_of_objects) as coco, open_store(tmp_path / "yolo.h5") as yolo:
        ours, theirs = coco.objects, yolo.objects
        assert len(ours) == len(theirs) > 200
        assert [str(ours.key(row)) for row in range(len(ours))] == [
            str(theirs.key(row)) for row in range(len(theirs))
        ]
        assert [ours.labels_of(row) for row in range(len(ours))] == [
            theirs.labels_of(row) for row in range(len(theirs))
        ]
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=0.01)
        assert coco.column("objects/crop").tobytes() == yolo.column("objects/crop").tobytes()
        np.testing.assert_array_equal(ours.embeddings(), theirs.embeddings())
        assert coco.verify() == yolo.verify() == []


def strange_images(folder: Path) -> dict[str, tuple[int, int]]:
    """Write images whose pixels are hard to come by; return their upright sizes."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((200, 150), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif, quality=95)
    photo.quantize(64).save(folder / "palette.png")
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 16
    Image.fromarray(deep).save(folder / "deep.png")
    photo.resize((1600, 1200)).save(folder / "huge.jpg", quality=90)
    return {
        "turned.jpg": (150, 200),
        "palette.png": (200, 150),
        "deep.png": (200, 150),
        "huge.jpg": (1600, 1200),
    }


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, int]]]:
    """Return a dataset of strange images with two boxes each, and their sizes."""
    root = tmp_path_factory.mktemp("strange")
    images = root / "images" / "train"
    images.mkdir(parents=True)
    boxes = {}
    sizes = strange_images(images)
    for name, (w, h) in sizes.items():
        boxes[name] = [(0.1 * w, 0.2 * h, 0.3 * w, 0.5 * h), (0.5 * w, 0.55 * h, 0.5 * w, 0.4 * h)]
    content = {
        "images": [
            {"id": n, "file_name": name, "width": w, "height": h}
            for n, (name, (w, h)) in enumerate(sizes.items(), start=1)
        ],
        "annotations": [
            {"id": 2 * n + k + 1, "image_id": n + 1, "category_id": 1, "bbox": list(box)}
            | {"area": box[2] * box[3], "iscrowd": 0, "segmentation": []}
            for n, name in enumerate(sizes)
            for k, box in enumerate(boxes[name])
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return root, sizes


@pytest.mark.parametrize("shape", ["square", "stretch", "pad"])
def test_a_vector_is_that_of_the_saved_crop(
    strange: tuple[Path, dict[str, tuple[int, int]]],
    tmp_path: Path,
    encoder: ClipEncoder,
    shape: str,
) -> None:
    root, sizes = strange
    embed(root, tmp_path / "s.hdf5", "--object-shape", shape, "--dtype", "float32")
    with open_store(tmp_path / "s.hdf5") as store:
        assert len(store.objects) == 8
        for row in range(8):
            one = store.objects.record(row)
            item = store.items.record(int(store.objects.item_rows[row]))
            image, _ = read_image(root / item.path, depth_range=store.depth_range)
            assert image.size == sizes[Path(item.path).name]
            crop = cut(image, one, encoder.least_side_px)
            crop.save(tmp_path / "crop.png")
            alone, _ = read_image(tmp_path / "crop.png")
            assert encoder.preprocess(alone).tobytes() == encoder.preprocess(crop).tobytes()
            expected = encoder.embed_images([tmp_path / "crop.png"])[0]
            np.testing.assert_array_equal(one.vector, expected)


def test_the_same_command_again_reuses_every_object(coco_of_objects: Path, tmp_path: Path) -> None:
    shutil.copy(coco_of_objects, tmp_path)
    done = run(
        *("datumaro-embed", "embed", SAMPLE / "coco", "--store", tmp_path / "s.h5"),
        *("--model", "demo", "--precision", "f32"),
    )
    assert "218 objects: 0 computed, 218 reused" in done.stdout
    assert "The store has objects" in done.stdout + done.stderr
    verified = run("datumaro-embed", "verify", tmp_path / "s.h5", "--dataset", SAMPLE / "coco")
    assert verified.returncode == 0, verified.stdout


def test_the_transform_embeds_objects_too(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data", 3, (48, 40))
    done = run(
        *("datum", "transform", "-t", "clip_embed", "-o", tmp_path / "out", data, "--"),
        *("--store", tmp_path / "s.h5", "--model", "demo", "--objects", "--captions"),
    )
    assert done.returncode == 0, done.stderr
    with open_store(tmp_path / "s.h5") as store:
        assert (len(store.objects), len(store.captions)) == (3, 0)


ANNOTATIONS = [
    {"bbox": [1, 2, 10, 20], "area": 200, "segmentation": [[1, 2, 11, 2, 11, 22]]},
    {"bbox": [10, 10, 30, 30], "area": 900, "segmentation": []},
    {
        "bbox": [40, 10, 30, 30],
        "area": 777,
        "segmentation": [[40, 10, 70, 10, 70, 40], [41, 12, 50, 12, 50, 20]],
    },
    {
        "bbox": [0, 0, 96, 64],
        "area": 3000,
        "iscrowd": 1,
        "segmentation": {"size": [64, 96], "counts": [0, 3000, 3144]},
    },
    {
        "bbox": [20, 20, 30, 40],
        "area": 600,
        "segmentation": [],
        "keypoints": [21, 22, 2, 40, 41, 1, 0, 0, 0],
        "num_keypoints": 2,
    },
]


def test_coco_comes_back_object_by_object(tmp_path: Path) -> None:
    """Box and polygon, polygons, RLE of a crowd, keypoints; boxes and areas as they were given."""
    folder = tmp_path / "d"
    (folder / "images" / "train").mkdir(parents=True)
    (folder / "annotations").mkdir()
    Image.effect_noise((96, 64), 50).convert("RGB").save(folder / "images" / "train" / "1.jpg")
    names = {"keypoints": ["nose", "left", "right"], "skeleton": [[1, 2], [2, 3]]}
    given = [
        {"id": 3 * n + 1, "image_id": 1, "category_id": 1, "iscrowd": 0} | fields
        for n, fields in enumerate(ANNOTATIONS)
    ]
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 96, "height": 64}],
        "annotations": given,
        "categories": [{"id": 1, "name": "person", **names}],
    }
    file = folder / "annotations" / "person_keypoints_train.json"
    file.write_text(json.dumps(content))
    said = embed(folder, tmp_path / "s.h5")
    assert "5 objects: 4 computed, 0 reused, 1 without a vector (1 crowd)" in said
    out = tmp_path / "out.json"
    assert run("datumaro-embed", "convert", tmp_path / "s.h5", "--to", "coco", "-o", out)
    found = json.loads(out.read_text())
    assert found["categories"] == content["categories"]
    back = sorted(found["annotations"], key=lambda annotation: annotation["id"])
    for annotation in back:
        if annotation["iscrowd"]:  # compressed
            annotation["segmentation"]["counts"] = [0, 3000, 3144]
    assert back == given
