"""Pillow, and the rules by which pixels of any kind become upright 8-bit RGB.

Rules
-----
- Colour is CLIP's own rule, ``image.convert("RGB")``: alpha is dropped, not blended.
- 16-bit samples keep their high byte. Wider integers are shifted until the largest fits in a byte.
  Floats are 0..255, or 0..1 where none is above 1. Values outside are clipped; NaN is 0.
- Arrays: uint8 as it is, uint16 its high byte, bool 0 or 255, everything else as above for floats.
"""

from __future__ import annotations

import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = [
    "apply_orientation",
    "array_to_rgb",
    "identify",
    "orientation_of",
    "png_size",
    "quiet_pillow",
    "to_rgb",
]

# Formats that are pictures and that Pillow decodes by itself: no Ghostscript (EPS), no stubs.
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "DIB", "ICO"),
    *("PCX", "QOI", "SGI", "SUN", "TGA"),
)
# What a Pillow plugin raises for "not mine": the errors that Image.open goes on after.
_NOT_MINE = (SyntaxError, IndexError, TypeError, struct.error)
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Premultiplied and palette-with-alpha modes have no direct conversion to RGB in Pillow.
_BY_WAY_OF = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}


def png_size(data: bytes) -> tuple[int, int]:
    """Return the size that a PNG's first chunk declares: a bomb may hold nothing more than that."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:
        return 0, 0
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def identify(data: bytes) -> Image.Image:
    """Do what ``Image.open`` does, without its bomb check, so that the size is always known.

    Raises
    ------
    ValueError, OSError
        Not an image of a format that is read here, or one whose header is damaged. A plugin may
        raise nearly anything else on damaged bytes.
    """
    Image.init()
    damage = "not an image, or of a format that is not read here"
    for name in _FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        verdict = factory is not None and (accept is None or accept(data[:16]))
        if isinstance(verdict, str):
            damage = verdict
        elif verdict and factory is not None:
            try:
                return factory(BytesIO(data), "")
            except _NOT_MINE as error:
                # Without an accept function the plugin was only a guess.
                damage = damage if accept is None else f"damaged {name}: {error}"
    raise ValueError(damage)


def to_rgb(image: Image.Image, *, own: bool = False) -> Image.Image:
    """Convert an image of any Pillow mode to RGB; decodes it if that has not happened yet.

    Parameters
    ----------
    image : Image.Image
    own : bool
        It is nobody else's: where it is RGB already it may be returned itself, uncopied.

    Returns
    -------
    Image.Image
        Mode RGB, without any metadata, so that nothing can rotate it a second time.

    Raises
    ------
    ValueError, OSError
        Pillow cannot convert this mode (LAB without LittleCMS).
    """
    image.load()
    if own and image.format == "JPEG" and image.mode == "RGB":
        return _bare(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_uint8(_samples(image)))
    # Pillow would look for a colour to stand for transparency; dropping alpha needs none.
    if "transparency" in image.info:
        image = image if own else image.copy()
        del image.info["transparency"]
    if image.mode in _BY_WAY_OF:
        image = image.convert(_BY_WAY_OF[image.mode])
    rgb = image.convert("RGB")
    rgb.info = {}
    return rgb


def _bare(image: Image.Image) -> Image.Image:
    """Take the metadata from a decoded image in place: a copy costs as much as the decoding."""
    image.info = {}
    with suppress(Exception):  # damaged metadata, of which nothing is left then either
        image.getexif().clear()
    return image


def array_to_rgb(array: npt.NDArray[Any], channel_order: str = "rgb") -> Image.Image:
    """Convert an array to an RGB image.

    Parameters
    ----------
    array : array of shape (height, width) or (height, width, 1 | 2 | 3 | 4)
        Grey, grey + alpha, colour, colour + alpha; any real dtype.
    channel_order : {"rgb", "bgr"}
        Of the three colour channels.

    Raises
    ------
    ValueError
        Another shape, a dtype that is not of real numbers, or no pixels.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in {1, 2, 3, 4} or array.size == 0:
        raise ValueError(f"an array of shape {array.shape} is not an image")
    if array.dtype.kind not in "buif":
        raise ValueError(f"an array of {array.dtype} is not an image")
    colour = array[:, :, :1] if array.shape[2] < 3 else array[:, :, :3]
    if channel_order == "bgr":
        colour = colour[:, :, ::-1]
    pixels = np.broadcast_to(_to_uint8(colour), (*array.shape[:2], 3))
    return Image.fromarray(np.ascontiguousarray(pixels))


def orientation_of(image: Image.Image, data: bytes = b"") -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none or it is damaged.

    Parameters
    ----------
    image : Image.Image
    data : bytes
        The file's bytes, where known: Pillow decodes a whole PNG to look for trailing EXIF, which
        is spared where no such chunk's name occurs in it.
    """
    marks = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
    if data and image.format == "PNG" and not any(mark in data for mark in marks):
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged metadata raises nearly anything, and must not cost the image
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def apply_orientation(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image as stored into an upright one."""
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _samples(image: Image.Image) -> npt.NDArray[Any]:
    samples = np.asarray(image)
    # Pillow scales 16-bit PGM to 0..65535 but calls its mode "I", like 32-bit integers.
    sixteen = image.mode.startswith("I;16") or image.format == "PPM"
    return samples.astype(np.uint16) if sixteen and image.mode != "F" else samples


def _to_uint8(samples: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if samples.dtype == np.bool_:
        samples = np.where(samples, 255, 0)
    elif samples.dtype == np.uint16:
        samples = np.right_shift(samples, 8)
    elif samples.dtype.kind in "ui" and samples.dtype != np.uint8:
        largest = int(samples.max(initial=0))
        samples = samples >> next(s for s in (0, 8, 24, 56) if largest >> s <= 255)
    elif samples.dtype.kind == "f":
        samples = np.nan_to_num(samples, nan=0.0, posinf=np.inf, neginf=0.0)
        samples = np.rint(samples * 255.0 if samples.max(initial=0) <= 1 else samples)
    pixels: npt.NDArray[np.uint8] = np.clip(samples, 0, 255).astype(np.uint8, copy=False)
    return pixels


_QUIET_MODULES = r"PIL(\.|$)"
_quiet_lock = threading.Lock()
_quiet_depth = 0


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore Pillow's warnings (damaged EXIF, bombs, APNG) while any thread is in here.

    ``warnings.catch_warnings`` is not thread-safe; one filter, put in by the first thread and taken
    out by the last, is.
    """
    global _quiet_depth
    with _quiet_lock:
        _quiet_depth += 1
        if _quiet_depth == 1:
            warnings.filterwarnings("ignore", module=_QUIET_MODULES)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                entry = ("ignore", None, Warning, re.compile(_QUIET_MODULES), 0)
                with suppress(ValueError):
                    cast("list[Any]", warnings.filters).remove(entry)
