"""How many copies are proven, kind by kind, and how many pictures that are none.

    python benchmarks/planted_copies.py DATASET                   # ten kinds, 3,000 hard negatives
    python benchmarks/planted_copies.py DATASET --store STORE --pairs pairs.csv  # all of a store

DATASET is a COCO dataset whose images are copied. Negatives are drawn from the drawings and the
photographs of scripts/ (needs the extra `drawings`). Exits 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path += [str(SCRIPTS / "sample_data"), str(SCRIPTS / "demo_model")]

Rng = np.random.Generator
Picture = Image.Image
MIN_FOUND, MAX_FALSE = 0.95, 0.002
SIZES = [(400, 300), (320, 240), (300, 400), (480, 360), (360, 270), (320, 320)]
STYLES = ("noto", "twemoji", "fluent-emoji-flat", "fluent-emoji", "emojione")
NAMES = (
    *("car", "dog", "apple", "guitar", "umbrella", "bicycle", "banana", "clock", "key", "rose"),
    *("fish", "bird", "house", "airplane", "tree", "pizza", "ball", "boat", "bus", "chair"),
)


def jpeg(picture: Picture, quality: int) -> Picture:
    """Compress and decode."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def logo(picture: Picture, rng: Rng) -> Picture:
    """A text in a coloured box in a corner, a fifth of the width."""
    copy = picture.copy()
    w, h = picture.width // 5, picture.height // 12
    x = int(rng.choice([4, picture.width - w - 4]))
    y = int(rng.choice([4, picture.height - h - 4]))
    draw = ImageDraw.Draw(copy)
    draw.rectangle((x, y, x + w, y + h), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    draw.text((x + 4, y + 4), "STOCK 24", fill="white")
    return copy


def page(picture: Picture, rng: Rng) -> Picture:
    """A screenshot of a page that shows the picture among lines of text."""
    w, h = int(picture.width * 1.5), int(picture.height * 1.6)
    screen = Image.new("RGB", (w, h), (250, 250, 252))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, w, h // 12), fill=(40, 60, 90))
    x, y = int(rng.integers(8, w - picture.width - 8)), h // 12 + int(rng.integers(10, h // 5))
    for line in range(h // 12 + 8, h - 10, 13):
        draw.text((10, line), "the quick brown fox jumps over the lazy dog " * 3, fill=(70, 70, 70))
    screen.paste(picture, (x, y))
    return screen


def perspective(picture: Picture, rng: Rng) -> Picture:
    """Corners moved inwards by up to 4 % of the side."""
    w, h = picture.size
    corners = np.array([(0, 0), (0, h), (w, h), (w, 0)], float)
    inwards = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)])
    corners += inwards * rng.uniform(0, 0.04, (4, 2)) * (w, h)
    quad = tuple(corners.reshape(-1).tolist())
    return picture.transform((w, h), Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)


def crop(picture: Picture, rng: Rng) -> Picture:
    """A quarter of both sides cut away."""
    w, h = picture.width * 3 // 4, picture.height * 3 // 4
    x, y = (int(rng.integers(n + 1)) for n in (picture.width - w, picture.height - h))
    return picture.crop((x, y, x + w, y + h))


def border(picture: Picture, rng: Rng) -> Picture:
    """A frame of 10 % of the side, black, white or coloured."""
    fill = [(0, 0, 0), (255, 255, 255), tuple(int(v) for v in rng.integers(0, 256, 3))]
    return ImageOps.expand(picture, picture.width // 10, fill[rng.integers(3)])


KINDS: dict[str, Callable[[Picture, Rng], Picture]] = {
    "turned by 90°": lambda p, _: p.transpose(Image.Transpose.ROTATE_90),
    "turned by 180°": lambda p, _: p.transpose(Image.Transpose.ROTATE_180),
    "gray": lambda p, _: p.convert("L").convert("RGB"),
    "brightness + 30 %": lambda p, _: ImageEnhance.Brightness(p).enhance(1.3),
    "brightness − 30 %": lambda p, _: ImageEnhance.Brightness(p).enhance(0.7),
    "border of 10 %": border,
    "logo": logo,
    "screenshot in a page": page,
    "JPEG 20, then 15": lambda p, _: jpeg(jpeg(p, 20), 15),
    "a quarter of the size": lambda p, _: p.resize((p.width // 4, p.height // 4)),
    "crop by 25 %": crop,
    "slight perspective": perspective,
}


class Scenes:
    """Hard negatives: pairs that show much the same and are no copies."""

    def __init__(self, seed: int) -> None:
        import drawings
        import scenes

        self.rng = np.random.default_rng(seed)
        self._scenes = scenes
        names = {style: set(drawings.icon_names(style)) for style in STYLES}
        icons = {
            style: drawings.load_icons(style, [n for n in NAMES if n in names[style]], 160)
            for style in STYLES
        }
        self._icons = [icon for found in icons.values() for icon in found.values()]
        self._photos = list(drawings.photographs().values())

    def pairs(self, n_each: int) -> Iterator[tuple[str, Picture, Picture]]:
        """Yield kind and both pictures."""
        for _ in range(n_each):
            yield "same drawing elsewhere", *self.moved()
            yield "same background, other things", *self.exchanged()
            yield "consecutive frames", *self.frames()

    def moved(self) -> tuple[Picture, Picture]:
        """One drawing in two places, before one background or two."""
        icon, first = self._icon(), self._background()
        second = first if self.rng.random() < 0.5 else self._background(first.size)
        side = int(min(first.size) * self.rng.uniform(0.3, 0.8))
        one = self._place(first.size, side)
        while True:
            other = self._place(first.size, side)
            if max(abs(one[0] - other[0]), abs(one[1] - other[1])) > 0.1 * min(first.size):
                break
        return self._paste(first, icon, side, one), self._paste(second, icon, side, other)

    def exchanged(self) -> tuple[Picture, Picture]:
        """Two drawings before one background, often in one place."""
        canvas, side = self._background(), 0
        side = int(min(canvas.size) * self.rng.uniform(0.25, 0.7))
        place = self._place(canvas.size, side)
        first = self._icon()
        while (second := self._icon()) is first:
            pass
        return self._paste(canvas, first, side, place), self._paste(canvas, second, side, place)

    def frames(self) -> tuple[Picture, Picture]:
        """A thing that moves by 4 to 12 % before a camera that stands, or drifts by up to 3 %."""
        canvas, icon = self._background(), self._icon()
        w, h = canvas.size
        side = int(min(w, h) * self.rng.uniform(0.25, 0.6))
        x, y = self._place((w * 7 // 8, h * 7 // 8), side)
        step = int(w * self.rng.uniform(0.04, 0.12))
        one = self._paste(canvas, icon, side, (x, y))
        other = self._paste(canvas, icon, side, (x + step, y + step // 3))
        if self.rng.random() < 0.5:
            drift = int(w * self.rng.uniform(0.005, 0.03))
            one = one.crop((0, 0, w - drift, h))
            other = other.crop((drift, 0, w, h))
        return one, other

    def _icon(self) -> npt.NDArray[np.uint8]:
        return self._icons[self.rng.integers(len(self._icons))]

    def _background(self, size: tuple[int, int] | None = None) -> Picture:
        w, h = size or SIZES[self.rng.integers(len(SIZES))]
        pixels = self._scenes.background(self.rng, max(w, h), self._photos)
        return Image.fromarray(pixels).crop((0, 0, w, h)).convert("RGB")

    def _place(self, size: tuple[int, int], side: int) -> tuple[int, int]:
        x, y = (int(self.rng.integers(max(n - side, 0) + 1)) for n in size)
        return x, y

    def _paste(
        self, canvas: Picture, icon: npt.NDArray[np.uint8], side: int, place: tuple[int, int]
    ) -> Picture:
        picture, drawing = canvas.copy(), self._scenes.trimmed(icon, side)
        picture.paste(drawing, place, drawing)
        return picture
