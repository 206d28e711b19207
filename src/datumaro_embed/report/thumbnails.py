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
from ..parallel import map_ahead
from ..retrieval import media_file
from ..store import EmbeddingStore

SIDE_PX = 144
_QUALITY = 70


def thumbnails(
    store: EmbeddingStore,
    root: str | os.PathLike[str],
    rows: Iterable[int],
    *,
    side_px: int = SIDE_PX,
) -> Generator[tuple[int, str], None, None]:
    """Yield each row whose image can be used, in order, with a base64 WebP file.

    An image is used only where its real path lies inside of `root`, and its bytes are those that
    were embedded: a store from elsewhere cannot bring other files into the page.
    """

    def thumbnail(item: tuple[int, Path]) -> tuple[int, str]:
        row, path = item
        try:
            image, info = read_image(path, depth_range=store.depth_range)
        except ImageProblem:
            return row, ""
        if info.content_sha256 != store.content_sha256[row].tobytes():
            return row, ""
        image.thumbnail((side_px, side_px), Image.Resampling.BICUBIC, reducing_gap=2.0)
        stream = BytesIO()
        image.save(stream, "WEBP", quality=_QUALITY, method=4)
        return row, b64encode(stream.getvalue()).decode("ascii")

    files = ((row, media_file(store.item(row).path, Path(root))[1]) for row in rows)
    found = ((row, path) for row, path in files if path)
    with closing(map_ahead(thumbnail, found)) as pictures:
        yield from ((row, picture) for row, picture in pictures if picture)
