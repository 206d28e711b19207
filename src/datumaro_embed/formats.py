"""Identify image files and open them with Pillow, OpenCV or pillow-heif."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from .kinds import FileKind, file_kind, is_heic
from .records import Status

# Raster formats that Pillow decodes without other programs: no Ghostscript (EPS), no stubs.
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "DIB", "ICO"),
    *("PCX", "QOI", "SGI", "SUN", "TGA"),
)
# Errors by which a Pillow plugin rejects a file; Image.open then tries the next plugin.
_NOT_MINE = (SyntaxError, IndexError, TypeError, struct.error)
# TIFF tags
_NEW_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _CHANNELS = 254, 258, 262, 277
_PLANAR, _SUB_IFDS, _SAMPLE_FORMAT = 284, 330, 339
_SAMPLE_FORMATS = {1: "unsigned integer", 2: "signed integer", 3: "float"}
# What OpenCV decodes unchanged: (sample format, bits) and (photometric interpretation, channels).
_OPENCV_SAMPLES = {(3, 32), (3, 64), (2, 16), (2, 32)}
_OPENCV_COLOURS = {(1, 1), (2, 3), (2, 4)}
_MOST_SAMPLE_BYTES = 1 << 30
_LOSSLESS = {"PNG", "GIF", "BMP", "DIB", "ICO", "PPM", "PCX", "QOI", "SGI", "SUN", "TGA"}
_STEPS_AT_50 = 3688  # sum of the luma steps of JPEG's quality 50
_opencv_lock = threading.Lock()


def png_size(data: bytes) -> tuple[int, int]:
    """Return the (width, height) in a PNG's first chunk, which may be all that a bomb contains."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:
        return 0, 0
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


class UnknownFormatError(ValueError):
    """The file's format is not supported; `kind` names it."""

    def __init__(self, kind: FileKind | None) -> None:
        reason = "not an image, or in an unsupported format"
        self.kind = kind or FileKind(Status.UNREADABLE, reason)
        super().__init__(self.kind.reason)


class _Tiff(TiffImageFile):
    """A TIFF whose samples Pillow may have no mode for."""

    def _setup(self) -> None:
        try:
            super()._setup()
            self.by_opencv = self._facts()[:2] == (2, 8)  # Pillow reads signed bytes as unsigned
        except SyntaxError:  # Pillow has no mode for the samples; it has read the size by then
            self._mode, self.by_opencv = "F", True

    def _facts(self) -> tuple[int, int, int, int]:
        """Return sample format, bits, channels and photometric interpretation; 0: mixed."""
        tags = self.tag_v2
        kinds, bits = (set(tags.get(tag, (1,))) for tag in (_SAMPLE_FORMAT, _BITS))
        kind, size = (found.pop() if len(found) == 1 else 0 for found in (kinds, bits))
        return kind, size, tags.get(_CHANNELS, 1), tags.get(_PHOTOMETRIC, 0)

    def check(self) -> None:
        """Raise `UnknownFormatError` if neither Pillow nor OpenCV reads the samples correctly."""
        kind, bits, channels, colour = self._facts()
        in_planes = self.tag_v2.get(_PLANAR, 1) == 2 and channels > 1
        # Pillow reads only the high bytes of 16-bit planes, and noise if they are uncompressed.
        if not self.by_opencv and not (in_planes and bits > 8):
            return
        form = _SAMPLE_FORMATS.get(kind, "other")
        name = f"a TIFF of {channels} x {bits or 'mixed'}-bit {form} samples"
        if self.width * self.height * channels * bits > 8 * _MOST_SAMPLE_BYTES:
            reason = f"{name}, {self.width} x {self.height}: more than 1 GiB"
            raise UnknownFormatError(FileKind(Status.TOO_LARGE, reason))
        is_known = (kind, bits) in _OPENCV_SAMPLES and (colour, channels) in _OPENCV_COLOURS
        if is_known and not in_planes:
            return
        advice = "; convert it to 16-bit PNG or 32-bit float TIFF"
        if in_planes:
            advice = " in separate planes; save it with interleaved channels"
        raise UnknownFormatError(FileKind(Status.UNSUPPORTED, f"it is {name}{advice}"))


def opencv_samples(image: Image.Image, data: bytes) -> npt.NDArray[Any]:
    """Decode a TIFF's samples that Pillow has no mode for: upright, BGR."""
    import cv2
    from cv2.utils import logging

    with _opencv_lock:  # OpenCV logs a line for each unknown tag, and its log level is global
        level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
        try:
            found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        finally:
            logging.setLogLevel(level)
    if found is None or found.shape[:2] != image.size[::-1]:
        raise ValueError("the TIFF file is truncated or damaged, or OpenCV cannot decompress it")
    return found


def quantization_steps(image: Image.Image) -> float | None:
    """Give the steps of an opened JPEG's luma, in percent of those of quality 50.

    10 at quality 95, 50 at 75, 500 at 10. 0 for a format without loss; None where it is not known.
    """
    tables = getattr(image, "quantization", None)
    if tables and 0 in tables:
        return 100.0 * float(sum(tables[0])) / _STEPS_AT_50
    return 0.0 if image.format in _LOSSLESS else None


def unseen(data: bytes) -> tuple[str, ...]:
    """Name what 8 bits of the first frame leave out of a file that `identify` opens.

    ``bits``: it has more than 8 bits a sample; ``frames``: it has more than one frame, or page.
    Reads headers only; of a GIF that of its second frame too.
    """
    image = identify(data)
    facts = {"bits": _is_deep(image, data), "frames": getattr(image, "is_animated", False)}
    return tuple(name for name, is_so in facts.items() if is_so)


def native_samples(data: bytes) -> npt.NDArray[Any] | None:
    """Decode the samples of a PNG or TIFF as they are stored, with alpha; None: impossible."""
    import cv2

    with _opencv_lock:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Tell whether samples have more than 8 bits; Pillow decodes many of these to 8."""
    if image.mode.startswith("I") or image.mode == "F":
        return True
    if isinstance(image, _Tiff):
        return any(bits > 8 for bits in image.tag_v2.get(_BITS, (1,)))
    if image.format == "AVIF":
        return bool(data[data.find(b"av1C") + 6] & 0x40)  # high_bitdepth (AV1-ISOBMFF, 2.3.3)
    if image.format == "JPEG2000":
        components = data[data.find(b"\xff\x4f\xff\x51") + 2 :]  # SIZ (ISO 15444-1, A.5.1)
        return any(depth & 0x7F > 7 for depth in components[40 : 40 + 3 * components[39] : 3])
    if image.format == "PPM":
        args = cast("Any", image).tile[0].args
        return any(isinstance(fact, int) and fact > 255 for fact in args)  # the greatest value
    if image.format in {"PNG", "SGI"}:
        return data[24] == 16 if image.format == "PNG" else data[3] == 2
    return bool(image.info.get("bit_depth", 8) > 8)  # HEIC


def identify(data: bytes) -> Image.Image:
    """Open an image like ``Image.open``, without its bomb check, so that its size is always known.

    Raises
    ------
    UnknownFormatError
        The format is not supported. This includes camera RAW files, although they are TIFFs.
    ValueError, OSError
        An image whose header is damaged. A plugin may raise nearly anything else on such bytes.
    """
    if is_heic(data):  # first, as Pillow's AVIF plugin claims a brand that both formats use
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
            image: Image.Image = (_Tiff if name == "TIFF" else factory)(BytesIO(data), "")
        except _NOT_MINE as error:
            # Without an accept function the plugin was only a guess.
            damage = damage if accept is None else _damaged(name, error)
            continue
        if isinstance(image, _Tiff):
            tags = image.tag_v2
            if tags.get(_NEW_SUBFILE_TYPE, 0) & 1 and _SUB_IFDS in tags:  # of NEF, DNG and ARW
                break
            image.check()
        return image
    if damage:
        raise ValueError(damage)
    raise UnknownFormatError(file_kind(data))


def _accepts(accept: Callable[[bytes], bool | str] | None, head: bytes) -> bool:
    """Ask a plugin whether it can open a file; True if it has no accept function."""
    try:
        verdict = accept is None or accept(head)
    except _NOT_MINE:  # the file is shorter than the plugin expects
        return False
    return bool(verdict) and not isinstance(verdict, str)  # a str says why it cannot open it


def _damaged(name: str, error: Exception) -> str:
    return f"damaged {name}, or of an unsupported kind: {error}"


def _open_heic(data: bytes) -> Image.Image:
    """Open with pillow-heif, without registering it with Pillow for the whole process."""
    try:
        from pillow_heif import HeifImageFile

        image: Image.Image = HeifImageFile(BytesIO(data), "")
    except ImportError:
        raise UnknownFormatError(file_kind(data)) from None
    except _NOT_MINE as error:
        raise ValueError(_damaged("HEIC", error)) from error
    return image
