"""Mask files that are missing, damaged or of another size cost their annotations, never the run."""

from __future__ import annotations

import json
import pickle
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datumaro.components import annotation as dm
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image as DmImage
from datumaro.util import image as dm_image
from PIL import Image

from datumaro_embed.adapter import SourceDataset, import_dataset
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.pipeline import EmbedOptions, EmbedSummary, embed_source
from datumaro_embed.rle import Rle
from datumaro_embed.store import open_store
from datumaro_embed.tally import Tally
from datumaro_embed.verify import compare_with_dataset
from support import picture, run

SIZE = (48, 40)
UPPER, LOWER = np.zeros((40, 48), bool), np.zeros((40, 48), bool)
UPPER[5:20, 3:30] = LOWER[22:35, 4:40] = True

MISSING = "annotations whose mask file does not exist"
UNREADABLE = "annotations that cannot be read"
OTHER_SIZE = "masks whose size differs from the image"
FILES = "mask files that cannot be read"


def write_panoptic(root: Path) -> Path:
    """Two segments an image, 1 above and 2 below."""
    masks = root / "annotations" / "panoptic_val"
    for folder in (masks, root / "images" / "val"):
        folder.mkdir(parents=True)
    images, annotations = [], []
    for number, name in enumerate("abcdef", start=1):
        picture(number, SIZE).save(root / "images" / "val" / f"{name}.png")
        pixels = np.zeros((40, 48, 3), np.uint8)
        pixels[UPPER, 0], pixels[LOWER, 1] = 7, 1  # segments 7 and 256
        Image.fromarray(pixels).save(masks / f"{name}.png")
        images.append({"id": number, "file_name": f"{name}.png", "width": 48, "height": 40})
        segments = [{"id": 7, "category_id": 1}, {"id": 256, "category_id": 2}]
        for segment in segments:
            segment["iscrowd"] = 0
        annotations.append(
            {"image_id": number, "file_name": f"{name}.png", "segments_info": segments}
        )
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": names}
    (root / "annotations" / "panoptic_val.json").write_text(json.dumps(content))
    return masks


def write_semantic(root: Path) -> Path:
    """Datumaro's semantic folders: images/, masks/ and a table of colours."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    labels = [("background", (0, 0, 0)), ("cat", (200, 0, 0)), ("dog", (0, 200, 0))]
    meta = {"label_map": {str(i): name for i, (name, _) in enumerate(labels)}}
    meta["segmentation_colors"] = [colour for _, colour in labels]
    (root / "dataset_meta.json").write_text(json.dumps(meta))
    for number, name in enumerate("abcdef"):
        picture(number, SIZE).save(root / "images" / f"{name}.png")
        pixels = np.zeros((40, 48, 3), np.uint8)
        pixels[UPPER], pixels[LOWER] = (200, 0, 0), (0, 200, 0)
        Image.fromarray(pixels).save(root / "masks" / f"{name}.png")
    return root / "masks"


def exported(format_name: str, masks: str) -> Callable[[Path], Path]:
    """As Datumaro's own exporter writes it."""

    def write(root: Path) -> Path:
        items = [
            DatasetItem(
                name,
                subset="train",
                media=DmImage.from_numpy(np.array(picture(number, SIZE))),
                annotations=[
                    dm.Mask(mask, label=label, id=label, group=label)
                    for label, mask in ((1, UPPER), (2, LOWER))
                ],
            )
            for number, name in enumerate("abcdef")
        ]
        categories = {
            dm.AnnotationType.label: dm.LabelCategories.from_iterable(["background", "cat", "dog"]),
            dm.AnnotationType.mask: dm.MaskCategories.generate(3),
        }
        dataset = Dataset.from_iterable(items, categories=categories)
        dataset.export(str(root), format_name, save_media=True)
        return root / masks

    return write


def png_header(width: int, height: int) -> bytes:
    """Say a size and have no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    signed = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + signed + struct.pack(">I", 10) + b"IDAT" + bytes(14)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def shrink(path: Path) -> None:
    with Image.open(path) as mask:
        small = mask.resize((24, 20), Image.Resampling.NEAREST)
    small.save(path)


def enlarge(path: Path) -> None:
    path.write_bytes(png_header(30_000, 30_000))


def write_html(path: Path) -> None:
    path.write_text("<html>404</html>")


# The items whose masks these are; a stays whole.
WAYS: dict[str, Callable[[Path], None]] = {
    "b": Path.unlink,
    "c": cut,
    "d": write_html,
    "e": enlarge,
    "f": shrink,
}
FORMATS = {
    "coco_panoptic": write_panoptic,
    "common_semantic_segmentation": write_semantic,
    "camvid": exported("camvid", "trainannot"),
    "cityscapes": exported("cityscapes", "gtFine/train"),
    "kitti_segmentation": exported("kitti_segmentation", "train/instance"),
    "voc_segmentation": exported("voc_segmentation", "SegmentationClass"),
}
# Of VOC's f, the mask of classes has another size than that of objects.
LEFT_OF_F = {"voc_segmentation": 0}


def embedded(dataset: str, store: Path) -> EmbedSummary:
    imported = import_dataset(dataset)
    return embed_source(
        imported.source,
        store,
        EmbedOptions(workers=3),
        losses=imported.losses,
        encoder=FakeEncoder(),
    )


def counts(tally: Tally) -> dict[str, int]:
    return {reason.text: reason.count for reason in tally}


@pytest.mark.parametrize("format_name", FORMATS)
def test_bad_masks_cost_the_annotations_of_their_images(format_name: str, tmp_path: Path) -> None:
    root, dataset = tmp_path / "data", f"{tmp_path / 'data'}:{format_name}"
    masks = FORMATS[format_name](root)
    for name, spoil in WAYS.items():
        for mask in masks.glob(f"{name}[._]*"):
            spoil(mask)

    summary = embedded(dataset, tmp_path / "store.h5")

    with open_store(tmp_path / "store.h5") as store:
        found = {key.id: store.item(store.row(key)).annotations for key in store.keys()}
        assert list(compare_with_dataset(store, import_dataset(dataset).source)) == []
    whole = len(found["a"])
    assert whole >= 2
    expected = {"a": whole, "b": 0, "c": 0, "d": 0, "e": 0, "f": LEFT_OF_F.get(format_name, whole)}
    if format_name == "common_semantic_segmentation":  # whose items are masks
        del expected["b"]
    assert {name: len(annotations) for name, annotations in found.items()} == expected
    said, lost = counts(summary.notes), counts(summary.losses)
    assert said.get(OTHER_SIZE, 0) == expected["f"]
    if format_name == "coco_panoptic":
        assert (said[MISSING], said[UNREADABLE], lost) == (2, 6, {})
    elif format_name == "camvid":
        assert (said[MISSING], said[UNREADABLE], lost) == (1, 3, {FILES: 4})
    else:
        assert lost[FILES] == 3


def test_objects_of_a_damaged_class_mask_get_no_label(tmp_path: Path) -> None:
    """The mask of objects is sound, so Datumaro would make them background."""
    root = tmp_path / "data"
    masks = FORMATS["voc_segmentation"](root)
    cut(masks / "a.png")
    (masks / "b.png").unlink()
    imported = import_dataset(f"{root}:voc_segmentation")
    found = {item.key.id: item.record(None, 1, b"").annotations for item in imported.source}
    assert found["a"] == ()
    labels = imported.source.categories.labels
    assert {labels[a.label] for name in "cdef" for a in found[name]} == {"cat", "dog"}
    lost = counts(imported.losses)
    assert lost[FILES] == 1
    assert lost["images listed for segmentation without a class mask"] == 1


def test_datum_transform_embeds_masks_that_are_loaded_lazily(tmp_path: Path) -> None:
    root = tmp_path / "data"
    masks = write_panoptic(root)
    (masks / "b.png").unlink()
    store = tmp_path / "store.h5"
    own = ["--", "--store", store, "--model", "demo"]
    out = ["-o", tmp_path / "out", f"{root}:coco_panoptic"]
    done = run("datum", "transform", "-t", "clip_embed", *out, *own)
    assert f"2 {MISSING} (val/b" in done.stderr
    with open_store(store) as opened:
        assert [len(opened.item(row).annotations) for row in range(6)] == [2, 0, 2, 2, 2, 2]


def lazily(load: Callable[[], object], n_items: int = 1) -> SourceDataset:
    """Items with a box and a mask of an author's own loader."""
    items = [
        DatasetItem(
            f"{number}",
            media=DmImage.from_numpy(np.zeros((40, 48, 3), np.uint8)),
            annotations=[dm.Bbox(1, 2, 3, 4, label=0), dm.Mask(load, label=0)],
        )
        for number in range(n_items)
    ]
    return SourceDataset(Dataset.from_iterable(items, categories=["cat"]), packed=True)


def fail() -> object:
    raise RuntimeError("the author's own")


def exhaust() -> object:
    raise MemoryError


@pytest.mark.parametrize(
    "load",
    [
        fail,
        exhaust,
        lambda: None,
        lambda: np.zeros((40, 48, 3), bool),
        lambda: np.zeros((0, 48), bool),
        lambda: np.array([["a", "b"]], dtype=object).astype("O")[0],
        lambda: np.broadcast_to(np.zeros((1, 1), bool), (2**20, 2**20)),
        lambda: "no mask",
        lambda: [[1, 2], [3]],
    ],
)
def test_a_loader_that_fails_costs_its_own_annotation(load: Callable[[], object]) -> None:
    (item,) = lazily(load)
    record = item.record((48, 40), 1, bytes(32))
    assert [annotation.type for annotation in record.annotations] == ["bbox"]
    assert set(record.notes) < {UNREADABLE, "masks with an invalid run-length encoding"}
    assert len(record.notes) == 1


def test_masks_are_read_alike_in_every_thread_and_under_every_choice_of_colours(
    tmp_path: Path,
) -> None:
    write_panoptic(tmp_path / "data")
    found: list[object] = []

    def read() -> None:
        source = import_dataset(f"{tmp_path / 'data'}:coco_panoptic").source
        found.append([item.record(None, 1, b"").annotations for item in source])

    with dm_image.decode_image_context(
        dm_image.ImageBackend.PIL, dm_image.ImageColorChannel.COLOR_RGB
    ):
        read()
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(records == found[0] for records in found)
    (first, second), *_ = found[0]  # type: ignore[misc]
    shown = [Rle.from_json(first.rle).mask(), Rle.from_json(second.rle).mask()]
    np.testing.assert_array_equal(shown, [UPPER, LOWER])


def test_threads_do_not_drop_each_others_masks() -> None:
    loaded = []

    def load(path: str) -> np.ndarray:
        loaded.append(path)
        return UPPER

    lazies = [dm_image.lazy_image(str(number), load) for number in range(4)]

    def use(*numbers: int) -> None:
        for number in numbers:
            lazies[number]()

    use(0)
    other = threading.Thread(target=use, args=(1, 2, 3, 1, 2, 3))
    other.start()
    other.join()
    use(0, 0)
    assert loaded.count("0") == 1


def test_lazy_masks_are_packed_and_no_pixel_of_them_is_held(tmp_path: Path) -> None:
    write_panoptic(tmp_path / "data")
    source = import_dataset(f"{tmp_path / 'data'}:coco_panoptic").source
    assert source._items.packed
    (block,) = source._items._blocks
    assert isinstance(block, bytes)
    assert len(block) < UPPER.size
    again = pickle.loads(pickle.dumps(source))  # as Ray sends it
    assert [i.record(None, 1, b"") for i in again] == [i.record(None, 1, b"") for i in source]
