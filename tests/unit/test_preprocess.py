"""preprocess.py against a literal transcription of torchvision's Resize and CenterCrop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from datumaro_embed.encoders import preprocess as module
from datumaro_embed.encoders import resizing_library
from datumaro_embed.encoders.preprocess import preprocess
from datumaro_embed.models import ImageSpec

OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@pytest.fixture(autouse=True, params=["Pillow", "numba"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resizing_library() == "numba", "the extra `test` brings it"
    resize = module._fastest() if request.param == "numba" else module._with_pillow
    monkeypatch.setattr(module, "_chosen", lambda: resize)


def spec(size: int, resize: str = "shortest_side", to: int = 0, by: str = "bicubic") -> ImageSpec:
    return ImageSpec(size, resize, to or size, by, 1 / 255, *OPENAI)


def torchvision_resize(image: Image.Image, size: int, interpolation: int) -> Image.Image:
    """torchvision 0.29, transforms/functional.py `resize` with an int, on a PIL image."""
    image_width, image_height = image.size
    short, long = (
        (image_width, image_height) if image_width <= image_height else (image_height, image_width)
    )
    requested_new_short = size
    new_short, new_long = requested_new_short, int(requested_new_short * long / short)
    new_w, new_h = (new_short, new_long) if image_width <= image_height else (new_long, new_short)
    if [image_width, image_height] == [new_w, new_h]:
        return image
    return image.resize((new_w, new_h), interpolation)


def torchvision_center_crop(image: Image.Image, size: int) -> Image.Image:
    """torchvision 0.29, transforms/functional.py `center_crop`, without its padding."""
    image_width, image_height = image.size
    crop_height, crop_width = size, size
    crop_top = int(round((image_height - crop_height) / 2.0))  # noqa: RUF046  (theirs)
    crop_left = int(round((image_width - crop_width) / 2.0))  # noqa: RUF046
    return image.crop((crop_left, crop_top, crop_left + crop_width, crop_top + crop_height))


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("seed", range(150))
def test_pixels_equal_torchvisions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.choice([7, 32, 80, 224]))
    to = size + int(rng.choice([0, 0, 1, 32]))
    width, height = (int(v) for v in rng.integers(1, 300, 2))
    width, height = max(width, height // 100 + 1), max(height, width // 100 + 1)
    image = noise((width, height), seed)
    expected = torchvision_center_crop(torchvision_resize(image, to, Image.BICUBIC), size)
    found = preprocess(image, spec(size, to=to))
    assert found.tobytes() == np.asarray(expected).tobytes(), (width, height, size, to)


@pytest.mark.parametrize("size", [(80, 80), (80, 83), (83, 80), (80, 81), (79, 80), (1, 1)])
def test_sizes_near_the_crop(size: tuple[int, int]) -> None:
    image = noise(size)
    expected = torchvision_center_crop(torchvision_resize(image, 80, Image.BICUBIC), 80)
    assert np.array_equal(preprocess(image, spec(80)), np.asarray(expected))


@pytest.mark.parametrize("by", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
@pytest.mark.parametrize("resize", ["shortest_side", "stretch"])
def test_the_models_own_filter_and_rule(by: str, resize: str) -> None:
    image = noise((90, 60))
    method = Image.Resampling[by.upper()]
    if resize == "stretch":
        expected = image.resize((32, 32), method)
    else:
        expected = torchvision_center_crop(torchvision_resize(image, 32, method), 32)
    assert np.array_equal(preprocess(image, spec(32, resize, by=by)), np.asarray(expected))


def test_result_is_contiguous_uint8() -> None:
    found = preprocess(noise((50, 70)), spec(32))
    assert (found.shape, found.dtype, found.flags.c_contiguous) == ((32, 32, 3), np.uint8, True)
    assert found.flags.writeable


@pytest.mark.parametrize("size", [(2, 900), (900, 2), (3, 400)])
def test_extreme_shapes_are_the_same_centre(size: tuple[int, int]) -> None:
    """Past the ratio of 128 only the centre is resized: equal but for rounding between passes."""
    smooth = noise((4, 4), 3).resize(size, Image.Resampling.BICUBIC)
    whole = torchvision_center_crop(torchvision_resize(smooth, 80, Image.BICUBIC), 80)
    found = preprocess(smooth, spec(80)).astype(int)
    assert np.abs(found - np.asarray(whole).astype(int)).max() <= 2


@pytest.mark.parametrize("size", [(1_000_000, 1), (1, 1_000_000), (20_000, 10)])
def test_extreme_shapes_stay_small(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("RGB", size, (1, 2, 3))
    made, resize = [], Image.Image.resize

    def watched(self: Image.Image, to: tuple[int, int], *args: Any, **options: Any) -> Image.Image:
        made.append(to[0] * to[1])
        assert made[-1] <= 128 * 224 * 224, "this would need gigabytes"
        return resize(self, to, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", watched)
    assert (preprocess(image, spec(224)) == (1, 2, 3)).all()
    assert len(made) == 1
