"""Datumaro's media: what the image reader takes of them, and how Datumaro loads them in any thread.

Files, bytes and videos are never decoded by Datumaro (its OpenCV ignores EXIF and has no guard),
only masks and pixels that exist in memory alone: NumPy images.

Datumaro's loaders read a context variable that is set only where Datumaro was imported (threads do
not inherit it), keep the last two images in a cache that threads must not share, and have no limit.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
from datumaro.components import media as dm
from datumaro.util import image as dm_image
from datumaro.util import image_cache

from ..images import ImageProblem, read_info
from ..records import Status
from ..video import Videos

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# As datumaro.util.image chooses.
_BACKEND = dm_image.ImageBackend.cv2 if find_spec("cv2") else dm_image.ImageBackend.PIL

_lost_masks: ContextVar[list[str] | None] = ContextVar("_lost_masks", default=None)


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
    roi: tuple[int, int, int, int] | None = None


def loads_images(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Run a function in a context of its own, in which Datumaro loads images as they are stored.

    The caller's own choice of backend or colours does not reach it: a mask read as RGB has other
    labels.
    """

    @wraps(function)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        context = copy_context()
        context.run(dm_image.IMAGE_BACKEND.set, _BACKEND)
        context.run(dm_image.IMAGE_COLOR_CHANNEL.set, dm_image.ImageColorChannel.UNCHANGED)
        return context.run(function, *args, **kwargs)

    return run


@contextmanager
def listing_lost_masks() -> Iterator[list[str]]:
    """Let an importer go on over masks that cannot be loaded, and list their paths.

    Most importers load each mask to see which labels it has, and end at the first damaged one. Here
    it gets one pixel of 0 for it: an annotation that it makes of that cannot be read later either.
    """
    lost: list[str] = []
    token = _lost_masks.set(lost)
    try:
        yield lost
    finally:
        _lost_masks.reset(token)


@loads_images
def encoder_input(medium: dm.MediaElement | None, videos: Videos | None = None) -> EncoderInput:
    """Bridge one Datumaro medium to encoder input; `videos` decode the frames of one pass.

    Raises `UnsupportedMediaError`: for anything but image files, bytes, NumPy images, video frames
    and regions of these; `FileNotFoundError`: for an image without data; `ImageProblem`: for a
    frame that cannot be decoded.
    """
    roi = None
    if isinstance(medium, dm.RoIImage):
        x, y, w, h = map(int, medium.roi)
        roi = x, y, w, h
    if isinstance(medium, dm.ImageFromFile | dm.RoIImageFromFile):
        return EncoderInput(Path(medium.path), roi)
    if isinstance(medium, dm.ImageFromBytes | dm.RoIImageFromBytes):
        return EncoderInput(_present(medium.bytes), roi)
    if isinstance(medium, dm.VideoFrame):
        return EncoderInput((videos or Videos()).read(str(medium.path), medium.index))
    if isinstance(medium, dm.ImageFromNumpy | dm.RoIImageFromNumpy):
        return EncoderInput(_present(medium.data))  # a region is cut out by Datumaro already
    if medium is None:
        raise UnsupportedMediaError("the item has no image")
    if isinstance(medium, dm.Video):
        raise UnsupportedMediaError("Video has no single image to embed; use items of its frames")
    raise UnsupportedMediaError(f"{type(medium).__name__} has no single image to embed")


def media_file(medium: dm.MediaElement | None) -> str:
    """Return the path of the image or video that a medium is read from; empty where none is."""
    if isinstance(medium, dm.ImageFromFile | dm.RoIImageFromFile | dm.VideoFrame):
        return str(medium.path)
    return ""


def _present(data: object) -> bytes | npt.NDArray[np.generic]:
    if not isinstance(data, bytes | np.ndarray):
        raise FileNotFoundError("the image has no data")
    return data


class _CacheOfEachThread(image_cache.ImageCache):  # type: ignore[misc]
    """Datumaro's cache of two images, one for each thread; loads masks itself.

    Shared, threads that read masks of different images drop each other's, so that each is loaded
    anew for each of its labels; and between finding one and using it, it may be gone.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._local = threading.local()

    @property
    def items(self) -> OrderedDict[Any, Any]:
        """The images of this thread."""
        found: OrderedDict[Any, Any] = self._local.__dict__.setdefault("items", OrderedDict())
        return found

    def get(self, item_id: Any) -> Any:
        """Return the image of a lazy image; None has Datumaro load it, as all that is no mask."""
        lazy = item_id()
        found = super().get(item_id)
        if found is not None or lazy._loader is dm_image.load_image:
            return found
        try:
            mask = _load_mask(lazy)
        except Exception:
            lost = _lost_masks.get()
            if lost is None:
                raise
            lost.append(str(lazy._path))
            return np.zeros((1, 1), np.int32)
        self.push(item_id, mask)
        return mask


def _load_mask(lazy: dm_image.lazy_image) -> Any:
    """Load a mask, unless its header says that it would fill the memory."""
    if not isinstance(lazy._path, str):  # bytes
        return lazy._loader(lazy._path)
    try:
        read_info(Path(lazy._path))
    except ImageProblem as problem:
        if problem.status is Status.TOO_LARGE:
            raise
    try:
        return lazy._loader(lazy._path)
    except AttributeError as error:  # what OpenCV could not decode is None
        raise ValueError(f"{lazy._path}: cannot be decoded") from error


image_cache._instance = _CacheOfEachThread(image_cache.ImageCache.get_instance().capacity)
