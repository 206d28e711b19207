"""Convert an upright RGB image to the square of uint8 pixels that an image encoder takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..compiled import faster
from ..models import ImageSpec

_Size = tuple[int, int]
_Box = tuple[int, int, int, int]
_Resize = Callable[[Image.Image, _Size, _Box, Image.Resampling], npt.NDArray[np.uint8]]

_FIRST_IMAGES = 256  # resized by Pillow before numba is loaded
_seen = itertools.count()

# Above this aspect ratio, the resized image could need gigabytes although little of it is kept.
_MAX_RATIO = 128


def preprocess(image: Image.Image, spec: ImageSpec) -> npt.NDArray[np.uint8]:
    """Resize and crop like OpenAI's CLIP: torchvision's Resize and CenterCrop on a PIL image.

    Thread-safe; releases the GIL. Pixels equal torchvision's with the same version of Pillow, with
    or without numba (the extra ``fast``, see `resizing_library`). Numba takes 0.3 s to load (1 s
    the first time, to compile), so the first images do not use it.
    If one side is over 128 times the other, only the part that the crop keeps is resized: with the
    same filter at the same positions, but rounding between the two passes may differ.
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
    # round() to even, like torchvision's int(round((h - n) / 2.0)).
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    resample = Image.Resampling[spec.resample.upper()]
    if spec.resize != "stretch" and long > _MAX_RATIO * short:
        x, y = image.width / width, image.height / height
        box = (left * x, top * y, (left + size) * x, (top + size) * y)
        return np.array(image.resize((size, size), resample, box=box))
    return _chosen()(image, (width, height), (left, top, left + size, top + size), resample)


def resizing_library() -> str:
    """Return the library that resizes: ``"numba"``, five times as fast, or ``"Pillow"``.

    Numba is used if it is installed, works, and gives the same pixels as Pillow for a test image.
    This call loads it, so it is then used from the first image on.
    """
    return "Pillow" if _fastest() is _with_pillow else "numba"


def _with_pillow(
    image: Image.Image, size: _Size, box: _Box, resample: Image.Resampling
) -> npt.NDArray[np.uint8]:
    left, top, right, bottom = box
    # Pillow resizes horizontally to 8 bits, then vertically, so columns can be cropped in between.
    across = image.resize((size[0], image.height), resample).crop((left, 0, right, image.height))
    down = across.resize((right - left, size[1]), resample).crop((0, top, right - left, bottom))
    return np.array(down)


def _chosen() -> _Resize:
    is_loaded = _fastest.cache_info().currsize > 0
    return _fastest() if is_loaded or next(_seen) >= _FIRST_IMAGES else _with_pillow


@cache
def _fastest() -> _Resize:
    plain: _Resize = _with_pillow
    return faster(_with_numba, plain, _tried, "Pillow resizes all images")


def _with_numba() -> _Resize:
    from . import resize_numba

    def resize(
        image: Image.Image, size: _Size, box: _Box, resample: Image.Resampling
    ) -> npt.NDArray[np.uint8]:
        either = resize_numba.resize_and_crop if resample in resize_numba.FILTERS else _with_pillow
        return either(image, size, box, resample)

    return resize


def _tried(resize: _Resize) -> list[npt.NDArray[np.uint8]]:
    """Resize noise to more and to fewer pixels, with each filter."""
    noise = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    image, filters = Image.fromarray(noise), (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    sizes = (41, 30), (99, 73)
    return [resize(image, size, (7, 0, 37, 30), each) for size in sizes for each in filters]
