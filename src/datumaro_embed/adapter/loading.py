"""What Datumaro needs to load an image or a mask, in any thread and whatever is wrong with it.

Its loaders read a context variable that is set only where Datumaro was imported (threads do not
inherit it), keep the last two images in a cache that threads must not share, and have no limit.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from datumaro.util import image as dm_image
from datumaro.util import image_cache

from ..images import ImageProblem, read_info
from ..records import Status

__all__ = ["listing_lost_masks", "loads_images"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# As datumaro.util.image chooses.
_BACKEND = dm_image.ImageBackend.cv2 if find_spec("cv2") else dm_image.ImageBackend.PIL

_lost_masks: ContextVar[list[str] | None] = ContextVar("_lost_masks", default=None)


def loads_images(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Run a function in a context of its own, in which Datumaro loads images as they are stored.

    The caller's own choice of backend or colours does not reach it: a mask read as RGB has other
    labels.
    """

    def prepared(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        dm_image.IMAGE_BACKEND.set(_BACKEND)
        dm_image.IMAGE_COLOR_CHANNEL.set(dm_image.ImageColorChannel.UNCHANGED)
        return function(*args, **kwargs)

    @wraps(function)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        return copy_context().run(prepared, *args, **kwargs)

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
