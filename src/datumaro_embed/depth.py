"""Scale samples of more than 8 bits to bytes: choose the values that become black and white.

Rules (docs/image-files.md)
---------------------------
``auto``
    Integers: the smallest scale of 8, 10, 12, 14, 16 or more bits that holds the image's largest
    value. Floats: 0..1, or 0..255 if a value is above 1. If that scale would crush or clip the
    image, its own range is used, without the lowest and highest thousandth of its values, so that
    one dead pixel does not set the range. If these two are equal, the range is minimum to maximum.
``full``
    The scale of the type: 16-bit samples keep their high byte, wider integers use the smallest of
    8, 16, 32 or 64 bits that holds them, floats as above. Values outside are clipped.
    Signed types have one bit less, so 15, 31 and 63 bits are scales of a type too.
``LOW:HIGH``
    The same range for all images.

The default is ``auto`` plus a note for each image that ``full`` would scale differently. NaN
becomes 0. Every step is a single IEEE operation in float64, so the bytes are the same on every
machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import UsageError

# Images that use fewer than 64 of the 256 levels are dark or flat; their vectors are nearly equal.
_LEAST_LEVELS = 64
_LARGEST_SHARE_OUTSIDE = 1 / 16  # resampling overshoots by less
_TRIMMED = 1000  # one value in 1000 is ignored at either end
_ROWS_AT_ONCE = 256  # limits memory: a whole image is never copied to float64
# Bit depths that a camera or scanner may have used, by the dtype's kind: "u" or "i".
_AUTO_BITS = {"u": (8, 10, 12, 14, *range(16, 65)), "i": (8, 10, 12, 14, *range(15, 65))}
_FULL_BITS = {"u": (8, 16, 32, 64), "i": (8, 15, 16, 31, 32, 63, 64)}

Samples = npt.NDArray[Any]
UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DepthRange:
    """Rule that scales samples of more than 8 bits to bytes.

    Attributes
    ----------
    rule : {"auto", "full", "window"}
    low, high : float
        Values that become 0 and 255; only for "window".
    chosen : bool
        The user set it, so `to_uint8` returns no note.
    """

    rule: str = "auto"
    low: float = 0.0
    high: float = 0.0
    chosen: bool = False

    @classmethod
    def parse(cls, text: str | None) -> DepthRange:
        """Parse a value of ``--depth-range``; None: not given. Raises `UsageError`."""
        if text is None:
            return UNCHOSEN
        if text in {"auto", "full"}:
            return cls(text, chosen=True)
        low, _, high = text.partition(":")
        try:
            window = cls("window", float(low), float(high), chosen=True)
        except ValueError:
            window = cls("window")
        if not (math.isfinite(window.high - window.low) and window.low < window.high):
            raise UsageError(
                "``depth_range`` must be auto, full or two finite numbers LOW:HIGH with LOW < "
                f"HIGH, such as 0:4095, not {text!r}."
            )
        return window

    def __str__(self) -> str:
        """Return the canonical text of the rule, which `parse` reads."""
        if self.rule != "window":
            return self.rule
        return ":".join(repr(value).removesuffix(".0") for value in (self.low, self.high))

    def needs_only(self, high_bytes: UInt8Array) -> bool:
        """Tell whether `to_uint8` would return the high bytes of 16-bit samples unchanged."""
        if self.rule == "auto":
            return not _is_crushed(high_bytes)  # those of 14-bit samples and fewer always are
        return self.rule == "full"

    def to_uint8(self, samples: Samples) -> tuple[UInt8Array, str]:
        """Scale samples to bytes; return a note if the user chose no rule and the rule matters.

        Raises `ValueError` if every value is NaN or infinite; such images would all be black.

        Parameters
        ----------
        samples : array of any shape and real dtype
            With any rule, uint8 is unchanged and bool becomes 0 or 255.

        Returns
        -------
        pixels : array of the same shape, uint8
        note : str
            Reason for a `Tally`; may be empty.
        """
        samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
        if samples.dtype == np.bool_:
            return np.where(samples, np.uint8(255), np.uint8(0)), ""
        if samples.dtype == np.uint8:
            return samples, ""
        if samples.dtype.kind == "f" and samples.size and not np.isfinite(samples).any():
            raise ValueError("the image has no finite value")
        if self.rule == "window":
            return _stretched(samples, self.low, self.high), ""
        if self.rule == "full":
            return _on_scale(samples, _scale(samples, _FULL_BITS)), ""
        scale, kind = _scale(samples, _AUTO_BITS), samples.dtype.kind
        is_full = kind == "f" or scale == _scale(samples, _FULL_BITS)
        pixels = _on_scale(samples, scale)
        fact = "" if is_full else f"that use at most {scale.bit_length()} bits"
        is_clipped = _is_clipped(samples, scale)
        if is_clipped or _is_crushed(pixels):
            low, high = _own_range(samples)
            if low < high:
                pixels = _stretched(samples, low, high)
                fact = _UNSUITED if is_clipped else fact or _UNSUITED
        if self.chosen or not fact:
            return pixels, ""
        sizes = {"u": f"{8 * samples.dtype.itemsize}-bit", "f": "floating-point"}
        return pixels, f"{sizes.get(kind, 'integer')} images {fact}{_ADVICE}"


UNCHOSEN = DepthRange()

_UNSUITED = "that are dark, flat or clipped on the full scale of their type"
_ADVICE = ", rescaled (--depth-range auto accepts this, LOW:HIGH sets one scale for all)"


def _scale(samples: Samples, bits: dict[str, tuple[int, ...]]) -> int:
    """Return the value that becomes white; 0 becomes black."""
    if samples.dtype.kind == "f":
        return 255 if np.any(samples > 1) else 1
    if samples.dtype == np.int8:
        return 127
    if samples.dtype == np.uint16 and bits is _FULL_BITS:
        return 65535
    needed = int(samples.max(initial=0)).bit_length()
    return (1 << next(known for known in bits[samples.dtype.kind] if known >= needed)) - 1


def _on_scale(samples: Samples, scale: int) -> UInt8Array:
    """Map 0 to 0 and `scale` to 255, and clip; floats are rounded, integers lose low bits."""
    if samples.dtype.kind == "f":
        samples = np.nan_to_num(samples, nan=0.0, posinf=np.inf, neginf=0.0)
        samples = np.rint(samples * 255.0 if scale == 1 else samples)
    elif samples.dtype == np.int8:
        samples = samples.astype(np.int16) << 1
    else:
        samples = samples >> (scale.bit_length() - 8)
    pixels: UInt8Array = np.clip(samples, 0, 255).astype(np.uint8, copy=False)
    return pixels


def _stretched(samples: Samples, low: float, high: float) -> UInt8Array:
    """Map low to 0 and high to 255, linearly, and clip."""
    if samples.dtype == np.uint16:
        return _linear(np.arange(65536), low, high)[samples]
    pixels = np.empty(samples.shape, np.uint8)
    for start in range(0, len(samples), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        pixels[rows] = _linear(samples[rows], low, high)
    return pixels


def _linear(values: Samples, low: float, high: float) -> UInt8Array:
    # Halving each term and dividing before multiplying keep every step from overflowing.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        levels = (values.astype(np.float64) * 0.5 - low * 0.5) / (high * 0.5 - low * 0.5)
        levels = np.nan_to_num(np.rint(levels * 255.0), nan=0.0, posinf=255.0, neginf=0.0)
    pixels: UInt8Array = np.clip(levels, 0, 255).astype(np.uint8)
    return pixels


def _own_range(samples: Samples) -> tuple[float, float]:
    values = samples[np.isfinite(samples)] if samples.dtype.kind == "f" else samples.ravel()
    if not values.size:
        return 0.0, 0.0
    trimmed = values.size // _TRIMMED
    ordered = np.partition(values, (trimmed, values.size - 1 - trimmed))
    low, high = ordered[trimmed], ordered[-1 - trimmed]
    if low == high:
        low, high = values.min(), values.max()
    return float(low), float(high)


def _is_crushed(pixels: UInt8Array) -> bool:
    """Tell whether nearly all pixels lie within a quarter of the levels."""
    # Pillow counts a hundred times faster than NumPy sorts.
    counts = Image.fromarray(pixels.reshape(len(pixels), -1)).histogram()
    reached = np.cumsum(counts)
    trimmed = pixels.size // _TRIMMED
    low, high = np.searchsorted(reached, (trimmed, pixels.size - 1 - trimmed), side="right")
    return bool(high - low < _LEAST_LEVELS)


def _is_clipped(samples: Samples, scale: int) -> bool:
    """Tell whether more than 1/16 of the range of values lies outside the scale."""
    if samples.dtype.kind == "u" or not np.any((samples < 0) | (samples > scale)):
        return False
    low, high = _own_range(samples)
    outside = max(-low, 0.0) * 0.5 + max(high - scale, 0.0) * 0.5
    return outside > _LARGEST_SHARE_OUTSIDE * (high * 0.5 - low * 0.5)
