"""Image sizes as one inline SVG: a circle for each size, its area the number of items."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..tally import counted
from .markup import tag, text

__all__ = ["size_chart"]

_SIDE = 320
_MARGIN = 44
_MAX_CIRCLES = 400
Sizes = Mapping[tuple[int, int], int]


def size_chart(sizes: Sizes, n_items: int) -> str:
    """Draw width against height, to one scale.

    Parameters
    ----------
    sizes : mapping of (width, height) to int
        Pixels → items.
    n_items : int
        All items, those of unknown size included.
    """
    if not sizes:
        return tag("p", "No size is known.", class_="note")
    words = _words(sizes, n_items)
    top = _nice(max(max(size) for size in sizes))
    scale = (_SIDE - _MARGIN - 12) / top
    common = sorted(sizes.items(), key=lambda pair: -pair[1])[:_MAX_CIRCLES]
    most = common[0][1]
    circles = "".join(_circle(size, count, most, scale) for size, count in common)
    drawing = tag(
        "svg",
        _axes(top, scale) + circles,
        viewBox=f"0 0 {_SIDE} {_SIDE}",
        role="img",
        aria_label=f"Chart of image sizes. {words}",
        class_="sizes",
    )
    return tag("div", drawing + tag("p", text(words)), class_="sizes-box")


def _words(sizes: Sizes, n_items: int) -> str:
    counts = np.array(list(sizes.values()))
    width, height = np.array(list(sizes)).T
    wide, tall = int(counts[width > height].sum()), int(counts[width < height].sum())
    common = max(sizes.items(), key=lambda pair: (pair[1], pair[0]))
    known = int(counts.sum())
    unknown = n_items - known
    parts = [
        f"{counted(len(sizes), 'different sizes')}, from {width.min()} to {width.max()} pixels "
        f"wide and {height.min()} to {height.max()} high",
        f"{counted(common[1], 'items are')} {common[0][0]} × {common[0][1]}, the most common size",
        f"{counted(wide, 'items are')} landscape, {tall:,} portrait, "
        f"{known - wide - tall:,} square",
    ]
    if unknown:
        parts.append(f"{counted(unknown, 'items are')} of unknown size")
    return ". ".join(parts) + "."


def _nice(value: int) -> int:
    """Round up to 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten."""
    power = 10 ** math.floor(math.log10(value))
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return int(next(step * power for step in steps if step * power >= value))


def _axes(top: int, scale: float) -> str:
    end = _SIDE - _MARGIN
    lines = tag("path", d=f"M{_MARGIN} 12V{end}H{_SIDE - 12}", class_="axis")
    lines += tag(
        "path",
        d=f"M{_MARGIN} {end}L{_MARGIN + top * scale:.1f} {end - top * scale:.1f}",
        class_="diagonal",
    )
    for value in (top // 2, top):
        offset = value * scale
        lines += tag("text", f"{value}", x=f"{_MARGIN + offset:.1f}", y=end + 18, class_="x")
        lines += tag("text", f"{value}", x=_MARGIN - 8, y=f"{end - offset + 4:.1f}", class_="y")
    lines += tag("text", "width, px", x=(_MARGIN + _SIDE) // 2, y=end + 36, class_="x")
    return lines + tag("text", "height, px", x=_MARGIN + 6, y=22, class_="start")


def _circle(size: tuple[int, int], count: int, most: int, scale: float) -> str:
    width, height = size
    title = tag("title", f"{width} × {height}: {counted(count, 'items')}")
    return tag(
        "circle",
        title,
        cx=f"{_MARGIN + width * scale:.1f}",
        cy=f"{_SIDE - _MARGIN - height * scale:.1f}",
        r=f"{3 + 11 * math.sqrt(count / most):.1f}",
    )
