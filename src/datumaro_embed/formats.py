"""The image formats that are read, and what Pillow is asked about them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

from PIL import Image

from .kinds import is_heic

__all__ = ["UnknownFormatError", "identify", "png_size"]

# Formats that are pictures and that Pillow decodes by itself: no Ghostscript (EPS), no stubs.
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "DIB", "ICO"),
    *("PCX", "QOI", "SGI", "SUN", "TGA"),
)
# What a Pillow plugin raises for "not mine": the errors that Image.open goes on after.
_NOT_MINE = (SyntaxError, IndexError, TypeError, struct.error)
_NEW_SUBFILE_TYPE, _SUB_IFDS = 254, 330  # TIFF tags


def png_size(data: bytes) -> tuple[int, int]:
    """Return the size that a PNG's first chunk declares: a bomb may hold nothing more than that."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:
        return 0, 0
    width, height = struct.unpack(">II", data[16:24])
    return width, height


class UnknownFormatError(ValueError):
    """No format that is read here claims the file; `kinds.file_kind` may know it."""


def identify(data: bytes) -> Image.Image:
    """Do what ``Image.open`` does, without its bomb check, so that the size is always known.

    Raises
    ------
    UnknownFormatError
        Nothing that is read here; a camera's RAW file is one, though it has the form of a TIFF.
    ValueError, OSError
        An image whose header is damaged. A plugin may raise nearly anything else on such bytes.
    """
    if is_heic(data):  # before Pillow's AVIF plugin, which claims the brand that both may have
        return _open_heic(data)
    Image.init()
    damage = ""
    for name in _FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory is None or not _accepts(accept, data[:16]):
            continue
        if name == "TIFF" and data[8:10] == b"CR":  # CR2
            break
        try:
            image: Image.Image = factory(BytesIO(data), "")
        except _NOT_MINE as error:
            # Without an accept function the plugin was only a guess.
            damage = damage if accept is None else _damaged(name, error)
            continue
        if name == "TIFF" and _is_preview(image):
            break
        return image
    if damage:
        raise ValueError(damage)
    raise UnknownFormatError("not an image, or of a format that is not read here")


def _accepts(accept: Callable[[bytes], bool | str] | None, head: bytes) -> bool:
    """Ask a plugin whether a file is its own; without an accept function it must be tried."""
    try:
        verdict = accept is None or accept(head)
    except _NOT_MINE:  # it looks at more bytes than there are
        return False
    return bool(verdict) and not isinstance(verdict, str)  # a text says why it cannot


def _damaged(name: str, error: Exception) -> str:
    return f"damaged {name}, or of a rare kind that is not read here: {error}"


def _open_heic(data: bytes) -> Image.Image:
    """Open by pillow-heif, which is not registered with Pillow: others may not want it there."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise UnknownFormatError("pillow-heif is not installed") from None
    try:
        image: Image.Image = HeifImageFile(BytesIO(data), "")
    except _NOT_MINE as error:
        raise ValueError(_damaged("HEIC", error)) from error
    return image


def _is_preview(image: Image.Image) -> bool:
    """Tell whether the first page of a TIFF is one of a larger image, as in NEF, DNG and ARW."""
    tags = cast("Any", image).tag_v2
    return bool(tags.get(_NEW_SUBFILE_TYPE, 0) & 1 and _SUB_IFDS in tags)
