"""Pass Datumaro's media to the image reader, and make Datumaro load masks safely in any thread.

Datumaro never decodes files, bytes and videos here, as it ignores EXIF and has no size limit; it
only loads masks and NumPy images.

Datumaro's loaders read a context variable that only the importing thread has (threads do not
inherit it), keep the last two images in a cache that threads must not share, and have no limit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from datumaro.components import media as dm
from datumaro.util import image as dm_image
from datumaro.util import image_cache

from ..images import ImageProblem, read_info
from ..records import Status

if TYPE_CHECKING:
    from ..video import Videos

# The backend that datumaro.util.image chooses
_BACKEND = dm_image.ImageBackend.cv2 if find_spec("cv2") else dm_image.ImageBackend.PIL

_lost_masks: ContextVar[list[str] | None] = ContextVar("_lost_masks", default=None)


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """Where the pixels of an item come from.

    Attributes
    ----------
    source : Path, bytes or array
        An array is (height, width[, channels]) in OpenCV's order: gray, BGR or BGRA.
    roi : (x, y, width, height) or None
        Region to embed, in pixels of the stored image (before any EXIF rotation).
    """

    source: Path | bytes | npt.NDArray[np.generic]
    roi: tuple[int, int, int, int] | None = None


@contextmanager
def loading_images() -> Iterator[None]:
    """Let Datumaro load images unchanged, inside or in the function that this decorates.

    The caller's backend and color settings do not apply, as a mask read as RGB would have other
    labels.
    """
    backend = dm_image.IMAGE_BACKEND.set(_BACKEND)
    channels = dm_image.IMAGE_COLOR_CHANNEL.set(dm_image.ImageColorChannel.UNCHANGED)
    try:
        yield
    finally:
        dm_image.IMAGE_COLOR_CHANNEL.reset(channels)
        dm_image.IMAGE_BACKEND.reset(backend)


@contextmanager
def listing_lost_masks() -> Iterator[list[str]]:
    """Let an importer continue after masks that cannot be loaded; yields the list of their paths.

    Most importers load each mask to find its labels and stop at the first damaged one. Inside, they
    get one pixel of 0 for it; reading an annotation that they make from it fails later.
    """
    lost: list[str] = []
    token = _lost_masks.set(lost)
    try:
        yield lost
    finally:
        _lost_masks.reset(token)


@loading_images()
def encoder_input(medium: dm.MediaElement | None, videos: Videos | None = None) -> EncoderInput:
    """Convert one Datumaro medium to encoder input; `videos` decodes the frames of one pass.

    Raises `ImageProblem`: UNSUPPORTED for anything but image files, bytes, NumPy images, video
    frames and regions of these, MISSING for an image without data, UNREADABLE for one that cannot
    be decoded, or whose data the dataset author's own callable fails to give.
    """
    roi = None
    if isinstance(medium, dm.RoIImage):
        x, y, w, h = map(int, medium.roi)
        roi = x, y, w, h
    if isinstance(medium, dm.ImageFromFile | dm.RoIImageFromFile):
        return EncoderInput(Path(medium.path), roi)
    try:
        if isinstance(medium, dm.ImageFromBytes | dm.RoIImageFromBytes):
            data = medium.bytes
        elif isinstance(medium, dm.VideoFrame):
            from ..video import Videos

            data = (videos or Videos()).read(str(medium.path), medium.index)
        elif isinstance(medium, dm.ImageFromNumpy | dm.RoIImageFromNumpy):
            data, roi = medium.data, None  # Datumaro has cropped the region already
        else:
            what = f"{type(medium).__name__} has no single image to embed"
            what += "; use items of its frames" if isinstance(medium, dm.Video) else ""
            reason = "the item has no image" if medium is None else what
            raise ImageProblem(Status.UNSUPPORTED, reason)
    except ImageProblem:
        raise
    except FileNotFoundError as error:
        raise ImageProblem(Status.MISSING, str(error)) from error
    except Exception as error:
        raise ImageProblem(Status.UNREADABLE, f"{type(error).__name__}: {error}") from error
    if not isinstance(data, bytes | np.ndarray):
        raise ImageProblem(Status.MISSING, "the image has no data")
    return EncoderInput(data, roi)


def media_file(medium: dm.MediaElement | None) -> str:
    """Return the path of a medium's image or video file; empty if it has none."""
    if isinstance(medium, dm.ImageFromFile | dm.RoIImageFromFile | dm.VideoFrame):
        return str(medium.path)
    return ""


class _CacheOfEachThread(threading.local, image_cache.ImageCache):  # type: ignore[misc]
    """Datumaro's cache of two images, separate for each thread; loads masks itself.

    With a shared cache, threads that read masks of different images evict each other's, so a mask
    would be loaded again for each of its labels, or vanish between look-up and use.
    """

    def get(self, item_id: Any) -> Any:
        """Return the image of a lazy image; None if it is not a mask, so that Datumaro loads it."""
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
    """Load a mask, unless its header shows that it is too large."""
    if not isinstance(lazy._path, str):  # bytes
        return lazy._loader(lazy._path)
    try:
        read_info(Path(lazy._path))
    except ImageProblem as problem:
        if problem.status is Status.TOO_LARGE:
            raise
    try:
        return lazy._loader(lazy._path)
    except AttributeError as error:  # OpenCV returned None
        raise ValueError(f"{lazy._path}: cannot be decoded") from error


image_cache._instance = _CacheOfEachThread(image_cache.ImageCache.get_instance().capacity)
