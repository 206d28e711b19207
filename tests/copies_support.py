"""Pictures, copies of them, and what proofs say of a pair."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from datumaro_embed.auditing import (
    Proof,
    gates,
    likely_maps,
    prove,
)
from datumaro_embed.signatures import signature

Picture = Image.Image


def noise(seed: int, size: tuple[int, int] = (240, 180), cells: int = 12) -> Picture:
    """Coloured clouds: a picture with something everywhere."""
    values = np.random.default_rng(seed).integers(30, 226, (cells, cells, 3)).astype(np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def scene(seed: int, at: tuple[int, int] = (60, 40), fill: str = "red") -> Picture:
    """A thing before clouds."""
    picture = noise(seed)
    ImageDraw.Draw(picture).ellipse((*at, at[0] + 70, at[1] + 60), fill, "black", 3)
    return picture


def text(seed: int) -> Picture:
    numbers = np.random.default_rng(seed)
    page = Image.new("RGB", (240, 180), "white")
    draw = ImageDraw.Draw(page)
    for y in range(4, 170, 12):
        draw.text((6, y), f"sum {numbers.integers(1e6)} of {numbers.integers(1e6)}", "black")
    return page


def judged(first: Picture, second: Picture) -> Proof | None:
    """What the three sieves say of a pair."""
    pixels = [np.asarray(picture.convert("RGB")) for picture in (first, second)]
    signatures = np.stack([signature(one) for one in pixels])
    gate = gates(signatures, np.array([0]), np.array([1]))[0].tolist()
    sizes = first.size, second.size
    proofs = (
        prove(pixels[0], pixels[1], sizes, found) for found in likely_maps(*signatures, sizes, gate)
    )
    return next((proof for proof in proofs if proof), None)


def stamped(picture: Picture) -> Picture:
    copy = picture.copy()
    ImageDraw.Draw(copy).rectangle((190, 164, 235, 176), "white")
    return copy


def on_a_page(picture: Picture) -> Picture:
    page = Image.new("RGB", (360, 290), "white")
    page.paste(picture, (70, 60))
    return page


COPIES: dict[str, tuple[Callable[[Picture], Picture], str]] = {
    "same": (lambda p: p, ""),
    "mirrored": (ImageOps.mirror, "mirrored"),
    "rotated": (lambda p: p.rotate(90, expand=True), "rotated"),
    "upside down": (lambda p: p.rotate(180), "rotated"),
    "smaller": (lambda p: p.resize((120, 90), Image.Resampling.LANCZOS), "resized"),
    "cropped": (lambda p: p.crop((30, 20, 215, 160)), "cropped"),
    "framed": (lambda p: ImageOps.expand(p, 24, "navy"), "cropped"),
    "on a page": (on_a_page, "cropped"),
    "darker": (lambda p: ImageEnhance.Brightness(p).enhance(0.7), "brightness"),
    "brighter": (lambda p: ImageEnhance.Brightness(p).enhance(1.3), "brightness"),
    "gray": (lambda p: p.convert("L").convert("RGB"), "gray"),
    "stamped": (stamped, "overlaid"),
}
