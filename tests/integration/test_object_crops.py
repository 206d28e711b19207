"""Objects with the demo model: real files, real commands, vectors of the saved crops."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datumaro_embed import ClipEncoder, open_store
from datumaro_embed.images import read_image
from datumaro_embed.objects import cut
from support import SAMPLE, run


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


def test_coco_and_yolo_give_equal_objects(tmp_path: Path) -> None:
    for name in ("coco", "yolo"):
        embed(SAMPLE / name, tmp_path / f"{name}.h5")
    with open_store(tmp_path / "coco.h5") as coco, open_store(tmp_path / "yolo.h5") as yolo:
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
    photo.resize((6000, 4500)).save(folder / "huge.jpg", quality=90)
    return {
        "turned.jpg": (150, 200),
        "palette.png": (200, 150),
        "deep.png": (200, 150),
        "huge.jpg": (6000, 4500),
    }


@pytest.mark.parametrize("shape", ["square", "stretch", "pad"])
def test_a_vector_is_that_of_the_saved_crop(
    tmp_path: Path, encoder: ClipEncoder, shape: str
) -> None:
    images = tmp_path / "images" / "train"
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
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
    embed(tmp_path, tmp_path / "s.hdf5", "--object-shape", shape, "--dtype", "float32")
    with open_store(tmp_path / "s.hdf5") as store:
        assert len(store.objects) == 8
        for row in range(8):
            one = store.objects.record(row)
            item = store.items.record(int(store.objects.item_rows[row]))
            image, _ = read_image(tmp_path / item.path, depth_range=store.depth_range)
            assert image.size == sizes[Path(item.path).name]
            crop = cut(image, one, encoder.least_side_px)
            crop.save(tmp_path / "crop.png")
            alone, _ = read_image(tmp_path / "crop.png")
            assert encoder.preprocess(alone).tobytes() == encoder.preprocess(crop).tobytes()
            expected = encoder.embed_images([tmp_path / "crop.png"])[0]
            np.testing.assert_array_equal(one.vector, expected)


def test_the_same_command_again_reuses_every_object(tmp_path: Path) -> None:
    embed(SAMPLE / "coco", tmp_path / "s.h5")
    done = run(
        *("datumaro-embed", "embed", SAMPLE / "coco", "--store", tmp_path / "s.h5"),
        *("--model", "demo", "--precision", "f32"),
    )
    assert "218 objects: 0 computed, 218 reused" in done.stdout
    assert "The store has objects" in done.stdout + done.stderr
    verified = run("datumaro-embed", "verify", tmp_path / "s.h5", "--dataset", SAMPLE / "coco")
    assert verified.returncode == 0, verified.stdout


def test_the_transform_embeds_objects_too(tmp_path: Path) -> None:
    done = run(
        *("datum", "transform", "-t", "clip_embed", "-o", tmp_path / "out", SAMPLE / "yolo", "--"),
        *("--store", tmp_path / "s.h5", "--model", "demo", "--objects", "--captions"),
    )
    assert done.returncode == 0, done.stderr
    with open_store(tmp_path / "s.h5") as store:
        assert (len(store.objects), len(store.captions)) == (218, 0)
