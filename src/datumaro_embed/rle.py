"""COCO's run-length encodings of masks, checked before pycocotools sees them.

pycocotools is C code that does not check its input: a size of [0, 0] divides by zero and ends the
process, and runs that do not fill the mask leave uninitialized memory in it. Only this module calls
it.

Source: maskApi.c of the COCO API (rleToString, rleFrString). A mask is a list of runs, alternating
0 and 1, down the columns. Compressed, each run is a sign-extended number in groups of 5 bits,
lowest first, one character per group, counted from ``0`` (48), with bit 5 set if another group
follows. From the fourth run on, the number is the difference from the run two before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

MAX_MASK_PIXELS = 2**30  # pycocotools counts in 32 bits; decoded, it is 1 GiB
_NO_RUNS = "its counts are not run lengths"
_MAX_GROUPS = 7  # 5-bit groups in a run: 32 bits and the sign


class RleError(ValueError):
    """An invalid run-length encoding."""


@dataclass(frozen=True, slots=True)
class Rle:
    """A valid, compressed run-length encoding.

    Attributes
    ----------
    height, width : int
        Pixels, at least 1.
    counts : str
        ASCII; its runs add up to height x width.
    """

    height: int
    width: int
    counts: str

    @classmethod
    def of(cls, encoded: Any) -> Rle:
        """Check ``{"size": [height, width], "counts": …}``, compressed or a list of runs.

        Raises `RleError`. Takes about 20 µs if compressed.
        """
        try:
            height, width = (_whole(value) for value in encoded["size"])
            counts = encoded["counts"]
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise RleError("it has no size and counts") from error
        if height < 1 or width < 1 or height * width > MAX_MASK_PIXELS:
            raise RleError(f"its size is {height} x {width}")
        if isinstance(counts, str):
            counts = counts.encode("utf-8", "replace")
        if isinstance(counts, bytes):
            digits = np.frombuffer(counts, np.uint8).astype(np.int64) - ord("0")
            ends = np.flatnonzero(digits < 32)  # the last group of each run
            if not digits.size or digits.min() < 0 or digits.max() > 63 or digits[-1] >= 32:
                raise RleError(_NO_RUNS)
            starts = np.concatenate(([0], ends[:-1] + 1))
            places = np.arange(digits.size) - np.repeat(starts, ends - starts + 1)
            if places.max() >= _MAX_GROUPS:
                raise RleError(_NO_RUNS)
            runs = np.add.reduceat((digits & 31) << (5 * places), starts)
            runs -= ((digits[ends] & 16) > 0).astype(np.int64) << (5 * (places[ends] + 1))
            np.cumsum(runs[1::2], out=runs[1::2])
            np.cumsum(runs[2::2], out=runs[2::2])
        else:
            try:
                runs = np.array([_whole(value) for value in counts] or [-1], np.int64)
            except (OverflowError, TypeError, ValueError) as error:
                raise RleError(_NO_RUNS) from error
        n_pixels = height * width
        if runs.min() < 0 or runs.max() > n_pixels or runs.sum() != n_pixels:
            raise RleError(f"its runs do not add up to {height} x {width}")
        if not isinstance(counts, bytes):
            sound = {"size": [height, width], "counts": runs.tolist()}
            counts = coco_mask.frPyObjects(sound, height, width)["counts"]
        return cls(height, width, counts.decode("ascii"))

    @classmethod
    def from_json(cls, text: str) -> Rle:
        """Parse and check the output of `to_json`; raises `RleError`."""
        try:
            return cls.of(json.loads(text))
        except (RecursionError, json.JSONDecodeError) as error:
            raise RleError("it is not JSON") from error

    @classmethod
    def of_mask(cls, mask: npt.NDArray[np.bool_]) -> Rle:
        """Encode a (height, width) array; raises `RleError` for another shape or no pixels."""
        if mask.ndim != 2 or not 1 <= mask.size <= MAX_MASK_PIXELS:
            raise RleError(f"its shape is {mask.shape}")
        height, width = mask.shape
        encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        return cls(height, width, encoded["counts"].decode("ascii"))

    def mask(self) -> npt.NDArray[np.bool_]:
        """Return the (height, width) array."""
        return np.asarray(coco_mask.decode(self.to_coco())).astype(np.bool_)

    def area(self) -> float:
        """Return the number of pixels that are set."""
        return float(coco_mask.area(self.to_coco()))

    def box(self) -> list[float]:
        """Return x, y, w, h of the smallest box around the set pixels."""
        return [float(value) for value in coco_mask.toBbox(self.to_coco())]

    def to_coco(self) -> dict[str, Any]:
        """Return the dict that COCO files and pycocotools use."""
        return {"size": [self.height, self.width], "counts": self.counts}

    def to_json(self) -> str:
        """Return the dict of `to_coco` as JSON."""
        return json.dumps(self.to_coco())


def _whole(value: Any) -> int:
    number = int(value)
    if number != value or isinstance(value, bool | str):
        raise ValueError(value)
    return number
