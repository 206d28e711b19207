"""Read any image as upright RGB, and check it.

Every file, buffer and array that an encoder gets passes through this module, which reports each
fault as an `ImageProblem` with a status and a reason. It takes the first frame of an animation,
applies the EXIF orientation, and converts colors with pixels.py. The adapter, not this module,
checks whether a path leaves the dataset.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .depth import UNCHOSEN, DepthRange
from .formats import (
    UnknownFormatError,
    identify,
    native_samples,
    png_size,
    quantization_steps,
    unseen,
)
from .pixels import (
    Decoded,
    decode_alpha,
    decode_array,
    decode_file,
    decode_opened,
    orientation_of,
    quiet_pillow,
)
from .records import Status

ImageSource = str | Path | bytes | npt.NDArray[Any]

MAX_PIXELS = 178_956_970  # Pillow's limit for decompression bombs
MAX_BYTES = 512 * 2**20

_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Size, orientation and hash of an image file.

    Attributes
    ----------
    stored_width, stored_height : int
        Pixels as stored, before the orientation; 0 where unknown.
    orientation : int
        EXIF, 1 to 8; 1 is upright.
    content_sha256 : bytes
        32 bytes: SHA-256 of the file's bytes, or of an array's dtype, shape and values.
    """

    stored_width: int
    stored_height: int
    orientation: int
    content_sha256: bytes

    @property
    def width(self) -> int:
        """Upright width, pixels."""
        return self.stored_width if self.orientation < 5 else self.stored_height

    @property
    def height(self) -> int:
        """Upright height, pixels."""
        return self.stored_height if self.orientation < 5 else self.stored_width


class ImageProblem(Exception):  # noqa: N818  (a finding about an item, not a failure of the program)
    """Why an image cannot be used.

    Attributes
    ----------
    status : Status
        MISSING, UNREADABLE, UNSUPPORTED or TOO_LARGE.
    reason : str
        One line, without any path.
    info : ImageInfo or None
        Hash, and the size if the header has one; None if the bytes could not be read.
    """

    def __init__(self, status: Status, reason: str, info: ImageInfo | None = None) -> None:
        super().__init__(status, reason, info)
        self.status = status
        self.reason = " ".join(reason.split())[:200]
        self.info = info

    def __str__(self) -> str:
        return self.reason


@dataclass(slots=True, eq=False)
class OpenedImage:
    """An image whose bytes and header are checked, but whose pixels are not decoded yet.

    Attributes
    ----------
    notes : tuple of str
        What is unusual about its pixels, as reasons for a `Tally`; set by `decode`.
    """

    info: ImageInfo
    _load: Callable[[int], Decoded]
    notes: tuple[str, ...] = ()
    _image: Image.Image | None = None  # of a file, as opened
    _load_alpha: Callable[[], Image.Image] | None = None
    _data: bytes = b""  # of a file of which `decode` may leave out something

    @property
    def steps(self) -> float | None:
        """How coarsely a JPEG keeps its pixels: its luma's steps in percent of those of quality 50.

        0 for a format without loss; None where it is not known.
        """
        return None if self._image is None else quantization_steps(self._image)

    def unseen(self) -> tuple[str, ...]:
        """Name what `decode` leaves out: ``bits`` below the highest 8, ``frames`` but the first."""
        if not self._data:
            return ()
        with quiet_pillow(), suppress(Exception):  # as in `decode`
            return unseen(self._data)
        return ()

    def native_samples(self) -> npt.NDArray[Any] | None:
        """Decode the samples as they are stored, not turned; None where that is impossible."""
        return native_samples(self._data) if self._data else None

    def alpha(self) -> Image.Image | None:
        """Decode the opacity of each pixel, upright; None if there is none that can be read."""
        if self._load_alpha is None:
            return None
        with quiet_pillow(), suppress(Exception):  # as in `decode`
            return self._load_alpha()
        return None

    def decode(self, *, least_side_px: int = 0) -> Image.Image:
        """Decode to upright RGB; the image holds no file open. Raises `ImageProblem`.

        Call this once. `least_side_px`: if positive, decode a JPEG at the smallest of 1/2, 1/4 and
        1/8 of its size whose sides are both at least this long: several times faster, with slightly
        different pixels.
        """
        with quiet_pillow():
            try:
                image, self.notes = self._load(least_side_px)
                return image
            except MemoryError as error:
                reason = "not enough memory to decode it"
                raise ImageProblem(Status.TOO_LARGE, reason, self.info) from error
            except Exception as error:  # a damaged file makes Pillow raise nearly anything
                raise ImageProblem(Status.UNREADABLE, _reason(error), self.info) from error


def open_image(
    source: ImageSource,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    channel_order: str = "rgb",
    depth_range: DepthRange = UNCHOSEN,
) -> OpenedImage:
    """Read an image's bytes and header and hash them; refuse images that are too large.

    Raises `ImageProblem` with the status, the reason and the `ImageInfo` known so far.

    Thread-safe. Peak memory of decoding: the file plus 3 to 8 bytes per pixel, or up to 20 for
    16-bit color and rescaled images; four times the samples for images that OpenCV decodes.

    Parameters
    ----------
    source : str, Path, bytes or array
        A path, a file's bytes, or pixels of shape (height, width[, 1 | 2 | 3 | 4]) (see pixels.py).
    max_pixels, max_bytes : int
        Larger images are refused before decoding, larger files before reading.
    channel_order : {"rgb", "bgr"}
        Channel order of an array; Datumaro's in-memory media are ``"bgr"``.
    depth_range : DepthRange
        Scaling of samples of more than 8 bits.
    """
    if isinstance(source, np.ndarray):
        array, found = source, _array_info(source)
        _check_pixels(found, max_pixels)
        return OpenedImage(found, lambda _: decode_array(array, depth_range, channel_order))
    with quiet_pillow():
        data = _read_bytes(source, max_bytes)
        digest = hashlib.sha256(data).digest()
        unknown = ImageInfo(*png_size(data), 1, digest)
        if not data:
            raise ImageProblem(Status.UNREADABLE, "the file is empty", unknown)
        _check_pixels(unknown, max_pixels)
        try:
            image = identify(data)
        except UnknownFormatError as error:
            raise ImageProblem(error.kind.status, error.kind.reason, unknown) from error
        except Exception as error:  # as in `decode`
            bomb = isinstance(error, Image.DecompressionBombError)
            status = Status.TOO_LARGE if bomb else Status.UNREADABLE
            raise ImageProblem(status, _reason(error), unknown) from error

        # The size is checked before any pixel is decoded.
        width, height = image.size
        _check_pixels(ImageInfo(width, height, 1, digest), max_pixels)
        if width < 1 or height < 1:
            raise ImageProblem(Status.UNREADABLE, f"it has no pixels ({width} x {height})", unknown)
        orientation = orientation_of(image, data)
        if image.format == "TIFF" and orientation >= 5:  # Pillow returns the upright size of a TIFF
            width, height = height, width
    load = partial(decode_file, data, image, orientation, depth_range)
    return OpenedImage(
        ImageInfo(width, height, orientation, digest),
        load,
        _image=image,
        _load_alpha=partial(decode_alpha, data, orientation)
        if image.has_transparency_data
        else None,
        _data=b"" if image.format == "JPEG" else data,  # a JPEG is decoded as it is
    )


def read_image(source: ImageSource, **options: Any) -> tuple[Image.Image, ImageInfo]:
    """Decode an image completely, upright and in RGB; options and errors as in `open_image`."""
    opened = open_image(source, **options)
    return opened.decode(), opened.info


def read_info(source: ImageSource) -> ImageInfo:
    """Read header and hash only; the pixels may still be damaged. Errors as in `open_image`."""
    return _array_info(source) if isinstance(source, np.ndarray) else open_image(source).info


def upright_rgb(image: Image.Image, depth_range: DepthRange = UNCHOSEN) -> Image.Image:
    """Convert an image that Pillow has opened; raises `ImageProblem`."""
    with quiet_pillow():
        try:
            return decode_opened(image, depth_range)
        except Exception as error:  # as in read_image
            raise ImageProblem(Status.UNREADABLE, _reason(error)) from error


def _check_pixels(info: ImageInfo, max_pixels: int) -> None:
    """Refuse too many pixels; of an image that is not turned."""
    width, height = info.stored_width, info.stored_height
    if width * height > max_pixels:
        reason = f"too many pixels: {width} x {height}, the limit is {max_pixels}"
        raise ImageProblem(Status.TOO_LARGE, reason, info)


def _read_bytes(source: str | Path | bytes, max_bytes: int, n_wanted: int | None = None) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        _check_file(len(source), max_bytes)
        return bytes(source)
    try:
        # Opening a pipe would wait forever for its other end; opening a device may have an effect.
        found = os.stat(source)
        _check_file(found.st_size, max_bytes, found.st_mode)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(source, flags), "rb") as file:
            found = os.fstat(file.fileno())  # another file may have replaced it
            _check_file(found.st_size, max_bytes, found.st_mode)
            if n_wanted is not None:
                return file.read(n_wanted)
            # Ask for no more than the size: Python allocates what is asked for. Allocating and
            # freeing 512 MB made reading and decoding a photo take 1.5 times as long.
            data = file.read(found.st_size + 1)
            if len(data) > found.st_size:  # the file grows, or reports no size
                data += file.read(max_bytes + 1 - len(data))
    except OSError as error:
        status = Status.MISSING if error.errno in _MISSING else Status.UNREADABLE
        raise ImageProblem(status, (error.strerror or "cannot be read").lower()) from error
    except ValueError as error:  # a NUL or a lone surrogate in the path
        raise ImageProblem(Status.MISSING, "the path is not a valid file path") from error
    _check_file(len(data), max_bytes)
    return data


def read_head(path: Path, n_bytes: int = 4096) -> bytes:
    """Read the beginning of a file of any size; raises `ImageProblem`."""
    return _read_bytes(path, sys.maxsize, n_bytes)


def _check_file(n_bytes: int, max_bytes: int, mode: int = stat.S_IFREG) -> None:
    if stat.S_ISDIR(mode):
        raise ImageProblem(Status.UNREADABLE, "it is a directory")
    if not stat.S_ISREG(mode):
        raise ImageProblem(Status.UNREADABLE, "it is a pipe, socket or device, not a file")
    if n_bytes > max_bytes:
        reason = f"too many bytes: {n_bytes}, the limit is {max_bytes}"
        raise ImageProblem(Status.TOO_LARGE, reason)


def _array_info(array: npt.NDArray[Any]) -> ImageInfo:
    height, width = array.shape[:2] if array.ndim in {2, 3} else (0, 0)
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    if array.dtype.kind != "O":
        digest.update(np.ascontiguousarray(array).tobytes())
    return ImageInfo(int(width), int(height), 1, digest.digest())


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
