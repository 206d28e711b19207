"""A COCO dataset in which every image is wrong in a way of its own, or only unusual."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import picture, write_coco


def _png_header(path: Path, width: int, height: int) -> None:
    """Write a PNG whose header promises width × height pixels, and whose data are not there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b""))


def _truncated(path: Path) -> None:
    picture(2, (200, 160)).save(path, quality=95)
    path.write_bytes(path.read_bytes()[:2000])


def _animated(path: Path) -> None:
    frames = [picture(seed) for seed in (3, 4)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _sixteen_bit(path: Path) -> None:
    ramp = np.linspace(0, 65535, 48 * 40).reshape(40, 48).astype(np.uint16)
    Image.fromarray(ramp).save(path)


def _palette_with_alpha(path: Path) -> None:
    picture(5).quantize(16).save(path, transparency=3)


def _directory(path: Path) -> None:
    path.mkdir()


# File name → how to make it, and the name of the status that its row must have.
CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a_good.png": (lambda path: picture(1).save(path), "OK"),
    "b_missing.jpg": (lambda path: None, "MISSING"),
    "c_empty.jpg": (lambda path: path.write_bytes(b""), "UNREADABLE"),
    "d_truncated.jpg": (_truncated, "UNREADABLE"),
    "e_text.jpg": (lambda path: path.write_text("not an image\n" * 50), "UNREADABLE"),
    "f_bomb.png": (lambda path: _png_header(path, 30_000, 30_000), "TOO_LARGE"),
    "g_16bit.png": (_sixteen_bit, "OK"),
    "h_cmyk.jpg": (lambda path: picture(6).convert("CMYK").save(path), "OK"),
    "i_palette_alpha.png": (_palette_with_alpha, "OK"),
    "j_1bit.png": (lambda path: picture(7).convert("1").save(path), "OK"),
    "k_animated.gif": (_animated, "OK"),
    "l_zero.png": (lambda path: _png_header(path, 0, 5), "UNREADABLE"),
    "m_directory.jpg": (_directory, "UNREADABLE"),
    "o_grey_alpha.png": (lambda path: picture(8).convert("LA").save(path), "OK"),
    "p_good.jpg": (lambda path: picture(9).save(path), "OK"),
}


@pytest.fixture
def hostile_coco(tmp_path: Path) -> Path:
    """Return the root of the COCO dataset with all CASES in ``train``."""
    root = write_coco(tmp_path / "hostile", [(name, (48, 40)) for name in CASES])
    for name, (make, _) in CASES.items():
        make(root / "images" / "train" / name)
    return root
