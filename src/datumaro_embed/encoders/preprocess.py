"""From an upright RGB image to the square of uint8 pixels that an image encoder takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..models import ImageSpec

__all__ = ["preprocess"]

# Past this ratio of sides the whole resized image could need gigabytes, to keep a speck of it.
_MAX_RATIO = 128


def preprocess(image: Image.Image, spec: ImageSpec) -> npt.NDArray[np.uint8]:
    """Resize and crop as OpenAI's CLIP does: torchvision's Resize and CenterCrop on a PIL image.

    Parameters
    ----------
    image : Image.Image
        Upright, mode RGB.
    spec : ImageSpec

    Returns
    -------
    array of shape (size_px, size_px, 3), uint8
        RGB, C-contiguous. Scaling, mean and std are applied inside the compiled graph.

    Notes
    -----
    Thread-safe; Pillow releases the GIL. Pixels equal torchvision's on the same version of Pillow.
    Where one side is over 128 times the other, only the part that the crop keeps is resized: the
    same filter at the same places, but rounding between the two passes may differ.
    Source: torchvision.transforms.functional `_compute_resized_output_size` and `center_crop`.
    """
    resample = Image.Resampling[spec.resample.upper()]
    if spec.resize == "stretch":
        square = image.resize((spec.size_px, spec.size_px), resample)
    else:
        square = _resize_and_crop(image, spec, resample)
    return np.array(square, dtype=np.uint8, order="C")


def _resize_and_crop(
    image: Image.Image, spec: ImageSpec, resample: Image.Resampling
) -> Image.Image:
    short, long = sorted(image.size)
    size, long_px = spec.size_px, int(spec.resize_px * long / short)
    width, height = (
        (spec.resize_px, long_px) if image.width <= image.height else (long_px, spec.resize_px)
    )
    # round() to even, as torchvision's int(round((h - n) / 2.0)).
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    if long > _MAX_RATIO * short:
        x, y = image.width / width, image.height / height
        box = (left * x, top * y, (left + size) * x, (top + size) * y)
        return image.resize((size, size), resample, box=box)
    # Pillow resizes across, then down, with 8 bits between: what is cut off need not go down too.
    across = image.resize((width, image.height), resample)
    kept = across.crop((left, 0, left + size, image.height))
    return kept.resize((size, height), resample).crop((0, top, size, top + size))
