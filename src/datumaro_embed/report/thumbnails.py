"""Small pictures of items: read from the media folder alone, and only where nothing has changed."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Generator, Iterable
from contextlib import closing
from io import BytesIO
from pathlib import Path

from PIL import Image

from ..images import ImageProblem, read_image
from ..parallel import map_ahead, usable_processors
from ..store import EmbeddingStore

__all__ = ["SIDE_PX", "thumbnails"]

SIDE_PX = 144
_QUALITY = 70


def thumbnails(
    store: EmbeddingStore, root: str | os.PathLike[str], rows: Iterable[int]
) -> Generator[tuple[int, str], None, None]:
    """Yield each row whose image can be used, in order, with a base64 WebP file.

    An image is used only where its real path lies inside of `root`, and its bytes are those that
    were embedded: a store from elsewhere cannot bring other files into the page.
    """
    root = os.path.realpath(root)

    def thumbnail(item: tuple[int, Path]) -> tuple[int, str]:
        row, path = item
        try:
            image, info = read_image(path, depth_range=store.depth_range)
        except ImageProblem:
            return row, ""
        if info.content_sha256 != store.content_sha256[row].tobytes():
            return row, ""
        image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, reducing_gap=2.0)
        stream = BytesIO()
        image.save(stream, "WEBP", quality=_QUALITY, method=4)
        return row, b64encode(stream.getvalue()).decode("ascii")

    workers = usable_processors()
    found = ((row, path) for row in rows if (path := _inside(root, store.item(row).path)))
    with closing(map_ahead(thumbnail, found, workers=workers, ahead=8 * workers)) as pictures:
        yield from ((row, picture) for row, picture in pictures if picture)


def _inside(root: str, relative: str) -> Path | None:
    """Join the paths; None for media in memory and for a file that lies outside of the root."""
    if not relative or "\0" in relative:
        return None
    real = os.path.realpath(os.path.join(root, relative))
    return Path(real) if real.startswith(root.rstrip(os.sep) + os.sep) else None
