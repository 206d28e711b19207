"""JPEG and PNG files that stop early: only one that lacks nothing but its end is an image."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datumaro_embed.endings import jpeg_has_no_end
from datumaro_embed.images import ImageProblem, open_image, read_image
from datumaro_embed.records import Status
from support import SAMPLE, picture

JPEG_NOTE = ("JPEG files without an end marker",)
DAMAGED_NOTE = ("JPEG files with damaged data: part of the picture is gray or wrong",)
PNG_NOTE = ("PNG files without an end chunk",)
JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    **{f"restart after {n}": {"restart_marker_blocks": n} for n in (1, 2, 3, 5)},
    "optimised, full chroma": {"optimize": True, "subsampling": 0},
    "exif thumbnail": {"exif": b"Exif\0\0" + b"\xff\xd8\xff\xd9" * 3},
    "fine": {"quality": 100, "progressive": True, "subsampling": 0},
}


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes, **options: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    opened = open_image(data)
    return np.asarray(opened.decode(**options)), opened.notes


def reason(data: bytes) -> str:
    with pytest.raises(ImageProblem) as caught:
        read_image(data)
    assert caught.value.status is Status.UNREADABLE
    return caught.value.reason


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_whole_jpeg_without_its_end_is_read_with_a_note(kind: str, mode: str) -> None:
    data = encoded(picture(1, (60, 44)).convert(mode), **JPEGS[kind])
    whole, notes = decoded(data)
    assert notes == ()
    for ending in (b"", b"\xff", b"\0" * 5_000):
        cut = data[:-2] + ending
        pixels, notes = decoded(cut)
        assert np.array_equal(pixels, whole)
        assert notes == JPEG_NOTE


@pytest.mark.parametrize("kind", JPEGS)
def test_every_prefix_of_a_jpeg_is_whole_or_unreadable(kind: str) -> None:
    """Also where it is cut between two scans: what they refine is missing."""
    data = encoded(picture(2, (40, 24)), **JPEGS[kind])
    whole, _ = decoded(data)
    n_whole = 0
    for end in range(2, len(data) - 2):
        try:
            pixels, notes = decoded(data[:end])
        except ImageProblem:
            continue
        # A last byte may hold nothing but padding, or bits that decode to the same.
        n_whole += 1
        assert end >= len(data) - 4
        assert np.array_equal(pixels, whole)
        assert notes == JPEG_NOTE
    assert n_whole <= 2


def test_zeros_may_be_all_that_an_even_jpeg_has() -> None:
    """With Huffman codes made for it, "as before" is a zero bit."""
    data = encoded(Image.new("RGB", (300, 300), "red"), optimize=True, subsampling=0)
    assert data[-6:-2].count(b"\0") >= 3
    whole, _ = decoded(data)
    pixels, notes = decoded(data[:-2])
    assert np.array_equal(pixels, whole)
    assert notes == JPEG_NOTE
    for cut in (data[:-3], data[:-40], data[: -len(data) // 4]):
        assert reason(cut) == "the JPEG file is truncated"


def test_a_photograph_cut_in_half_is_unreadable(tmp_path: Path) -> None:
    photo = (SAMPLE / "coco" / "images" / "train" / "photo_01.jpg").read_bytes()
    with Image.open(io.BytesIO(photo)) as image:
        progressive = encoded(image, progressive=True)
    for data in (photo, progressive):
        for cut in (data[: len(data) // 2], data[:-20]):
            assert reason(cut) == "the JPEG file is truncated"
            assert reason(cut + b"\0" * 9_000) == "the JPEG file is truncated"
        assert decoded(data[:-2])[1] == JPEG_NOTE


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_lacks_data_before_its_end_has_a_note(kind: str, mode: str) -> None:
    """libjpeg makes grey of them, without an error. Of a progressive one a scan must be missing."""
    data = encoded(picture(9, (160, 120)).convert(mode), **JPEGS[kind])
    whole, notes = decoded(data)
    assert notes == ()
    starts = [found.start() for found in re.finditer(b"\xff\xda", data)]
    ends = range(starts[-1] + 20, len(data) - 8, 97) if len(starts) == 1 else starts[1:]
    for end in ends:
        damaged = data[:end] + data[-2:]
        pixels, notes = decoded(damaged)
        assert notes == DAMAGED_NOTE
        assert pixels.shape == whole.shape
    assert decoded(damaged, least_side_px=30)[1] == DAMAGED_NOTE
    assert decoded(damaged + data)[1] == DAMAGED_NOTE


def test_a_gap_in_a_jpeg_has_a_note() -> None:
    data = encoded(picture(9, (160, 120)))
    for start in range(data.rindex(b"\xff\xda") + 20, len(data) - 400, 97):
        assert decoded(data[:start] + data[start + 300 :])[1] == DAMAGED_NOTE
        assert decoded(data[:start] + bytes(300) + data[start + 300 :])[1] == DAMAGED_NOTE


@pytest.mark.parametrize("trailing", [b"", b"\0" * 99, b"another"])
def test_data_that_no_part_of_the_picture_needs_have_a_note(trailing: bytes) -> None:
    """As where bits were lost that made fewer blocks of the data."""
    data = encoded(picture(9))
    assert decoded(data[:-2] + b"\x12" * 64 + data[-2:] + trailing)[1] == DAMAGED_NOTE
    assert decoded(data[:-2] + b"\0\0" + data[-2:] + trailing)[1] == ()  # padding


def test_other_images_in_the_file_are_no_damage() -> None:
    data = encoded(picture(9))
    assert decoded(data + encoded(picture(10)))[1] == ()
    buffer = io.BytesIO()
    picture(9).save(buffer, "MPO", save_all=True, append_images=[picture(10)])
    assert decoded(buffer.getvalue())[1] == ()


@pytest.mark.parametrize("n_scans", range(1, 10))
def test_a_progressive_jpeg_cut_after_a_scan_is_unreadable(n_scans: int) -> None:
    data = encoded(picture(3, (40, 24)), progressive=True)
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(starts) == 10
    cut = data[: data.rindex(b"\xff\xc4", 0, starts[n_scans])]  # before the next scan's tables
    assert reason(cut) == "the JPEG file is truncated"


def test_a_jpeg_without_its_end_is_reduced_like_any_other() -> None:
    data = encoded(picture(4, (640, 480)))
    expected, _ = decoded(data, least_side_px=100)
    pixels, notes = decoded(data[:-2], least_side_px=100)
    assert pixels.shape == (120, 160, 3)
    assert np.array_equal(pixels, expected)
    assert notes == JPEG_NOTE


def test_the_orientation_of_a_jpeg_without_its_end_counts() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(5, (60, 44)), exif=exif.tobytes())
    assert np.array_equal(decoded(data[:-2])[0], decoded(data)[0])
    assert decoded(data[:-2])[0].shape == (60, 44, 3)


@pytest.mark.parametrize("garbage", [b"\0", b"\r\n", b"trailing\xff\xda\0\2" * 99, b"\xff" * 9])
def test_what_follows_the_end_is_nobodys_business(garbage: bytes) -> None:
    data = encoded(picture(6))
    pixels, notes = decoded(data + garbage)
    assert np.array_equal(pixels, decoded(data)[0])
    assert notes == ()


def test_long_runs_of_markers_are_passed_quickly() -> None:
    """Each would take minutes where it is walked byte by byte, or where a search goes back."""
    begin = encoded(picture(7))[:-2]
    for tail in (b"\xff" * 20_000_000, b"\xff" * 20_000_000 + b"\0", b"\xff\xda\0\2" * 5_000_000):
        jpeg_has_no_end(begin + tail)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16"])
def test_every_prefix_of_a_png_is_whole_or_unreadable(mode: str) -> None:
    image = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 99)
    if mode != "I;16":
        image = picture(8, (30, 20)).convert(mode)
    data = encoded(image, "PNG")
    whole, notes = decoded(data)
    assert notes == ()
    n_whole = 0
    for end in range(8, len(data)):
        try:
            pixels, notes = decoded(data[:end])
        except ImageProblem:
            continue
        n_whole += 1
        # IEND, the checksums of IDAT and of its data, and the code that ends these
        assert end >= len(data) - 12 - 4 - 4 - 2
        assert np.array_equal(pixels, whole)
        assert notes == (PNG_NOTE if b"IEND" not in data[:end] else ())
    assert n_whole >= 12
