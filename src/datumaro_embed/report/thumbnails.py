"""Small pictures of items: read from the media folder alone, and only where nothing has changed."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image

from ..images import ImageProblem, read_image
from ..parallel import map_ahead, usable_processors
from ..store import EmbeddingStore

__all__ = ["SIDE_PX", "Thumbnails"]

SIDE_PX = 144
_QUALITY = 70
_MARKUP_BYTES = 400  # around it: attributes with the key and some labels, escaped


class Thumbnails:
    """Makes thumbnails of rows until a budget is spent.

    Parameters
    ----------
    store : EmbeddingStore
    root : path
        Of the media. An image is used only where its real path lies inside, and its bytes are those
        that were embedded: a store from elsewhere can so not bring other files into the page.

    Attributes
    ----------
    made : mapping of int to str
        Row → base64 of a WebP file.
    """

    def __init__(self, store: EmbeddingStore, root: str | os.PathLike[str]) -> None:
        self._store = store
        self._root = os.path.realpath(root)
        self.made: dict[int, str] = {}

    def make(
        self, rows: Iterable[int], budget_bytes: int, *, copies: Mapping[int, int] | None = None
    ) -> None:
        """Add thumbnails of rows, in order, while they fit into the budget.

        Parameters
        ----------
        rows : iterable of int
        budget_bytes : int
        copies : mapping of int to int, optional
            How often a row's picture stands in the page; once unless given.
        """
        spent = 0
        workers = usable_processors()
        wanted = (
            (row, path)
            for row in dict.fromkeys(rows)
            if row not in self.made and (path := self._path(row)) is not None
        )
        for row, encoded in map_ahead(self._thumbnail, wanted, workers=workers, ahead=8 * workers):
            if encoded is None:
                continue
            spent += (len(encoded) + _MARKUP_BYTES) * (copies or {}).get(row, 1)
            if spent > budget_bytes:
                break
            self.made[row] = encoded

    def _thumbnail(self, item: tuple[int, Path]) -> tuple[int, str | None]:
        row, path = item
        try:
            image, info = read_image(path, depth_range=self._store.depth_range)
        except ImageProblem:
            return row, None
        if info.content_sha256 != self._store.content_sha256[row].tobytes():
            return row, None
        return row, _encode(image)

    def _path(self, row: int) -> Path | None:
        """Where the image lies; None for media in memory and paths that leave the root."""
        relative = self._store.item(row).path
        if not relative or "\0" in relative:
            return None
        real = os.path.realpath(os.path.join(self._root, relative))
        inside = real.startswith(self._root.rstrip(os.sep) + os.sep)
        return Path(real) if inside else None


def _encode(image: Image.Image) -> str:
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, reducing_gap=2.0)
    stream = BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=4)
    return b64encode(stream.getvalue()).decode("ascii")
