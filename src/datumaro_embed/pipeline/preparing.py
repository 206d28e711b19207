"""Items → pixels of images and of objects, in threads a bounded number ahead.

What is known already is not decoded; what must be decoded is decoded once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..adapter import SourceItem
from ..depth import DepthRange
from ..encoders import ImageEncoder
from ..objects import ObjectOptions, cut, objects_of
from ..parallel import Ahead, map_ahead
from ..records import CaptionRecord, ItemRecord, Status
from ..signatures import describe
from .contents import Contents
from .ordering import Pixels, ReadItem
from .reading import OpenedItem, open_item
from .reuse import KnownVectors

__all__ = ["items_ahead", "prepare"]

_BATCHES_AHEAD = 3
_OBJECTS = 8  # of an image, for as many images ahead as without them


def items_ahead(batch_size: int, workers: int, *, objects: bool) -> int:
    """Return how many items are read before the oldest of them is taken."""
    n_pictures = max(_BATCHES_AHEAD * batch_size, 2 * workers)
    return n_pictures * (_OBJECTS if objects else 1)


def prepare(
    source: Iterable[SourceItem],
    encoder: ImageEncoder,
    *,
    workers: int,
    least_side_px: int,
    depth_range: DepthRange,
    known: KnownVectors,
    contents: Contents,
    objects: ObjectOptions | None = None,
    captions: bool = False,
) -> Ahead[ReadItem]:
    """Read, decode and resize in threads, in the source's order.

    Parameters
    ----------
    least_side_px : int
        See `images.OpenedImage.decode`.
    depth_range : DepthRange
        For samples of more than 8 bits.
    known : KnownVectors
        Of earlier runs.
    contents : Contents
        Of this run.
    objects : ObjectOptions, optional
        Find the objects of each item, and give the pixels of those whose vector is not known.
    captions : bool
        Find the captions of each item.
    """

    def read(numbered: tuple[int, SourceItem]) -> ReadItem:
        position, item = numbered
        opened = open_item(item, depth_range)
        record = complete(opened.record)
        shares = opened.is_readable and opened.is_whole
        read_item = ReadItem(record, position, shares=shares)
        if shares:
            vector = known.find(record)
            record = known.with_known(record)
            is_twin = vector is None and not contents.is_first(record.content_sha256, position)
            read_item = ReadItem(record, position, None, vector, is_twin=is_twin)
            read_item = replace(read_item, shares=vector is None and not is_twin)
        needs_pixels = read_item.vector is None and not read_item.is_twin
        if opened.is_readable and (needs_pixels or _wanted(record)):
            return _decoded(opened, read_item, needs_pixels)
        return read_item

    def complete(record: ItemRecord) -> ItemRecord:
        if objects is not None:
            record = replace(record, objects=objects_of(record, objects))
        if captions:
            places = (n for n, a in enumerate(record.annotations) if a.type == "caption")
            record = replace(record, captions=tuple(map(CaptionRecord, places)))
            record = known.with_captions(record)
        return record

    def _decoded(opened: OpenedItem, item: ReadItem, needs_pixels: bool) -> ReadItem:
        wanted = _wanted(item.record)
        read, image = opened.read(least_side_px=0 if wanted else least_side_px)
        if image is None:
            return replace(item, record=complete(read), vector=None)
        side_px = encoder.least_side_px
        found = item.record.objects or ()
        crops = {n: encoder.preprocess(cut(image, found[n], side_px)) for n in wanted}
        pixels: Pixels | None = encoder.preprocess(image) if needs_pixels else None
        record = replace(item.record, notes=read.notes)
        if record.signature is None:
            signature, statistics = describe(image)
            record = replace(
                record, signature=signature.tobytes(), statistics=tuple(statistics.tolist())
            )
        return replace(item, record=record, pixels=pixels, crops=crops)

    return map_ahead(
        read,
        enumerate(source),
        workers=workers,
        ahead=items_ahead(encoder.batch_size, workers, objects=objects is not None),
        weigh=lambda numbered: 0 if objects is None else numbered[1].n_annotations,
    )


def _wanted(record: ItemRecord) -> list[int]:
    """Objects whose pixels are to be embedded."""
    if record.status is not Status.OK:
        return []
    found = enumerate(record.objects or ())
    return [n for n, one in found if one.status.has_vector and one.vector is None]
