"""Files that are no image that is read here are named, with what to do about them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from datumaro.util.image import IMAGE_EXTENSIONS
from PIL import Image

from datumaro_embed.images import MAX_PIXELS, ImageProblem, open_image, read_image, read_info
from datumaro_embed.kinds import IMAGE_SUFFIXES
from datumaro_embed.records import Status
from support import picture

LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
HTML = b"<html><head><title>404</title></head><body>Not found</body></html>"


def saved(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture(1).save(buffer, kind, **options)
    return buffer.getvalue()


def array_file() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((4, 4), np.uint8))
    return buffer.getvalue()


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("a.png", saved("PNG"))
    else:
        with tarfile.open(fileobj=buffer, mode="w") as file:
            file.addfile(tarfile.TarInfo("a.png"))
    return buffer.getvalue()


def hdf5() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["a"] = 1
    return buffer.getvalue()


def box(major: bytes, *compatible: bytes) -> bytes:
    """Return the first box of an ISO base media file, and nothing more."""
    body = b"ftyp" + major + b"\0\0\0\0" + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body + bytes(64)


NAMED = {
    "an SVG drawing": [
        SVG,
        b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made by hand -->\n" + SVG,
        b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd">' + SVG,
        "<?xml version='1.0' encoding='UTF-16'?>".encode("utf-16")
        + SVG.decode().encode("utf-16-le"),
    ],
    "a DICOM file": [bytes(128) + b"DICM" + b"\x02\0\0\0UL\x04\0"],
    "a JPEG XL image": [
        b"\xff\x0a\xfa\x1f\x41\x91",
        b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ",
        box(b"jxl ", b"jxl "),
    ],
    "a PDF document": [saved("PDF")],
    "a PostScript file": [saved("EPS"), b"\xc5\xd0\xd3\xc6\x20\0\0\0"],
    "a Photoshop file": [b"8BPS\0\x01" + bytes(40)],
    "a video": [
        box(b"isom", b"isom", b"iso2", b"mp41"),
        box(b"qt  ", b"qt  "),
        b"\0\0\0\x08wide\0\0\0\0mdat",
        b"\x1aE\xdf\xa3" + bytes(40),
    ],
    "a camera RAW file": [
        box(b"crx ", b"crx ", b"isom"),
        b"FUJIFILMCCD-RAW 0201",
        b"IIU\0\x08\0\0\0",
        saved("TIFF", tiffinfo={254: 1, 330: (8,)}),  # NEF and DNG: a preview, and where more is
        b"II*\0\x10\0\0\0CR\x02\0" + bytes(4) + saved("TIFF")[16:],
    ],
    "a ZIP archive": [archive("zip")],
    "a tar archive": [archive("tar")],
    "a gzip file": [gzip.compress(saved("PNG"))],
    "a bzip2 file": [bz2.compress(saved("PNG"))],
    "an xz file": [lzma.compress(saved("PNG"))],
    "a NumPy array": [array_file()],
    "an HDF5 file": [hdf5()],
    "an OpenEXR image": [b"v/1\x01\x02\0\0\0"],
    "a Radiance HDR image": [b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n"],
}
STAND_INS = {
    "git lfs pull": [LFS, b"version https://hawser.github.com/spec/v1\noid sha256:0\nsize 1\n"],
    "git annex get": [b"/annex/objects/SHA256E-s1--0.jpg\n", b"../.git/annex/objects/a/b.jpg"],
    "it is an HTML page": [HTML, b"\n <!DOCTYPE html>\n" + HTML, b"<!-- x -->\n<HTML>"],
    "it is an HTML or XML document": [b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>"],
    "it is JSON text": [json.dumps({"error": "Not Found"}).encode(), b' [{"a": 1}]', b"{}"],
    "it is a text file": [b"Forbidden\n", b"not an image\n" * 900, "naïve café".encode() * 999],
    "nothing but zero bytes": [bytes(5_000), b"\0"],
}


def problem_of(source: Any, **options: Any) -> ImageProblem:
    with pytest.raises(ImageProblem) as caught:
        read_image(source, **options)
    assert caught.value.info is not None
    return caught.value


@pytest.mark.parametrize("name", NAMED)
def test_files_of_another_kind_are_unsupported(name: str) -> None:
    for data in NAMED[name]:
        found = problem_of(data)
        assert found.status is Status.UNSUPPORTED, data[:20]
        assert found.reason.startswith(f"it is {name}; ")


@pytest.mark.parametrize("name", STAND_INS)
def test_what_stands_in_the_place_of_an_image_is_unreadable(name: str) -> None:
    for data in STAND_INS[name]:
        found = problem_of(data)
        assert found.status is Status.UNREADABLE
        assert name in found.reason
        assert "; " in found.reason


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mov"])
def test_videos_as_opencv_writes_them(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    codec = cv2.VideoWriter.fourcc(*("MJPG" if suffix == "avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, 10, (48, 40))
    writer.write(np.asarray(picture(1)))
    writer.release()
    assert problem_of(path).reason == "it is a video; extract its frames as images"


@pytest.mark.parametrize("data", [b"\x01\x02\x03\xf0" * 50, b"\n", b"P", b"\xff\xd8", b"RIFF"])
def test_what_nobody_knows_is_unreadable(data: bytes) -> None:
    found = problem_of(data)
    assert found.status is Status.UNREADABLE


def test_a_tiff_with_a_reduced_page_after_the_first_is_an_image() -> None:
    assert read_image(saved("TIFF", tiffinfo={254: 0}))[0].size == (48, 40)
    assert read_image(saved("TIFF", tiffinfo={254: 1}))[0].size == (48, 40)  # it has no other


def test_a_long_beginning_takes_no_longer() -> None:
    for piece in (b"<!-- ", b"<?xml ", b"<!doctype svg ", b"../", b"[", b" ", b"<!---->"):
        with pytest.raises(ImageProblem):
            read_image(piece * 2_000_000)


# ---------------------------------------------------------------------------------- HEIC and AVIF

# Blocks large enough that no codec smears the corners together.
PICTURE = np.kron(
    [[1, 0, 0, 0, 0, 2], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]],
    np.ones((16, 16), int),
)
UPRIGHT = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)[PICTURE]
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: UPRIGHT.transpose(1, 0, 2)[::-1],
    7: UPRIGHT.transpose(1, 0, 2)[::-1, ::-1],
    8: UPRIGHT.transpose(1, 0, 2)[:, ::-1],
}


def encoded(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if kind == "HEIC":
        pytest.importorskip("pillow_heif").from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_and_avif_are_turned_once(kind: str, orientation: int) -> None:
    data = encoded(STORED[orientation], kind, quality=95, exif=exif(orientation))
    image, info = read_image(data)
    gap = np.abs(np.asarray(image).astype(int) - UPRIGHT)[8::16, 8::16]
    assert gap.max() < 30
    assert (info.width, info.height) == (96, 64)
    assert read_info(data) == info


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_heic_modes(mode: str) -> None:
    image, _ = read_image(encoded(np.asarray(picture(2).convert(mode)), "HEIC", quality=95))
    expected = np.asarray(picture(2).convert(mode).convert("RGB")).astype(int)
    assert np.abs(np.asarray(image) - expected).mean() < 6  # of a colour, a quarter is kept


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_every_tenth_prefix_is_unreadable(kind: str) -> None:
    data = encoded(np.asarray(picture(3)), kind)
    for end in range(16, len(data) - 1, len(data) // 10):
        assert problem_of(data[:end]).status is Status.UNREADABLE


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_a_bomb_is_refused_by_its_header(kind: str) -> None:
    data = encoded(np.asarray(picture(4)), kind)
    at = data.index(b"ispe") + 8
    for side in (14_000, 1 << 20, (1 << 32) - 1):
        found = problem_of(data[:at] + 2 * side.to_bytes(4, "big") + data[at + 8 :])
        assert found.status in {Status.TOO_LARGE, Status.UNREADABLE}
    assert problem_of(data, max_pixels=48 * 40 - 1).status is Status.TOO_LARGE
    assert MAX_PIXELS < 14_000**2


def test_a_heic_that_is_larger_than_it_says_is_refused() -> None:
    data = encoded(np.asarray(picture(5, (640, 480))), "HEIC")
    at = data.index(b"ispe") + 8
    for width, height in ((64, 48), (640, 481), (640, 479)):
        small = data[:at] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + data[at + 8 :]
        assert problem_of(small).status is Status.UNREADABLE


def test_a_heic_is_not_read_from_its_thumbnail() -> None:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    file = heif.from_pillow(picture(6, (640, 480)))
    file[0].info["thumbnails"] = [128]
    file.save(buffer)
    assert open_image(buffer.getvalue()).decode(least_side_px=64).size == (640, 480)


def test_pillow_is_left_as_it_is() -> None:
    read_image(encoded(np.asarray(picture(7)), "HEIC"))
    assert not {"HEIF", "HEIC"} & set(Image.OPEN)
    assert ".heic" not in Image.registered_extensions()


@pytest.mark.parametrize("brands", [(b"heic",), (b"mif1", b"heic"), (b"mif1",), (b"msf1", b"hevc")])
def test_without_the_extra_a_heic_names_it(
    brands: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    found = problem_of(box(*brands))
    assert found.status is Status.UNSUPPORTED
    assert found.reason == (
        "it is a HEIC image; install the extra heif: pip install 'datumaro-embed[heif]'"
    )


def test_a_pillow_without_avif_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(np.asarray(picture(8)), "AVIF")
    monkeypatch.delitem(Image.OPEN, "AVIF")
    found = problem_of(data)
    assert found.status is Status.UNSUPPORTED
    assert found.reason.startswith("it is an AVIF image; install a Pillow that reads AVIF")


def test_suffixes_are_lower_case_and_have_those_of_what_is_read() -> None:
    Image.init()
    ours = {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "ICO", "TGA", "PPM"}
    known = {suffix for suffix, kind in Image.EXTENSION.items() if kind in ours}
    assert known - {".icb", ".vda", ".vst"} <= IMAGE_SUFFIXES
    assert IMAGE_EXTENSIONS <= IMAGE_SUFFIXES
    assert {".heic", ".jxl", ".dcm", ".svg", ".nef"} <= IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in IMAGE_SUFFIXES)
