"""What Datumaro needs to load an image or a mask in any thread.

Its loaders read a context variable that is set only where Datumaro was imported (threads do not
inherit it), and they keep the last two images in a cache that threads must not share.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from datumaro.util import image as dm_image
from datumaro.util import image_cache

from ..images import ImageProblem, read_info
from ..records import Status

__all__ = ["loads_images"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# As datumaro.util.image chooses.
_BACKEND = dm_image.ImageBackend.cv2 if find_spec("cv2") else dm_image.ImageBackend.PIL


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


class _CacheOfEachThread(image_cache.ImageCache):  # type: ignore[misc]
    """Datumaro's cache of two images, one for each thread.

    Shared, it raises KeyError where one thread drops what another has just found, and threads that
    read masks of different images load each mask anew for each of its labels.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._local = threading.local()

    @property
    def items(self) -> OrderedDict[Any, Any]:
        """The images of this thread, the last used first."""
        found: OrderedDict[Any, Any] = self._local.__dict__.setdefault("items", OrderedDict())
        return found

    def get(self, item_id: Any) -> Any:
        """Return the image of a loader; None where it must be loaded, and may be."""
        found = super().get(item_id)
        if found is None:
            _refuse_too_large(getattr(item_id(), "_path", ""))
        return found


def _refuse_too_large(path: str) -> None:
    """Refuse what would fill the memory by its header: Datumaro's loaders have no limit."""
    try:
        read_info(Path(path))
    except ImageProblem as problem:
        if problem.status is Status.TOO_LARGE:
            raise


image_cache._instance = _CacheOfEachThread(image_cache.ImageCache.get_instance().capacity)
