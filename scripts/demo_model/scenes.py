"""Scenes to look at: drawings pasted over colours, gradients, textures and photographs.

Backgrounds are shared by training and testing; `compose` draws the test scenes, with NumPy and
Pillow only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

# Photographs behind the training scenes, and others behind the test scenes. Those of the camera,
# the cat and the rocket show one of the concepts, so they are behind none.
TRAINING_PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "coffee",
    "flower",
    "grass",
    "gravel",
    "hubble_deep_field",
    "retina",
)
TEST_PHOTOGRAPHS = ("china", "clock", "text")


@dataclass(frozen=True)
class Scene:
    """One picture: uint8 array of shape (size_px, size_px, 3), and the concepts drawn in it."""

    pixels: np.ndarray
    concepts: tuple[str, ...]


def trimmed(icon: np.ndarray, size_px: int) -> Image.Image:
    """The drawn part of an RGBA icon, in a square: so that a size means the same in all styles."""
    rows, columns = np.nonzero(icon[..., 3] > 8)
    part = Image.fromarray(icon[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    side = max(part.size)
    square = Image.new("RGBA", (side, side))
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
    return (
        square.convert("RGBa").resize((size_px, size_px), Image.Resampling.BICUBIC).convert("RGBA")
    )


def background(rng: np.random.Generator, size_px: int, photographs: list[np.ndarray]) -> np.ndarray:
    """A random background: uint8 array of shape (size_px, size_px, 3)."""
    kind = rng.random()
    if kind < 0.40:
        return _photograph_crop(rng, size_px, photographs)
    if kind < 0.60:
        return _gradient(rng, size_px)
    if kind < 0.72:
        return _blobs(rng, size_px)
    return np.broadcast_to(_colour(rng), (size_px, size_px, 3)).astype(np.uint8)


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Any colour; one in three near white, as the backgrounds of drawings often are."""
    return rng.uniform(225, 256, 3) if rng.random() < 0.33 else rng.uniform(0, 256, 3)


def _photograph_crop(
    rng: np.random.Generator, size_px: int, photographs: list[np.ndarray]
) -> np.ndarray:
    photo = Image.fromarray(photographs[rng.integers(len(photographs))])
    side = int(min(photo.size) * rng.uniform(0.25, 1.0))
    left, top = (int(rng.integers(length - side + 1)) for length in photo.size)
    crop = photo.resize(
        (size_px, size_px), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    pixels = np.asarray(crop)
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def _gradient(rng: np.random.Generator, size_px: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    across = np.linspace(-0.5, 0.5, size_px)
    ramp = np.clip(
        0.5 + (across[:, None] * np.sin(angle) + across[None] * np.cos(angle)) * 0.9, 0, 1
    )[..., None]
    colours: np.ndarray = _colour(rng) * ramp + _colour(rng) * (1 - ramp)
    return colours.astype(np.uint8)


def _blobs(rng: np.random.Generator, size_px: int) -> np.ndarray:
    """Smooth random colours, finer or coarser: a blurred room, foliage, cloth."""
    cells = int(rng.integers(2, 12))
    coarse = (
        (_colour(rng) + rng.normal(0, rng.uniform(10, 70), (cells, cells, 3)))
        .clip(0, 255)
        .astype(np.uint8)
    )
    return np.asarray(Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.BICUBIC))


def compose(
    rng: np.random.Generator,
    icons: dict[str, np.ndarray],
    concepts: tuple[str, ...],
    photographs: list[np.ndarray],
    size_px: int = 224,
) -> Scene:
    """Paste ``concepts`` over a random background.

    A single drawing spans 35 to 95 % of the side, anywhere inside. Several span 30 to 48 % each,
    in different quarters, so that none hides another. Each may be mirrored and turned by up to 15
    degrees.
    """
    canvas = Image.fromarray(background(rng, size_px, photographs))
    quarters = rng.permutation(4)
    for position, concept in enumerate(concepts):
        alone = len(concepts) == 1
        side = int(size_px * (rng.uniform(0.35, 0.95) if alone else rng.uniform(0.30, 0.48)))
        sprite = trimmed(icons[concept], side).rotate(
            rng.uniform(-15, 15), Image.Resampling.BICUBIC
        )
        if rng.random() < 0.5:
            sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        room = (size_px if alone else size_px // 2) - side
        left, top = (int(rng.integers(max(room, 0) + 1)) for _ in range(2))
        if not alone:
            left, top = (
                left + quarters[position] % 2 * size_px // 2,
                top + quarters[position] // 2 * size_px // 2,
            )
        canvas.paste(sprite, (left, top), sprite)
    return Scene(np.asarray(canvas), concepts)
