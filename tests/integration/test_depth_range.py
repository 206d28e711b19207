"""Photographs of more than 8 bits, from the files to the vectors, by every rule."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image as Medium
from PIL import Image

from datumaro_embed import ClipEncoder, find_duplicates, open_store, search
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.depth import DepthRange
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import ModelMismatchError, UsageError
from datumaro_embed.maintenance import merge_stores
from datumaro_embed.page import pictures
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.pipeline.progress import EmbedSummary
from support import SAMPLE, run

pytestmark = pytest.mark.slow

Picture = np.ndarray[Any, Any]
Pictures = list[Picture]


def scaled(bits: int, dtype: str = "u2") -> Callable[[Picture], Picture]:
    return lambda picture: np.rint(picture * ((2**bits - 1) / 255)).astype(dtype)


KINDS: dict[str, Callable[[Picture], Picture]] = {
    **{f"{bits} bits": scaled(bits) for bits in (8, 10, 12, 16)},
    **{f"{bits} bits, int16": scaled(bits, "i2") for bits in (8, 12, 15)},
    **{f"{bits} bits, int32": scaled(bits, "i4") for bits in (15, 30, 31)},
    "int16 around 0": lambda picture: (picture.astype("i2") - 128) * 100,
    **{f"float{8 * size}": lambda p, n=size: (p / 255).astype(f"f{n}") for size in (4, 8)},
    **{f"float{8 * size}, 255": lambda p, n=size: p.astype(f"f{n}") for size in (4, 8)},
    "float32 in colour": lambda picture: np.dstack([picture / 255] * 3).astype("f4"),
    "float64 in colour": lambda picture: np.dstack([picture.astype("f8")] * 3),
    "kelvin": lambda picture: (273 + picture / 8).astype(np.float32),
    "thermal": lambda picture: 27_000 + picture.astype(np.uint16) * 20,
}
OF_THEIR_TYPE = {"16 bits", "8 bits, int16", "15 bits, int16", "15 bits, int32"}
OF_THEIR_TYPE |= {"31 bits, int32"}
WARNS = {kind for kind in KINDS if not kind.startswith("float")} - OF_THEIR_TYPE


@pytest.fixture(scope="module")
def photographs() -> Pictures:
    """Twelve grey photographs: nine that differ, and a part of three of them."""
    files = sorted((SAMPLE / "coco" / "images").glob("*/photo_*.jpg"))
    whole = [np.asarray(Image.open(path).convert("L").reduce(3)) for path in files]
    parts = [picture[:, : picture.shape[1] // 2] for picture in whole[:3]]
    assert len(whole) == 9
    return [*whole, *parts]


def write(root: Path, pictures: Pictures) -> Path:
    root.mkdir()
    for number, samples in enumerate(pictures):
        if samples.dtype in {np.dtype("u1"), np.dtype("u2")}:
            Image.fromarray(samples).save(root / f"{number:02}.png")
        else:
            assert cv2.imwrite(str(root / f"{number:02}.tif"), samples)
    return root


def embed(root: Path, target: Path, encoder: Any, **options: Any) -> EmbedSummary:
    items = [
        DatasetItem(path.stem, subset="train", media=Medium.from_file(str(path)))
        for path in sorted(root.iterdir())
    ]
    source = SourceDataset(Dataset.from_iterable(items), root=root)
    return embed_source(source, target, EmbedOptions(**options), progress=False, encoder=encoder)


def mean_cosine(vectors: np.ndarray[Any, Any]) -> float:
    pairs = np.triu_indices(len(vectors), 1)
    return float((vectors @ vectors.T)[pairs].mean())


@pytest.mark.parametrize("kind", KINDS)
def test_photographs_of_any_depth_are_told_apart_as_those_of_8_bits(
    kind: str, photographs: Pictures, demo_as_used: ClipEncoder, tmp_path: Path
) -> None:
    expected = demo_as_used.embed_images(photographs)
    root = write(tmp_path / "data", [KINDS[kind](picture) for picture in photographs])
    summary = embed(root, tmp_path / "e.h5", demo_as_used)
    assert [reason.count for reason in summary.notes] == ([12] if kind in WARNS else [])
    with open_store(tmp_path / "e.h5") as store:
        by_default = store.to_numpy()
        # As of the 8-bit photographs, of which two are alike at 0.967 to the demo model.
        assert find_duplicates(store, threshold=0.98).pairs == ()
    by_auto = demo_as_used.embed_images(sorted(root.iterdir()), DepthRange.parse("auto"))
    for vectors in (by_default, by_auto):
        assert mean_cosine(vectors) == pytest.approx(mean_cosine(expected), abs=0.02)
        assert (vectors * expected).sum(axis=1).mean() > 0.98


def test_full_makes_them_nearly_equal_as_before(
    photographs: Pictures, demo_as_used: ClipEncoder
) -> None:
    """What the default must not do: without this the test above could not fail."""
    twelve = [KINDS["12 bits"](picture) for picture in photographs]
    assert mean_cosine(demo_as_used.embed_images(twelve, DepthRange.parse("full"))) > 0.99


def test_the_command_says_it(photographs: Pictures, tmp_path: Path) -> None:
    root = write(tmp_path / "data", [KINDS["12 bits"](picture[:64]) for picture in photographs])
    said = run(
        "datumaro-embed",
        "embed",
        f"{root}:image_dir",
        "--model",
        "demo",
        "--store",
        tmp_path / "e.h5",
    )
    assert (
        "12 16-bit images that use at most 12 bits, rescaled (--depth-range auto acc" in said.stdout
    )


def twelve_bits(root: Path, n_images: int = 4) -> Path:
    rng = np.random.default_rng(0)
    return write(root, [rng.integers(0, 4096, (9, 9)).astype(np.uint16) for _ in range(n_images)])


def test_vectors_of_another_depth_range_are_not_reused(tmp_path: Path) -> None:
    root, target, encoder = twelve_bits(tmp_path / "data"), tmp_path / "e.h5", FakeEncoder()
    embed(root, target, encoder)
    assert embed(root, target, encoder, depth_range="auto").n_reused == 4
    for rule in ("full", "0:4095", "0:4000"):
        assert embed(root, target, encoder, depth_range=rule).n_reused == 0
        assert embed(root, target, encoder, depth_range=rule).n_reused == 4
    assert embed(root, target, encoder, depth_range="0.0:4e3").n_reused == 4
    with open_store(target) as store:
        assert store.provenance["depth_range"] == "0:4000"
        assert store.kind.settings.endswith(", depth range 0:4000")


def test_stores_of_two_depth_ranges_are_not_merged(tmp_path: Path) -> None:
    root = twelve_bits(tmp_path / "data")
    for rule in ("auto", "0:4095"):
        embed(root, tmp_path / f"{rule[0]}.h5", FakeEncoder(), depth_range=rule)
    with pytest.raises(ModelMismatchError, match="depth range 0:4095"):
        merge_stores(
            [tmp_path / "a.h5", tmp_path / "0.h5"], tmp_path / "c.h5", on_duplicate="first"
        )
    merge_stores([tmp_path / "0.h5"] * 2, tmp_path / "c.h5", on_duplicate="first")
    with open_store(tmp_path / "c.h5") as store:
        assert store.depth_range == DepthRange.parse("0:4095")


def test_a_query_image_goes_by_the_range_of_the_store(tmp_path: Path) -> None:
    root, encoder = twelve_bits(tmp_path / "data"), FakeEncoder()
    for rule in (None, "auto", "full", "1000:3000"):
        embed(root, tmp_path / "e.h5", encoder, depth_range=rule)
        with open_store(tmp_path / "e.h5") as store:
            (first,) = search(store, root / "02.png", k=1, encoder=encoder)
            assert first.key.id == "02"
            assert first.similarity == pytest.approx(1, abs=1e-3)


def test_thumbnails_show_what_was_embedded(tmp_path: Path) -> None:
    root = write(tmp_path / "data", [np.full((40, 40), 2000, np.uint16)])
    levels = []
    for rule in ("0:2000", "full"):
        embed(root, tmp_path / "e.h5", FakeEncoder(), depth_range=rule)
        with open_store(tmp_path / "e.h5") as store:
            picture = pictures.Pictures(store, root).item(0, 160)
        levels.append(Image.open(io.BytesIO(picture)).getpixel((9, 9))[0])
    assert levels[0] > 250
    assert levels[1] < 12


def test_what_was_noticed_about_files_comes_to_the_summary(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    buffer = io.BytesIO()
    Image.effect_noise((64, 48), 60).save(buffer, "JPEG")
    (root / "a.jpg").write_bytes(buffer.getvalue()[:-2])
    (root / "b.jpg").write_bytes(buffer.getvalue()[:-2] + b"\0\0")
    (root / "c.jpg").write_bytes(buffer.getvalue()[:900])
    (root / "e.jpg").write_bytes(buffer.getvalue()[:900] + b"\xff\xd9")
    (root / "d.heic").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    summary = embed(root, tmp_path / "e.h5", FakeEncoder())
    lines = "\n".join(summary.lines())
    assert "2 JPEG files without an end marker (train/a, train/b)" in lines
    assert "1 × the JPEG file is truncated (train/c)" in lines
    assert "1 JPEG file with damaged data: part of the picture is gray or wrong (train/e" in lines
    assert "1 × it is a git-LFS pointer, not the image; run git lfs pull (train/d)" in lines


def test_a_wrong_range_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match="LOW:HIGH"):
        EmbedOptions(depth_range="9:1")
