"""What is embedded to compare an encoder with its reference, and how near they must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from strings import strings

from datumaro_embed.encoders import ClipEncoder

MODES = ("RGB", "L", "RGBA", "P", "LA", "CMYK", "1", "YCbCr")
TEXTS = [*strings(63, seed=3), "a text that is far longer than the context " * 20]


def drawn_images(n_images: int, seed: int = 0) -> list[Image.Image]:
    """Smooth and noisy images of many sizes: they show a wrong filter and a wrong offset."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(n_images):
        height, width = (int(v) for v in rng.integers(9, 400, 2))
        coarse = rng.integers(0, 256, (5, 7, 3) if i % 2 else (height, width, 3), dtype=np.uint8)
        images.append(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return images


def mixed_images(n_images: int) -> list[Image.Image]:
    """Images of mixed modes and sizes."""
    drawn = drawn_images(n_images, seed=4)
    return [image.convert(MODES[i % len(MODES)]) for i, image in enumerate(drawn)]


def cosines(pair: tuple[Any, Any]) -> Any:
    ours, theirs = (side.astype(np.float64) for side in pair)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return (ours * theirs).sum(axis=1) / norms


def check_parity(model_dir: Path, reference: Any) -> None:
    """Cosines of 64 images and 64 texts with the reference, in f32 and in bf16."""
    images, texts = mixed_images(64), TEXTS
    expected = reference.images(images), reference.texts(texts)
    for precision, limit in (("f32", 0.99999), ("bf16", 0.999)):
        encoder = ClipEncoder.load(model_dir, precision=precision)
        found = encoder.embed_images(images), encoder.embed_texts(texts)
        lowest = [float(cosines(pair).min()) for pair in zip(found, expected, strict=True)]
        print(model_dir.name, precision, "lowest cosine, images and texts:", lowest)
        assert min(lowest) >= limit, [
            np.argsort(cosines(pair))[:3] for pair in zip(found, expected, strict=True)
        ]
        for ours, theirs in zip(found, expected, strict=True):  # a wrong row would be noticed
            assert np.median(cosines((np.roll(ours, 1, axis=0), theirs))) < limit
