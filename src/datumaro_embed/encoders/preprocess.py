"""From an upright RGB image to the square of uint8 pixels that an image encoder takes."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..models import ImageSpec

_Size = tuple[int, int]
_Box = tuple[int, int, int, int]
_Resize = Callable[[Image.Image, _Size, _Box, Image.Resampling], npt.NDArray[np.uint8]]

_FIRST_IMAGES = 256  # are resized by Pillow before numba would be loaded
_seen = itertools.count()
_log = logging.getLogger(__name__)

# Past this ratio of sides the whole resized image could need gigabytes, to keep a speck of it.
_MAX_RATIO = 128


def preprocess(image: Image.Image, spec: ImageSpec) -> npt.NDArray[np.uint8]:
    """Resize and crop as OpenAI's CLIP does: torchvision's Resize and CenterCrop on a PIL image.

    Thread-safe; the GIL is released. Pixels equal torchvision's on the same version of Pillow, with
    numba installed (the extra ``fast``) or without: see `resizing_library`. It takes 0.3 s to load
    (1 s the first time, to compile), so the first images do without.
    Where one side is over 128 times the other, only the part that the crop keeps is resized: the
    same filter at the same places, but rounding between the two passes may differ.
    Source: torchvision.transforms.functional `_compute_resized_output_size` and `center_crop`.

    Parameters
    ----------
    image : Image.Image
        Upright, mode RGB.

    Returns
    -------
    array of shape (size_px, size_px, 3), uint8
        RGB, C-contiguous. Scaling, mean and std are applied inside the compiled graph.
    """
    size = spec.size_px
    short, long = sorted(image.size)
    long_px = int(spec.resize_px * long / short)
    if spec.resize == "stretch":
        width = height = size
    elif image.width <= image.height:
        width, height = spec.resize_px, long_px
    else:
        width, height = long_px, spec.resize_px
    # round() to even, as torchvision's int(round((h - n) / 2.0)).
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    resample = Image.Resampling[spec.resample.upper()]
    if spec.resize != "stretch" and long > _MAX_RATIO * short:
        x, y = image.width / width, image.height / height
        box = (left * x, top * y, (left + size) * x, (top + size) * y)
        return np.array(image.resize((size, size), resample, box=box))
    return _chosen()(image, (width, height), (left, top, left + size, top + size), resample)


def resizing_library() -> str:
    """Return what resizes here: ``"numba"``, five times as fast, or ``"Pillow"``.

    Numba must be installed, work, and give Pillow's own pixels for a test image. Asking loads it,
    and what is loaded is used from the first image on.
    """
    return "Pillow" if _fastest() is _with_pillow else "numba"


def _with_pillow(
    image: Image.Image, size: _Size, box: _Box, resample: Image.Resampling
) -> npt.NDArray[np.uint8]:
    left, top, right, bottom = box
    # Pillow resizes across, then down, with 8 bits between: what is cut off need not go down too.
    across = image.resize((size[0], image.height), resample).crop((left, 0, right, image.height))
    down = across.resize((right - left, size[1]), resample).crop((0, top, right - left, bottom))
    return np.array(down)


def _chosen() -> _Resize:
    is_loaded = _fastest.cache_info().currsize > 0
    return _fastest() if is_loaded or next(_seen) >= _FIRST_IMAGES else _with_pillow


@cache
def _fastest() -> _Resize:
    try:
        from . import resize_numba
    except Exception as error:  # numba is optional: missing, too old for this numpy, no LLVM, …
        _log.debug("Images are resized by Pillow alone: %s", error)
        return _with_pillow

    def resize(
        image: Image.Image, size: _Size, box: _Box, resample: Image.Resampling
    ) -> npt.NDArray[np.uint8]:
        either = resize_numba.resize_and_crop if resample in resize_numba.FILTERS else _with_pillow
        return either(image, size, box, resample)

    noise = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    for size in ((41, 30), (99, 73)):
        for resample in resize_numba.FILTERS:
            asked = image, size, (7, 0, 37, 30), resample
            if not np.array_equal(resize(*asked), _with_pillow(*asked)):
                _log.debug("Images are resized by Pillow alone: numba's pixels are not Pillow's")
                return _with_pillow
    return resize
