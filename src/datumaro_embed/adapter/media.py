"""A Datumaro medium → what the image reader takes: a path, bytes or pixels, and a region of it.

Files and bytes are never decoded by Datumaro (its OpenCV ignores EXIF and has no guard), only
pixels that exist in memory alone: NumPy images and video frames.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from datumaro.components import media as dm

from .loading import loads_images

__all__ = ["EncoderInput", "UnsupportedMediaError", "encoder_input", "media_file"]

Roi = tuple[int, int, int, int]

# A video's frames share one OpenCV reader, which is not safe to use from several threads.
_VIDEO_LOCK = threading.Lock()


class UnsupportedMediaError(Exception):
    """This kind of medium has no pixels to embed; the message says which kind it is."""


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """Where the pixels of an item come from.

    Attributes
    ----------
    source : Path, bytes or array
        An array is (height, width[, channels]) in OpenCV's order: grey, BGR or BGRA.
    roi : (x, y, width, height) or None
        The region meant, in pixels of the image as stored (before any EXIF rotation).
    """

    source: Path | bytes | npt.NDArray[np.generic]
    roi: Roi | None = None


@loads_images
def encoder_input(medium: dm.MediaElement | None) -> EncoderInput:
    """Bridge one Datumaro medium to encoder input.

    Raises
    ------
    UnsupportedMediaError
        For anything but image files, bytes, NumPy images, video frames and regions of these.
    FileNotFoundError
        For an image without data.
    """
    roi = _roi(medium) if isinstance(medium, dm.RoIImage) else None
    if isinstance(medium, dm.ImageFromFile | dm.RoIImageFromFile):
        return EncoderInput(Path(medium.path), roi)
    if isinstance(medium, dm.ImageFromBytes | dm.RoIImageFromBytes):
        return EncoderInput(_present(medium.bytes), roi)
    if isinstance(medium, dm.VideoFrame):
        with _VIDEO_LOCK:
            return EncoderInput(_present(medium.data))
    if isinstance(medium, dm.ImageFromNumpy | dm.RoIImageFromNumpy):
        return EncoderInput(_present(medium.data))  # a region is cut out by Datumaro already
    raise UnsupportedMediaError(_unsupported(medium))


def media_file(medium: dm.MediaElement | None) -> str:
    """Return the path of the image or video that a medium is read from; empty where none is."""
    if isinstance(medium, dm.ImageFromFile | dm.RoIImageFromFile | dm.VideoFrame):
        return str(medium.path)
    return ""


def _roi(medium: dm.RoIImage) -> Roi:
    x, y, w, h = (int(value) for value in medium.roi)
    return x, y, w, h


def _unsupported(medium: dm.MediaElement | None) -> str:
    if medium is None:
        return "the item has no image"
    return f"{type(medium).__name__} has no single image to embed"


def _present(data: object) -> bytes | npt.NDArray[np.generic]:
    if not isinstance(data, bytes | np.ndarray):
        raise FileNotFoundError("the image has no data")
    return data
