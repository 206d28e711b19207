"""Items → pixels, in threads a bounded number ahead; what is known already is not decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from ..adapter import SourceItem
from ..depth import DepthRange
from ..encoders import ImageEncoder
from ..parallel import Ahead, map_ahead
from ..records import ItemRecord, Status
from .contents import Contents
from .ordering import ReadItem
from .reading import OpenedItem, open_item

__all__ = ["items_ahead", "prepare"]

_BATCHES_AHEAD = 3


def items_ahead(batch_size: int, workers: int) -> int:
    """Return how many items are read before the oldest of them is taken."""
    return max(_BATCHES_AHEAD * batch_size, 2 * workers)


def prepare(
    source: Iterable[SourceItem],
    encoder: ImageEncoder,
    *,
    workers: int,
    least_side_px: int,
    depth_range: DepthRange,
    find: Callable[[ItemRecord], npt.NDArray[np.float32] | None],
    contents: Contents,
) -> Ahead[ReadItem]:
    """Read, decode and resize in threads, in the source's order.

    Parameters
    ----------
    least_side_px : int
        See `images.OpenedImage.decode`.
    depth_range : DepthRange
        For samples of more than 8 bits.
    find : callable
        The vector that an earlier run has for a whole image; None where there is none.
    contents : Contents
        Of this run.
    """

    def read(numbered: tuple[int, SourceItem]) -> ReadItem:
        position, item = numbered
        opened = open_item(item, depth_range)
        record = opened.record
        if opened.is_readable and opened.is_whole:
            vector = find(record)
            if vector is not None:
                return ReadItem(record, position, vector=vector)
            if not contents.is_first(record.content_sha256, position):
                return ReadItem(record, position, is_twin=True)
        return _decoded(opened, position, encoder, least_side_px)

    return map_ahead(
        read, enumerate(source), workers=workers, ahead=items_ahead(encoder.batch_size, workers)
    )


def _decoded(
    opened: OpenedItem, position: int, encoder: ImageEncoder, least_side_px: int
) -> ReadItem:
    record, image = opened.read(least_side_px=least_side_px)
    shares = opened.is_readable and opened.is_whole
    if image is None or record.status is not Status.OK:
        return ReadItem(record, position, shares=shares)
    return ReadItem(record, position, pixels=encoder.preprocess(image), shares=shares)
