"""The images of stores, decoded when they are looked at, and only as they were embedded."""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import cv2
import numpy as np

from ..errors import UsageError
from ..images import ImageProblem, OpenedImage, open_image
from ..logs import log
from ..parallel import usable_processors
from ..pixels import rgbx
from ..records import Status
from ..retrieval import media_file, media_root_of
from ..store import EmbeddingStore
from ..video import split_frame_path
from .differences import Array
from .fidelity import NOT_SEEN, Fidelity, fidelity_of, has_colors_of
from .proof import LONGEST_PX

__all__ = ["DecodedPictures", "folder_of_images"]

_KEPT_BYTES = 200_000_000  # of pictures: 1,000 and more; of all forks together
_LEAST_KEPT = 25_000_000  # of a fork
_MIDDLE = 0.6  # of both sides: dates and logos are near an edge
_STRONGEST = 0.01  # share of the pixels


@contextmanager
def folder_of_images(
    store: EmbeddingStore, media_root: str | Path | None, parameter: str = "media_root"
) -> Iterator[tuple[Path, bool]]:
    """Give the folder of a store's images and True; an empty one where it is not known which.

    Raises `UsageError`: there is no folder `media_root`.
    """
    try:
        root = media_root_of(store, media_root, parameter)
    except UsageError as error:
        if media_root is not None:
            raise
        log.warning("%s Otherwise, copies are found only if the files are identical.", error)
        with TemporaryDirectory(prefix="datumaro-embed-") as empty:
            yield Path(empty), False
    else:
        yield root, True


class DecodedPictures:
    """Decoded images of the items of stores; the latest are remembered. For many threads."""

    def __init__(self, stores: Sequence[EmbeddingStore], roots: Sequence[Path]) -> None:
        self._stores, self._roots = stores, roots
        self._ends = list(accumulate(map(len, stores)))
        self._kept: OrderedDict[int, Array | None] = OrderedDict()
        self._kept_bytes = 0
        self._lock = Lock()
        self._process = os.getpid()
        self.unread: dict[int, str] = {}  # and why
        self._there: dict[int, bool] = {}  # True
        self._details: dict[int, tuple[int, float]] = {}
        self._unseen: dict[int, tuple[str, ...]] = {}
        self._steps: dict[int, float | None] = {}
        self._fidelities: dict[int, Fidelity] = {}

    def place(self, row: int) -> tuple[EmbeddingStore, Path, int]:
        """Give the store of a row, its folder, and the row in it."""
        side = bisect_right(self._ends, row)
        return self._stores[side], self._roots[side], row - (self._ends[side - 1] if side else 0)

    def small(self, row: int) -> Array | None:
        """Decode an item's image, at most `LONGEST_PX` long; None where that is impossible."""
        with self._lock:
            if row in self._kept:
                self._kept.move_to_end(row)
                return self._kept[row]
        picture = self._decoded(row, LONGEST_PX // 2)
        if picture is not None:
            if row not in self._fidelities:
                self._fidelities[row] = fidelity_of(picture, self._steps[row])
            picture = _at(picture, min(LONGEST_PX, max(picture.shape[:2])))
        is_fork = os.getpid() != self._process
        most = max(_KEPT_BYTES // usable_processors(), _LEAST_KEPT) if is_fork else _KEPT_BYTES
        with self._lock:
            gone = self._kept.pop(row, None)  # another thread was faster
            self._kept[row] = picture
            self._kept_bytes += _n_bytes(picture) - _n_bytes(gone)
            while self._kept_bytes > most:
                self._kept_bytes -= _n_bytes(self._kept.popitem(last=False)[1])
        return picture

    def facts(self, rows: Iterable[int]) -> list[dict[int, Any]]:
        """Give what was found out about some rows, for `learn` in another process."""
        rows = {*rows}
        return [{row: table[row] for row in rows if row in table} for table in self._tables()]

    def learn(self, facts: Iterable[dict[int, Any]]) -> None:
        """Take over what `facts` gave in a fork of this process."""
        for table, found in zip(self._tables(), facts, strict=True):
            table |= found

    def _tables(self) -> tuple[dict[int, Any], ...]:
        measured = self._details, self._steps, self._fidelities
        return self.unread, self._there, self._unseen, *measured

    def are_equal(self, a: int, b: int) -> bool:
        """Compare all pixels of two images, in 8 bits."""
        small = [np.asarray(self.small(row)) for row in (a, b)]
        are_decoded_alike = len({Path(self._path(row)).suffix for row in (a, b)}) == 1
        if are_decoded_alike and not np.array_equal(small[0], small[1]):
            return False
        one, other = (self._decoded(row, 0) for row in (a, b))
        return one is not None and other is not None and np.array_equal(one, other)

    def is_seen_through(self, row: int) -> bool:
        """Tell whether an image is not opaque everywhere; by its name for a JPEG."""
        if self._path(row).lower().endswith((".jpg", ".jpeg")):
            return False
        try:
            alpha = self.opened(row).alpha()
        except ImageProblem:
            return False
        return alpha is not None and bool(np.asarray(alpha).min() < 255)

    def digest(self, row: int) -> bytes:
        """Hash all pixels of an image, in 8 bits; nothing where they cannot be read."""
        picture = self._decoded(row, 0)
        if picture is None:
            return b""
        found = sha256(str(picture.shape).encode())
        found.update(np.ascontiguousarray(picture).data)
        return found.digest()

    def detail(self, row: int) -> tuple[int, float]:
        """Measure the detail of an image as it is decoded for proofs; remembered.

        Returns
        -------
        longest_px : int
            Where it was measured: a JPEG may be decoded at less than `LONGEST_PX`.
        detail : float
            How strong its finest edges are, beside all contrast.
        """
        if row not in self._details:
            picture = self.small(row)
            if picture is None:
                return LONGEST_PX, 0.0
            longest_px = max(picture.shape[:2])
            if longest_px == max(self.size(row)):
                longest_px = LONGEST_PX
            self._details[row] = longest_px, _detail_of(_at(picture, longest_px))
        return self._details[row]

    def detail_at(self, row: int, longest_px: int) -> float:
        """Measure the detail of an image at a given size, decoded at no less."""
        size = self.size(row)
        picture = self._decoded(row, math.ceil(longest_px * min(size) / max(size)))
        return 0.0 if picture is None else _detail_of(_at(picture, longest_px))

    def fidelity(self, row: int) -> Fidelity:
        """Measure what is left of an image's tones; remembered."""
        if row not in self._fidelities:
            self.small(row)
        return self._fidelities.get(row, NOT_SEEN)

    def has_colors_of(self, row: int, rich: int) -> bool:
        """Tell whether an image has nearly all colors of another without the noise of that."""
        picture, other = self._decoded(row, 0), self.small(rich)
        if picture is None or other is None:
            return True
        return has_colors_of(picture, other, self._steps[rich])

    def unseen(self, *rows: int) -> tuple[str, ...]:
        """Name what decoding left out of any of some images: ``bits``, ``frames``."""
        found = {name for row in rows for name in self._unseen.get(row, ())}
        return tuple(sorted(found))

    def have_equal_samples(self, a: int, b: int) -> bool:
        """Compare all bits of all samples of two images that are equal in 8 bits."""
        try:
            one, other = (self.opened(row) for row in (a, b))
        except ImageProblem:
            return False
        if one.info.orientation != other.info.orientation:
            return False
        first, second = one.native_samples(), other.native_samples()
        if first is None or second is None:
            return False
        return first.dtype == second.dtype and np.array_equal(first, second)

    def is_there(self, row: int) -> bool:
        """Tell whether an item's image is the one that was embedded."""
        if row not in self._there:
            try:
                self.opened(row)
            except ImageProblem as problem:
                self.unread[row] = problem.reason
                return False
        return True

    def _decoded(self, row: int, least_side_px: int) -> Array | None:
        try:
            opened = self.opened(row)
            if row not in self._unseen and (unseen := opened.unseen()):
                self._unseen[row] = unseen
            self._steps[row] = opened.steps
            decoded, alpha = opened.decode(least_side_px=least_side_px), opened.alpha()
            picture = np.asarray(cv2.cvtColor(rgbx(decoded), cv2.COLOR_RGBA2RGB))
        except ImageProblem as problem:
            self.unread[row] = problem.reason
            return None
        if alpha is None:
            return picture
        # What is transparent is inverted, so that pictures of unlike opacity differ.
        weights = np.asarray(alpha)[..., None].astype(np.float32) / 255
        mixed = 255 - picture + weights * (2 * picture.astype(np.float32) - 255)
        return np.asarray(mixed.round().astype(np.uint8))

    def _path(self, row: int) -> str:
        store, _, own = self.place(row)
        return store.text("items/path", own)

    def size(self, row: int) -> tuple[int, int]:
        """Width and height of an image."""
        store, _, own = self.place(row)
        return int(store.widths[own]), int(store.heights[own])

    def opened(self, row: int) -> OpenedImage:
        """Open an item's image; raises `ImageProblem` unless it is the one that was embedded."""
        store, root, own = self.place(row)
        name, size, sha = self._path(row), self.size(row), store.content_sha256[own]
        if split_frame_path(name)[1] is not None:
            raise ImageProblem(Status.UNSUPPORTED, "frames of videos are not decoded for proofs")
        problem, path = media_file(name, root, is_hashed=bool(sha.any()))
        if path is None:
            raise ImageProblem(Status.MISSING, problem)
        opened = open_image(path, channel_order="bgr", depth_range=store.depth_range)
        if (opened.info.width, opened.info.height) != size:
            raise ImageProblem(Status.UNREADABLE, "the size is not that of what was embedded")
        if sha.any() and opened.info.content_sha256 != sha.tobytes():
            raise ImageProblem(Status.UNREADABLE, "the image has changed since it was embedded")
        self._there[row] = True
        return opened


def _n_bytes(picture: Array | None) -> int:
    return 0 if picture is None else picture.nbytes


def _at(picture: Array, longest_px: int) -> Array:
    """Resize a picture to a longer side."""
    h, w = picture.shape[:2]
    scale = longest_px / max(h, w)
    if scale == 1:
        return picture
    size = (max(round(w * scale), 1), max(round(h * scale), 1))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how))


def _detail_of(picture: Array) -> float:
    """Measure how strong the finest edges are, beside all contrast.

    The mean of the strongest hundredth of the differences from a blurred picture, by the deviation
    of the grays: noise and compression hardly change it, brightness and contrast do not. Of the
    middle of the picture, so that a date or a logo near its edge does not count. Only of pictures
    of one size it is comparable. 0.06 ms for 240 x 180 pixels.
    """
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    top, left = (int(side * (1 - _MIDDLE) / 2) for side in gray.shape)
    middle = gray[top : len(gray) - top, left : gray.shape[1] - left]
    differences = cv2.absdiff(middle, cv2.GaussianBlur(middle, (5, 5), 1.0))
    counts = cv2.calcHist([differences], [0], None, [256], [0, 256]).reshape(-1)[::-1]
    n_strongest = max(_STRONGEST * middle.size, 1.0)
    taken = np.clip(n_strongest - (np.cumsum(counts) - counts), 0, counts)
    strength = float(taken @ np.arange(255, -1, -1)) / n_strongest
    whole, own = (float(cv2.meanStdDev(part)[1].item()) for part in (gray, middle))
    return strength / max(own, whole / 2, 1.0)
