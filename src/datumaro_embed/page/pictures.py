"""Pictures of items, made on demand: only of files in the media root that are what was embedded.

A picture is kept in the user's cache under a name made of the file's path, identity and content
hash: where a file has changed since, its name is another one, and it is read, hashed and refused.
So links out of the media root are followed: they show nothing that was not embedded.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import nullcontext, suppress
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..files import identity_of
from ..images import ImageProblem, open_image
from ..models import user_cache_dir
from ..records import Status
from ..retrieval import media_file
from ..store import EmbeddingStore
from ..video import Videos, split_frame_path

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FULL_PX", "SIDES_PX", "PictureCache", "Pictures", "as_jpeg", "as_webp"]

SIDES_PX = (160, 320, 640)
FULL_PX = 2048
Box = tuple[float, float, float, float]

_CACHE_BYTES = 512 * 2**20
_LARGE_PX = 24_000_000  # one at a time: 3 to 20 bytes a pixel
_MARGIN = 0.15  # around an object, of its longer side


class PictureCache:
    """A folder of JPEG files that never takes more than its limit, the oldest going first."""

    def __init__(self, folder: Path | None = None, limit_bytes: int = _CACHE_BYTES) -> None:
        self._folder = folder or user_cache_dir() / "pictures"
        self._limit = limit_bytes
        self._new_bytes = limit_bytes  # nobody knows what is there
        self._lock = threading.Lock()

    def get(self, name: str) -> bytes | None:
        """Return a whole file, and count it as used."""
        path = self._path(name)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data if data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9" else None

    def put(self, name: str, data: bytes) -> None:
        """Keep a file, unless the system refuses."""
        path = self._path(name)
        new = path.with_name(f"{name}.{token_hex(4)}")
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(data)
            new.replace(path)
        with self._lock:
            self._new_bytes += len(data)
            if self._new_bytes < self._limit // 8:
                return
            self._new_bytes = 0
        threading.Thread(target=self._trim, daemon=True).start()

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _trim(self) -> None:
        """Remove what was used longest ago until an eighth of the limit is free."""
        facts = []
        with suppress(OSError):
            for path in self._folder.glob("??/*"):
                with suppress(FileNotFoundError):  # another thread or process was faster
                    facts.append((path, path.stat()))
            excess = sum(fact.st_size for _, fact in facts) - self._limit * 7 // 8
            for path, fact in sorted(facts, key=lambda each: each[1].st_mtime):
                if excess <= 0:
                    return
                path.unlink(missing_ok=True)
                excess -= fact.st_size


def as_jpeg(image: Image.Image, side_px: int) -> bytes:
    """Shrink an upright RGB image until no side is longer, and encode it."""
    return _encoded(image, side_px, "JPEG", quality=82)


def as_webp(image: Image.Image, side_px: int) -> bytes:
    """Encode as `as_jpeg` does, in fewer bytes and more time."""
    return _encoded(image, side_px, "WEBP", quality=70, method=4)


def _encoded(image: Image.Image, side_px: int, form: str, **options: int) -> bytes:
    image.thumbnail((side_px, side_px), Image.Resampling.BICUBIC, reducing_gap=2.0)
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


class Pictures:
    """The pictures of one store; thread-safe.

    Every method raises `ImageProblem` where there is no picture to show, and never shows another
    one.

    Parameters
    ----------
    root : Path or None
        The media root, if it is there.
    cache : PictureCache, optional
    encode : callable
        `as_jpeg` or `as_webp`; a cache has JPEG files.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        root: Path | None,
        cache: PictureCache | None = None,
        encode: Callable[[Image.Image, int], bytes] = as_jpeg,
    ) -> None:
        self._store, self._root, self._cache, self._encode = store, root, cache, encode
        self._videos = Videos()
        self._large = threading.Lock()

    def item(self, row: int, side_px: int) -> bytes:
        """Return an item's picture, upright, no side longer than `side_px`."""
        return self._picture(row, side_px, None)

    def object(self, row: int, side_px: int) -> bytes:
        """Return the part of its item's picture around an object."""
        item_row, _ = self._store.owner("objects", row)
        x, y, w, h = self._store.rows("objects/box", row, row + 1)[0].tolist()
        return self._picture(item_row, side_px, (x, y, w, h) if w > 0 and h > 0 else None)

    def _picture(self, row: int, side_px: int, box: Box | None) -> bytes:
        if self._root is None:
            raise ImageProblem(Status.MISSING, "the folder of the images is not there")
        name, frame = split_frame_path(self._store.text("items/path", row))
        sha256 = self._store.content_sha256[row].tobytes()
        problem, file = media_file(name, self._root, is_hashed=any(sha256))
        if file is None:
            raise ImageProblem(Status.MISSING, problem)
        try:
            identity = identity_of(file.stat())
        except OSError as error:
            raise ImageProblem(Status.MISSING, error.strerror or "it cannot be read") from error
        facts = f"{file}{frame}{identity}{sha256.hex()} {side_px} {box}"
        known = hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()
        data = self._cache.get(known) if self._cache else None
        if data is not None:
            return data

        # Open the image, and refuse it unless it is the one that was embedded.
        source = file if frame is None else self._videos.read(str(file), frame)
        opened = open_image(source, channel_order="bgr", depth_range=self._store.depth_range)
        size = opened.info.width, opened.info.height
        if opened.info.content_sha256 != sha256:
            raise ImageProblem(Status.MISSING, "the image has changed since it was embedded")
        said = int(self._store.widths[row]), int(self._store.heights[row])
        if all(said) and size != said:
            raise ImageProblem(Status.MISSING, "the item is a region of its image file")

        with self._large if size[0] * size[1] > _LARGE_PX else nullcontext():
            image = opened.decode(least_side_px=0 if box else side_px)
        image = image if box is None else image.crop(_around(box, image.size))
        data = self._encode(image, side_px)
        if self._cache:
            self._cache.put(known, data)
        return data


def _around(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Give the box with a margin, as whole pixels of the image: at least one."""
    x, y, w, h = box
    margin = _MARGIN * max(w, h)
    corners = np.array([x - margin, y - margin, x + w + margin, y + h + margin])
    corners = np.nan_to_num(corners)
    x1, y1, x2, y2 = np.clip(corners, 0, [*size, *size]).round().astype(int).tolist()
    x1, y1 = min(x1, size[0] - 1), min(y1, size[1] - 1)
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)
