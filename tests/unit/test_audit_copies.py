"""Copies in stores: candidates, groups, and which copy stays."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from datumaro import Dataset
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from copies_support import Picture, noise, on_a_page, scene, stamped, text
from datumaro_embed import embed_dataset, open_store
from datumaro_embed.auditing import (
    copies,
    find_copies,
    gates,
    passing,
    references,
)
from datumaro_embed.auditing.decoded import DecodedPictures
from datumaro_embed.auditing.framing import nesting
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.images import ImageProblem
from datumaro_embed.maintenance import merge_stores
from datumaro_embed.records import ItemKey, ItemRecord
from datumaro_embed.signatures import STATISTICS, describe, signature
from datumaro_embed.similarity import neighbours
from datumaro_embed.video import frame_path
from store_support import create_store


@pytest.mark.parametrize("k", [1, 3])
def test_neighbours_are_those_of_brute_force(k: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    rows = np.arange(0, 300, 2)
    products = vectors[rows] @ vectors[rows].T
    products /= np.linalg.norm(vectors[rows], axis=1)[:, None] * np.linalg.norm(
        vectors[rows], axis=1
    )
    np.fill_diagonal(products, -2)
    found = neighbours(vectors, rows, k)
    exact = rows[np.argsort(-products, axis=1)[:, :k]]
    assert np.mean([len({*a} & {*b}) / k for a, b in zip(found, exact, strict=True)]) > 0.95
    assert (neighbours(vectors, np.arange(2), 5)[:, 1:] == -1).all()
    assert neighbours(vectors, np.arange(0), 5).shape == (0, 5)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("n_alike", [0, 1500], ids=["all-differ", "many-equal"])
def test_neighbours_of_many_rows_are_as_near_as_by_brute_force(k: int, n_alike: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.integers(-127, 128, (3000, 16)).astype(np.float32)
    vectors[:, 0] = 127  # so that 8 bits hold them
    vectors[rng.choice(3000, n_alike, replace=False)] = vectors[0]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    products = units @ units.T
    np.fill_diagonal(products, -2)
    found = neighbours(vectors, np.arange(3000), k)
    assert (found != np.arange(3000)[:, None]).all()
    assert all(len({*row}) == k for row in found.tolist())
    best = -np.sort(-products, axis=1)[:, :k]
    assert np.take_along_axis(products, found, 1) == pytest.approx(best, abs=0.02)


def test_frames_of_a_camera_are_told_apart_before_their_pixels_are_read() -> None:
    camera = noise(7, cells=16)
    frames = []
    for x in (10, 11, 60, 150):
        frames.append(camera.copy())
        ImageDraw.Draw(frames[-1]).ellipse((x, 60, x + 45, 100), "red", "black", 3)
    signatures = np.stack([signature(np.asarray(frame)) for frame in frames])
    first, second = np.array([0, 0, 0, 2]), np.array([1, 2, 3, 3])
    assert passing(gates(signatures, first, second)).tolist() == [True, False, False, False]


# Signatures and statistics -----------------------------------------------------------------------


def statistics(pixels: np.ndarray) -> dict[str, float]:
    return dict(zip(STATISTICS, describe(Image.fromarray(pixels))[1].tolist(), strict=True))


def test_statistics_say_what_they_name() -> None:
    half = np.zeros((100, 200, 3), np.uint8)
    half[:, 100:] = (200, 100, 0)
    found = statistics(half)
    gray = 119  # of the orange half
    assert (found["p01"], found["p99"]) == (0, gray)
    assert found["mean"] == pytest.approx(gray / 2)
    assert found["entropy"] == pytest.approx(1)
    assert found["commonest"] == 0.5
    assert found["channel_difference"] == pytest.approx(100)
    assert found["noise"] == 0
    assert found["sharpness"] > 0.9  # across: there are no edges to see down
    assert found["flat"] == pytest.approx(1 - found["edges"])
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    for blurred in (cv2.blur(pixels, (9, 1)), cv2.blur(pixels, (9, 9))):
        found = statistics(blurred)
        assert found["sharpness"] < 0.5
    noisy = np.random.default_rng(0).normal(128, 5, (200, 200, 1)).repeat(3, 2).astype(np.uint8)
    assert statistics(noisy)["noise"] == pytest.approx(5, 0.15)


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 3), (500, 1), (3, 2), (40, 30), (901, 1001), (3000, 1501)]
)
def test_every_size_has_a_signature(size: tuple[int, int]) -> None:
    found, numbers = describe(Image.new("RGB", size, (77, 77, 77)))
    assert found.shape == (3072,)
    assert (found == 77).all()
    assert np.isfinite(numbers).all()
    assert numbers.dtype == np.float32


@pytest.mark.parametrize("size", [(320, 240), (641, 481), (2400, 1800)])
def test_a_signature_is_the_mean_of_each_cell(size: tuple[int, int]) -> None:
    image = noise(0, size)
    exact = np.asarray(image.resize((32, 32), Image.Resampling.BOX)).astype(int)
    differences = np.abs(describe(image)[0].reshape(32, 32, 3) - exact)
    assert differences.mean() < 2
    assert differences.max() < 16


# Stores ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures, their copies in val, and two pictures that are alone."""
    for name, picture in {
        "train/a": scene(1),
        "train/b": scene(2),
        "train/c": noise(5),
        "train/c2": noise(5),
        "val/a_small": scene(1).resize((120, 90), Image.Resampling.LANCZOS),
        "val/a_gray": scene(1).convert("L").convert("RGB"),
        "val/b_mirrored": ImageOps.mirror(scene(2)),
        "val/d": noise(6),
    }.items():
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    picture = tmp_path / "images" / "train" / "c2.png"
    with Image.open(picture) as there:  # other bytes, the same pixels
        there.save(picture, compress_level=1)
    return tmp_path / "images"


def embed(folder: Path, store: Path, **options: object):
    dataset = Dataset.import_from(str(folder), "imagenet_with_subset_dirs")
    return embed_dataset(
        dataset, store, encoder=FakeEncoder(), root=folder, progress=False, **options
    )


def test_copies_of_a_store(folder: Path, tmp_path: Path) -> None:
    with embed(folder, tmp_path / "s.h5") as store:
        ids = [key.id.split(":")[-1] for key in store.keys()]
        found = find_copies(store, k=7)
        groups = {tuple(sorted(ids[row] for row in group.rows)) for group in found.groups}
        assert groups == {("a", "a_gray", "a_small"), ("b", "b_mirrored"), ("c", "c2")}
        kinds = {(ids[p.first], ids[p.second]): p.proof.kind for p in found.pairs}
        assert kinds["c", "c2"] == "pixels"
        kept = {ids[group.keep]: group.rows for group in found.groups}
        assert kept.keys() == {"a_small", "b_mirrored", "c"}  # of val first, then what has colors
        assert {("a", "a_small"), ("a_gray", "a_small")} <= kinds.keys()  # beside what stays
        assert kinds["b", "b_mirrored"] == "picture"
        assert not found.unread
        # Without signatures in the store, they are made from the images.
        (folder / "val" / "d.png").unlink()
    with create_store(tmp_path / "bare.h5", dim=4) as run:
        for row, key in enumerate(store_keys(tmp_path / "s.h5")):
            run.append(key, np.eye(4, dtype=np.float32)[row % 4])
        run.seal({"media_root": str(folder)})
    with open_store(tmp_path / "bare.h5") as bare:
        assert not bare.has("items/signature")
        again = find_copies(bare, k=7)
        assert {p.rows for p in again.groups} == {p.rows for p in found.groups}
        ((key, reason),) = again.unread.items()
        assert key.id.split(":")[-1] == "d"
        assert reason.startswith("there is no file")


@pytest.mark.skipif(sys.platform != "linux", reason="forks are used on Linux alone")
def test_forks_find_what_threads_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "images"
    (folder / "train").mkdir(parents=True)
    for n in range(12):
        ImageOps.mirror(scene(n)).save(folder / "train" / f"{n:02}-mirrored.jpg")
        scene(n).save(folder / "train" / f"{n:02}.png")
        scene(n).resize((480, 360)).save(folder / "train" / f"{n:02}-large.png")
    store = tmp_path / "store.h5"
    embed(folder, store)
    (folder / "train" / "03.png").unlink()  # after it was embedded
    monkeypatch.setattr(copies, "_PROVEN_ROWS", 2)
    monkeypatch.setattr(references, "can_fork", lambda: True)  # other tests may leave a thread
    calls, by_forks = [], references.map_forked
    monkeypatch.setattr(
        references, "map_forked", lambda *work: calls.append(work) or by_forks(*work)
    )
    found = find_copies(store)
    assert calls
    calls.clear()
    monkeypatch.setattr(references, "can_fork", lambda: False)
    assert find_copies(store) == found
    assert not calls
    assert len(found.groups) == 12
    assert len(found.unread) == 1


def test_frames_of_a_video_are_told(folder: Path, tmp_path: Path) -> None:
    path = frame_path("a.mp4", 3)
    with create_store(tmp_path / "s.h5", dim=4) as run:
        for name in "ef":
            record = ItemRecord(ItemKey("train", name), path=path, content_sha256=b"f" * 32)
            run.append(record, np.eye(4, dtype=np.float32)[0])
        run.seal({"media_root": str(folder)})
    with open_store(tmp_path / "s.h5") as store:
        assert find_copies(store).pairs[0].proof.kind == "bytes"
        with pytest.raises(ImageProblem, match="frames of videos are not decoded"):
            DecodedPictures([store], [folder]).opened(1)


def link(folder: Path) -> None:
    """Move each file out of a folder and leave a link to it, as DVC and git-annex do."""
    cache = folder.parent / "cache"
    cache.mkdir()
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        path.rename(cache / str(number))
        path.symlink_to(cache / str(number))


def test_copies_of_links_are_proven(folder: Path, tmp_path: Path) -> None:
    with embed(folder, tmp_path / "s.h5") as store:
        found = find_copies(store, k=7)
        link(folder)
        again = find_copies(store, k=7)
    assert again == found
    assert len(found.groups) == 3
    assert not found.unread


def test_no_link_is_followed_to_what_the_store_has_no_hash_of(folder: Path, tmp_path: Path) -> None:
    embed(folder, tmp_path / "s.h5").close()
    records = store_keys(tmp_path / "s.h5")
    with create_store(tmp_path / "bare.h5", dim=4) as run:
        for record in records:
            run.append(replace(record, content_sha256=bytes(32)), np.eye(4, dtype=np.float32)[0])
        run.seal({"media_root": str(folder)})
    with open_store(tmp_path / "bare.h5") as bare:
        assert find_copies(bare, k=7).groups
        link(folder)
        found = find_copies(bare, k=7)
    assert not found.pairs
    assert found.unread == {
        record.key: "its path leads out of the media root" for record in records
    }


def test_many_copies_of_two_sorts_are_one_group(tmp_path: Path) -> None:
    """The likeliest copies of each are those of its sort."""
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    gray = scene(1).resize((160, 120)).convert("L").convert("RGB")
    for quality in (88, 89, 90, 91):
        scene(1).save(folder / f"large_{quality}.jpg", quality=quality)
        gray.save(folder / f"gray_{quality}.jpg", quality=quality)
    with embed(tmp_path / "images", tmp_path / "s.h5") as store:
        assert [group.rows for group in find_copies(store, k=7).groups] == [tuple(range(8))]


@pytest.mark.parametrize("seed", [2, 4, 5])
def test_many_copies_that_are_hardly_unlike_are_one_group(tmp_path: Path, seed: int) -> None:
    """The likeliest copies of each are those of its size, or of its interpolation."""
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    for width in (70, 100, 140, 200):
        for way in ("NEAREST", "BILINEAR", "BICUBIC", "LANCZOS"):
            copy = scene(seed).resize((width, width * 3 // 4), Image.Resampling[way])
            copy.save(folder / f"{width:03}{way}.jpg", quality=90)
    with embed(tmp_path / "images", tmp_path / "s.h5") as store:
        assert [group.rows for group in find_copies(store, k=7).groups] == [tuple(range(16))]


def test_frames_of_a_camera_are_proven_beside_the_one_that_stays(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    rng, camera = np.random.default_rng(1), noise(7, cells=16)
    for x in (10, 80, 150):
        for n in range(5):
            frame = camera.copy()
            ImageDraw.Draw(frame).ellipse((x, 60, x + 45, 100), "red", "black", 3)
            noisy = np.asarray(frame) + rng.normal(0, 2, (180, 240, 3))
            frame = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
            frame.save(folder / f"{x:03}_{n}.jpg", quality=90)
    with embed(tmp_path / "images", tmp_path / "s.h5") as store:
        found = find_copies(store, k=7)
    assert [group.rows for group in found.groups] == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9),
                                                      (10, 11, 12, 13, 14)]  # fmt: skip
    kept = {group.keep for group in found.groups}
    assert len(found.pairs) == 12  # of 30 within the groups
    assert all(len({pair.first, pair.second} & kept) == 1 for pair in found.pairs)


def test_what_is_framed_is_compared_by_what_is_inside(tmp_path: Path) -> None:
    """A page is near its picture by no vector, and by its colours near other pages."""
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    for n in range(24):
        noise(n).save(folder / f"{n:02}.png")
    for n in range(8):
        page = Image.new("RGB", (360, 290), "white")
        for y in range(26, 280, 13):
            ImageDraw.Draw(page).text((8, y), "the quick brown fox " * 4, "dimgray")
        page.paste(noise(n), (20 + 10 * n, 40))
        page.save(folder / f"page_{n}.png")
    with embed(tmp_path / "images", tmp_path / "s.h5") as store:
        ids = [key.id.split(":")[-1] for key in store.keys()]
        groups = [{ids[row] for row in g.rows} for g in find_copies(store, k=1).groups]
    assert sorted(map(sorted, groups)) == [[f"0{n}", f"page_{n}"] for n in range(8)]


def test_a_copy_joins_where_what_is_preferred_is_no_copy_of_all(tmp_path: Path) -> None:
    """The framed one is the largest, and is not proven beside the turned one."""
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    for name, changed in {
        "a": scene(1),
        "turned": scene(1).rotate(90, expand=True).resize((144, 192)),
        "framed": ImageOps.expand(scene(1), 24, "navy"),
    }.items():
        changed.save(folder / f"{name}.png")
    with embed(tmp_path / "images", tmp_path / "s.h5") as store:
        (group,) = find_copies(store, k=2).groups
        assert len(group.rows) == 3
        assert store.key(group.keep).id.split(":")[-1] == "a"


def test_pictures_of_unlike_opacity_are_no_copies(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    for colours in (noise(1), Image.new("RGB", (240, 180))):
        for n in range(4):
            icon, alpha = colours.copy(), Image.new("L", colours.size)
            ImageDraw.Draw(alpha).ellipse((20 + 40 * n, 20, 80 + 40 * n, 140 - 20 * n), 255)
            icon.putalpha(alpha)
            icon.save(folder / f"{colours.getpixel((0, 0))[0]}_{n}.png")
    icon.save(folder / "equal.png", compress_level=1)
    noise(2).convert("RGBA").save(folder / "opaque.png")
    noise(2).save(folder / "opaque_too.png")
    with embed(tmp_path / "images", tmp_path / "s.h5") as store:
        ids = [key.id.split(":")[-1] for key in store.keys()]
        found = {tuple(ids[row] for row in g.rows) for g in find_copies(store).groups}
        assert {tuple(sorted(names)) for names in found} == {
            ("0_3", "equal"),
            ("opaque", "opaque_too"),
        }


def store_keys(path: Path) -> list[ItemRecord]:
    with open_store(path) as store:
        records = [store.item(row) for row in range(len(store))]
    return [replace(r, signature=None, statistics=None, annotations=()) for r in records]


def test_signatures_are_kept_with_their_vectors(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with embed(folder, path) as store:
        first = store.column("items/signature").copy()
        numbers = store.column("items/statistics").copy()
        assert (first != 0).any(axis=1).all()
    noise(9).save(folder / "val" / "e.png")
    with embed(folder, path) as store:  # all but one are re-used, and decoded no more
        rows = [row for row, key in enumerate(store.keys()) if not key.id.endswith("e")]
        assert np.array_equal(store.column("items/signature")[rows], first)
        assert np.array_equal(store.column("items/statistics")[rows], numbers)
        assert store.item(0).signature == first[0].tobytes()
        assert store.verify() == []


@pytest.mark.parametrize("name", ["merged.h5", "merged"])
def test_a_store_without_signatures_joins_one_with(tmp_path: Path, name: str) -> None:
    vector = np.array([0, 1], np.float32)
    numbers = (0.5,) * len(STATISTICS)
    known = ItemRecord(ItemKey("", "a"), signature=b"\1" * 3072, statistics=numbers)
    for file, record in (("a.h5", known), ("b.h5", ItemRecord(ItemKey("", "b")))):
        with create_store(tmp_path / file, dim=2) as run:
            run.append(record, vector)
            run.seal({})
    with open_store(tmp_path / "b.h5") as store:
        assert not store.has("items/signature")
    merge_stores([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / name)
    with open_store(tmp_path / name) as store:
        assert [store.item(row) for row in range(2)] == [known, ItemRecord(ItemKey("", "b"))]
        sums = store.gather("items/statistics", [1, 0]).sum(axis=1)
        assert sums.tolist() == [0, sum(numbers)]


def groups_of(folder: Path, store: Path, **options: int) -> list[tuple[str, set[str]]]:
    """What stays and the ids, of each group of a folder's copies."""
    with embed(folder, store) as opened:
        ids = [key.id.split(":")[-1] for key in opened.keys()]
        groups = find_copies(opened, **options).groups
        return [(ids[group.keep], {ids[row] for row in group.rows}) for group in groups]


def test_equal_pixels_are_found_among_many_of_other_opacity(tmp_path: Path) -> None:
    """The same colors under many alphas: signatures and vectors are equal, pictures are not."""
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    colours = noise(1)
    for n in range(12):
        icon, alpha = colours.copy(), Image.new("L", colours.size)
        ImageDraw.Draw(alpha).ellipse((15 * n, 20, 60 + 15 * n, 160 - 5 * n), 255)
        icon.putalpha(alpha)
        icon.save(folder / f"icon_{n:02}.png")
    icon.save(folder / "equal.png", compress_level=1)
    colours.save(folder / "opaque.png")
    colours.save(folder / "opaque_too.bmp")
    colours.save(folder / "lossy.jpg", quality=90)
    found = groups_of(tmp_path / "images", tmp_path / "s.h5")
    assert sorted(sorted(ids) for _, ids in found) == [
        ["equal", "icon_11"],
        ["lossy", "opaque", "opaque_too"],
    ]


def test_more_equal_pictures_than_are_looked_at_are_one_group_with_what_is_made_of_them(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    for level in range(10):
        scene(1).save(folder / f"{level}.png", compress_level=level)
    scene(1).resize((120, 90)).save(folder / "small.png")
    ((keep, ids),) = groups_of(tmp_path / "images", tmp_path / "s.h5")
    assert (keep, len(ids)) == ("0", 11)


def test_the_copy_that_stays_is_the_one_with_most_in_it(tmp_path: Path) -> None:
    """Neither the first by name nor that with most pixels, if it holds less."""
    sharp = scene(1)
    worse: dict[str, Picture] = {
        "gray": sharp.resize((480, 360)).convert("L"),
        "framed": ImageOps.expand(sharp, 24, "navy"),
        "on a page": on_a_page(sharp),
        "blown up": sharp.resize((60, 45)).resize((480, 360), Image.Resampling.BICUBIC),
        "blurred": sharp.filter(ImageFilter.GaussianBlur(1.5)),
        "stamped": stamped(sharp),
        "stamped and larger": stamped(sharp).resize((480, 360)),
        "blurred and stamped": stamped(sharp.filter(ImageFilter.GaussianBlur(1.5))),
        "small": sharp.resize((120, 90)),
        "cropped": sharp.crop((30, 20, 215, 160)),
        "cropped and larger": sharp.crop((30, 20, 215, 160)).resize((370, 280)),
    }
    for name, picture in worse.items():
        folder = tmp_path / name / "train"
        folder.mkdir(parents=True)
        picture.save(folder / "a.png")
        sharp.save(folder / "b.png")
        assert groups_of(folder.parent, tmp_path / f"{name}.h5") == [("b", {"a", "b"})], name


def darkened(picture: Picture, by: float, plus: float = 0) -> Picture:
    return Image.fromarray((np.asarray(picture) * by + plus).astype(np.uint8))


def drawing() -> Picture:
    picture = Image.new("RGB", (240, 180), (250, 240, 210))
    draw = ImageDraw.Draw(picture)
    for n, fill in enumerate(["red", "navy", "green", "orange", "purple", "black"]):
        draw.ellipse((10 + 36 * n, 15 + 20 * n, 70 + 28 * n, 60 + 18 * n), fill)
    return picture


def with_noise(picture: Picture) -> Picture:
    off = np.random.default_rng(0).normal(0, 12, (picture.height, picture.width, 3))
    return Image.fromarray((np.asarray(picture) + off).clip(0, 255).astype(np.uint8))


PALE = ImageEnhance.Color(scene(1)).enhance(0.3)
# name: the worse copy, its quality if it is a JPEG, and the better one's
LOSSES: dict[str, tuple[Picture, int, Picture, int]] = {
    "JPEG of quality 40": (scene(1), 40, scene(1), 95),
    "JPEG of quality 40, of what is lossless": (scene(1), 40, scene(1), 0),
    "posterized": (ImageOps.posterize(scene(1), 4), 0, scene(1), 0),
    "posterized, of a JPEG": (ImageOps.posterize(scene(1), 3), 0, scene(1), 50),
    "few colors": (PALE.quantize(48).convert("RGB"), 0, PALE, 75),
    "darkened": (darkened(scene(1), 0.35), 95, scene(1), 95),
    "faded": (darkened(scene(1), 0.4, 100), 0, scene(1), 0),
    "JPEG of a drawing": (drawing(), 40, drawing(), 0),
    "coarse JPEG of a drawing": (drawing(), 20, drawing(), 0),
}


def saved(picture: Picture, quality: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if quality:
        picture.save(path.with_suffix(".jpg"), quality=quality)
    else:
        picture.save(path.with_suffix(".png"))


@pytest.mark.parametrize("name", LOSSES)
def test_of_copies_of_one_size_that_with_less_loss_stays(name: str, tmp_path: Path) -> None:
    worse, quality, better, other_quality = LOSSES[name]
    for place, (a, b) in {"first": (0, 1), "last": (1, 0)}.items():
        images = [(worse, quality, "worse"), (better, other_quality, "better")]
        for order, (picture, its_quality, its_name) in zip((a, b), images, strict=True):
            saved(picture, its_quality, tmp_path / place / "train" / f"{order}_{its_name}")
        ((kept, rows),) = groups_of(tmp_path / place, tmp_path / f"{place}.h5")
        assert (kept[2:], len(rows)) == ("better", 2), place


@pytest.mark.parametrize(
    ("first", "quality", "second", "other_quality"),
    [
        (scene(1), 85, scene(1), 95),
        (scene(1), 85, scene(1), 0),
        (scene(1), 0, scene(1), 85),
        (drawing(), 0, with_noise(drawing()), 0),
        (scene(1), 90, with_noise(scene(1)), 90),
        (scene(1), 90, ImageEnhance.Brightness(scene(1)).enhance(0.8), 90),
    ],
    ids=["JPEG", "JPEG, PNG", "PNG, JPEG", "drawing and noise", "noise", "darker"],
)
def test_of_copies_that_are_nearly_as_good_the_first_by_name_stays(
    first: Picture, quality: int, second: Picture, other_quality: int, tmp_path: Path
) -> None:
    saved(first, quality, tmp_path / "images" / "train" / "a")
    saved(second, other_quality, tmp_path / "images" / "train" / "b")
    assert groups_of(tmp_path / "images", tmp_path / "s.h5") == [("a", {"a", "b"})]


def test_of_many_copies_of_one_size_the_best_stays(tmp_path: Path) -> None:
    copies = {
        "a": (scene(1), 20),
        "b": (darkened(scene(1), 0.35), 0),
        "c": (ImageOps.posterize(scene(1), 3), 0),
        "d": (scene(1).filter(ImageFilter.GaussianBlur(0.8)), 95),
        "e": (scene(1), 92),
        "f": (scene(1), 60),
    }
    for name, (picture, quality) in copies.items():
        saved(picture, quality, tmp_path / "images" / "train" / name)
    ((kept, rows),) = groups_of(tmp_path / "images", tmp_path / "s.h5")
    assert (kept, rows) == ("e", {*copies})


def on_plain_ground(seed: int) -> Picture:
    """A thing photographed in a studio."""
    whole = Image.new("RGB", (300, 220), (244, 244, 244))
    cut = Image.new("L", (240, 180))
    ImageDraw.Draw(cut).ellipse((60, 20, 200, 160), 255)
    whole.paste(noise(seed, cells=24), (30, 20), cut)
    return whole


def test_a_whole_picture_on_plain_ground_stays_before_a_part_of_it(tmp_path: Path) -> None:
    """Plain ground is no border: nothing says so but an edge where the part ends."""
    whole = on_plain_ground(1)
    parts = {
        "through the thing": whole.crop((60, 0, 200, 160)),
        "through the thing, larger": whole.crop((60, 0, 200, 160)).resize((560, 640)),
        "ground cut away": whole.crop((60, 20, 260, 200)),
    }
    for name, part in parts.items():
        folder = tmp_path / name / "train"
        folder.mkdir(parents=True)
        part.save(folder / "a.png")
        whole.save(folder / "b.png")
        assert groups_of(folder.parent, tmp_path / f"{name}.h5") == [("b", {"a", "b"})], name


def nested(inner: Picture, outer: Picture) -> str:
    pixels = [np.asarray(picture) for picture in (inner, outer)]
    signatures = np.stack([signature(one) for one in pixels])
    return nesting(pixels[0], pixels[1], (inner.size, outer.size), signatures)


def test_what_is_around_a_picture_is_told() -> None:
    picture, text_page = scene(1), text(1).resize((360, 290))
    text_page.paste(picture, (70, 60))
    assert nested(picture, text_page) == "framed"
    assert nested(picture, on_a_page(picture)) == "framed"
    assert nested(picture, ImageOps.expand(picture, 24, "navy")) == "framed"
    assert nested(ImageOps.mirror(picture), on_a_page(picture)) == "framed"
    beside_another = Image.new("RGB", (340, 190), "white")
    beside_another.paste(picture, (5, 5))
    beside_another.paste(noise(2, (80, 180)), (255, 5))
    assert nested(picture, beside_another) == ""  # the other is lost with it
    assert nested(picture.crop((30, 20, 215, 160)), picture) == "cropped"
    pixels = [np.asarray(picture.crop((30, 20, 215, 160))), np.asarray(picture)]
    signatures = np.stack([signature(one) for one in pixels])
    assert nesting(pixels[0], pixels[1], ((1850, 1400), picture.size), signatures) == ""


def test_large_pictures_are_compared_where_their_pixels_differ(tmp_path: Path) -> None:
    """At 256 px both are sharp; only one has as much in it as its size says."""
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    picture = noise(1, (1000, 750), cells=300)
    picture.save(folder / "real.png")
    picture.resize((300, 225)).resize((1200, 900), Image.Resampling.BICUBIC).save(
        folder / "blown_up.png"
    )
    assert groups_of(tmp_path / "images", tmp_path / "s.h5") == [("real", {"real", "blown_up"})]
