"""Convert the pixels of any image to upright 8-bit RGB.

Rules
-----
- Colors are converted as in CLIP, by ``image.convert("RGB")``: alpha is dropped, not blended.
- depth.py scales samples of more than 8 bits, in files and arrays.
- A JPEG or PNG file that lacks only its end marker is read; a truncated one is an error.
"""

from __future__ import annotations

import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from .depth import DepthRange
from .endings import jpeg_has_no_end, load_jpeg, whole_jpeg
from .formats import identify, opencv_samples

# Decoded upright RGB image without metadata, and what is unusual about it: reasons for a Tally.
Decoded = tuple[Image.Image, tuple[str, ...]]

_JPEG = {"JPEG", "MPO"}  # MPO: several JPEGs in one file, the first of which is the image
_ORIENTATION_TAG = 0x0112
_TURN = Image.Transpose
_UPRIGHT = {  # by EXIF orientation
    2: _TURN.FLIP_LEFT_RIGHT,
    3: _TURN.ROTATE_180,
    4: _TURN.FLIP_TOP_BOTTOM,
    5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_270,
    7: _TURN.TRANSVERSE,
    8: _TURN.ROTATE_90,
}
# Premultiplied and palette-with-alpha modes have no direct conversion to RGB in Pillow.
_BY_WAY_OF = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}
# Pillow's raw mode of 16-bit color → the raw mode that reads the other byte of each sample.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_OTHER_BYTES = {"LA;16B": "RGBA"} | {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order, other in _OTHER_ORDER.items()
}


def decode_file(
    data: bytes, image: Image.Image, orientation: int, depth: DepthRange, least_side_px: int = 0
) -> Decoded:
    """Decode an image that `formats.identify` opened; `image` may be changed and returned.

    Raises `ValueError`, `OSError`: damaged or truncated data, or a mode that Pillow cannot convert
    (LAB without LittleCMS).

    `orientation`: EXIF, 1 to 8; `least_side_px`: see `images.OpenedImage.decode`.
    """
    ending = ""
    if image.format in _JPEG and jpeg_has_no_end(data):
        whole = whole_jpeg(data, lambda completed: identify(completed).tobytes())
        if whole is None:
            raise ValueError("the JPEG file is truncated")
        data, image, ending = whole, identify(whole), "JPEG files without an end marker"
    elif image.format == "PNG" and data.rfind(b"IEND") < 0:
        ending = "PNG files without an end chunk"
    if least_side_px > 0 and image.format in _JPEG:  # HEIC would give its thumbnail
        image.draft(None, (least_side_px, least_side_px))
    if getattr(image, "by_opencv", False):  # a TIFF with samples that Pillow has no mode for
        return decode_array(opencv_samples(image, data), depth, "bgr")
    if image.format in _JPEG and not ending and load_jpeg(image, data):
        ending = "JPEG files with damaged data: part of the picture is gray or wrong"
    rgb, note = _to_rgb(image, depth, data=data)
    return _upright(rgb, image, orientation), tuple(filter(None, (ending, note)))


def decode_alpha(data: bytes, orientation: int) -> Image.Image:
    """Decode the opacity of an image that has any, upright; raises as `decode_file`."""
    image = identify(data)
    return _upright(image.convert("RGBA").getchannel("A"), image, orientation)


def decode_opened(image: Image.Image, depth: DepthRange) -> Image.Image:
    """Decode an image that the caller has opened, without changing it."""
    return _upright(_to_rgb(image, depth)[0], image, orientation_of(image))


def _upright(rgb: Image.Image, image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    # Pillow turns TIFF upright by itself while decoding it.
    return rgb if method is None or image.format == "TIFF" else rgb.transpose(method)


def _to_rgb(image: Image.Image, depth: DepthRange, *, data: bytes = b"") -> tuple[Image.Image, str]:
    """Convert an image of any mode to RGB, without any metadata that could rotate it again.

    With `data`, the bytes of its file, the image may be changed and returned without a copy, and
    16-bit color keeps both bytes; Pillow alone reads only the high ones.
    """
    note = ""
    # Pillow has no mode for 16-bit color: it unpacks the first or the last byte of each sample,
    # depending on the byte order in the tile. With these tiles it decodes the low bytes.
    low_bytes: list[Any] = []
    if data and image.format in {"PNG", "TIFF"}:
        tiles: list[Any] = cast("Any", image).tile
        raw_modes = {tile.args if isinstance(tile.args, str) else tile.args[0] for tile in tiles}
        other = _OTHER_BYTES.get(raw_modes.pop()) if len(raw_modes) == 1 else None
        for tile in tiles if other is not None else ():
            args = other if isinstance(tile.args, str) else (other, *tile.args[1:])
            low_bytes.append(tile._replace(args=args))
    image.load()
    if data and image.format == "JPEG" and image.mode == "RGB":
        # Remove metadata in place, as a copy takes as long as the decoding.
        image.info = {}
        with suppress(Exception):  # damaged metadata, which this removes too
            image.getexif().clear()
        return image, note
    if image.mode.startswith("I") or image.mode == "F":
        pixels, note = depth.to_uint8(_samples(image))
        image = Image.fromarray(pixels)
    elif low_bytes and not depth.needs_only(high := np.asarray(image)[:, :, :3]):
        again = identify(data)
        cast("Any", again).tile = low_bytes
        low = np.asarray(again)
        # Gray with alpha comes as four bytes: high and low byte of gray, then of alpha.
        low = low[:, :, 1:2] if low_bytes[0].args == "RGBA" else low[:, :, :3]
        pixels, note = depth.to_uint8(np.left_shift(high.astype(np.uint16), 8) | low)
        image = Image.fromarray(pixels)
    # Remove the transparent color, for which Pillow would search although alpha is dropped.
    if "transparency" in image.info:
        image = image if data else image.copy()
        del image.info["transparency"]
    if image.mode in _BY_WAY_OF:
        image = image.convert(_BY_WAY_OF[image.mode])
    rgb = image.convert("RGB")
    rgb.info = {}
    return rgb, note


def _samples(image: Image.Image) -> npt.NDArray[Any]:
    samples = np.asarray(image)
    # Pillow scales 16-bit PGM to 0..65535 but calls its mode "I", like 32-bit integers.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return samples.astype(np.uint16)
    if image.mode == "I" and image.format == "TIFF":
        tags = cast("Any", image).tag_v2
        # The mode is signed, so values from 2**31 up would be negative.
        if tuple(tags.get(258, ())) == (32,) and tuple(tags.get(339, (1,))) == (1,):
            return samples.view(np.uint32)
    return samples


def decode_array(array: npt.NDArray[Any], depth: DepthRange, channel_order: str = "rgb") -> Decoded:
    """Convert an array to an RGB image.

    Raises `ValueError` for another shape, a dtype that is not real, or no pixels.

    Parameters
    ----------
    array : array of shape (height, width) or (height, width, 1 | 2 | 3 | 4)
        Gray, gray + alpha, color or color + alpha; any real dtype.
    channel_order : {"rgb", "bgr"}
        Order of the three color channels.
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
    samples, note = depth.to_uint8(colour)
    pixels = np.broadcast_to(samples, (*array.shape[:2], 3))
    return Image.fromarray(np.ascontiguousarray(pixels)), (note,) if note else ()


def rgbx(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return the pixels of an RGB image as Pillow has them: (height, width, 4), read-only.

    The fourth byte has no meaning. Not copied, unless they are in several blocks of memory.
    """
    import pyarrow as pa

    try:
        values = pa.array(image).values
        # Not `to_numpy`: it imports pandas, and ignores an interrupt meanwhile.
        found = np.frombuffer(values.buffers()[1], np.uint8, len(values), values.offset)
    except ValueError:
        found = np.frombuffer(image.tobytes("raw", "RGBX"), np.uint8)
    pixels: npt.NDArray[np.uint8] = found.reshape(image.height, image.width, 4)
    return pixels


def orientation_of(image: Image.Image, data: bytes = b"") -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none or it is damaged.

    Plugins apply a container's own rotation: Pillow turns AVIF's into EXIF, and pillow-heif rotates
    HEIC while decoding. Give `data`, the file's bytes, so that a PNG without EXIF need not be
    decoded: Pillow would look for EXIF after the pixels.
    """
    marks = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
    if data and image.format == "PNG" and not any(mark in data for mark in marks):
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged metadata raises nearly anything; the image is still good
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


_QUIET_MODULES = r"PIL(\.|$)"
_quiet_lock = threading.Lock()
_quiet_depth = 0


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore Pillow's warnings (damaged EXIF, bombs, APNG) while any thread is inside.

    ``warnings.catch_warnings`` is not thread-safe, so the first thread to enter adds one filter and
    the last one to leave removes it.
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
