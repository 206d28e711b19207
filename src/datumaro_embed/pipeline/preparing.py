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
from ..records import CaptionRecord, ItemRecord
from ..signatures import describe
from .contents import Contents
from .options import EmbedOptions
from .ordering import Pixels, ReadItem
from .reading import open_item
from .reuse import KnownVectors

__all__ = ["prepare"]


def prepare(
    source: Iterable[SourceItem],
    encoder: ImageEncoder,
    options: EmbedOptions,
    *,
    workers: int,
    ahead: int,
    known: KnownVectors,
    contents: Contents,
    objects: ObjectOptions | None = None,
    captions: bool = False,
) -> Ahead[ReadItem]:
    """Read, decode and resize in threads, in the source's order.

    Parameters
    ----------
    workers : int
        Threads.
    ahead : int
        Maximum number of items, and with `objects` of annotations too, that are read before the
        oldest item is taken.
    known : KnownVectors
        Of earlier runs.
    contents : Contents
        Of this run.
    objects : ObjectOptions, optional
        Find the objects of each item, and give the pixels of those whose vector is not known.
    captions : bool
        Find the captions of each item.
    """
    least_side_px = encoder.least_side_px if options.decode == "fast" else 0
    depth_range = DepthRange.parse(options.depth_range)

    def read(numbered: tuple[int, SourceItem]) -> ReadItem:
        position, item = numbered
        opened = open_item(item, depth_range)
        record = with_tables(opened.record)
        if opened.image is None:
            return ReadItem(record, position)

        # A region of an image has the bytes of the image, but is another one.
        vector, is_twin, is_whole = None, False, opened.roi is None
        if is_whole:
            record, vector = known.find(record)
            is_twin = vector is None and not contents.is_first(record.content_sha256, position)
        needs_pixels = vector is None and not is_twin
        read_item = ReadItem(record, position, None, vector, is_whole and needs_pixels, is_twin)
        found = record.objects or ()
        wanted = [n for n, one in enumerate(found) if one.status.has_vector and one.vector is None]
        if not (needs_pixels or wanted):
            return read_item

        # Objects are cut out of the image at its full size.
        decoded, image = opened.read(least_side_px=0 if wanted else least_side_px)
        if image is None:
            return replace(read_item, record=with_tables(decoded), vector=None)
        side_px = encoder.least_side_px
        crops = {n: encoder.preprocess(cut(image, found[n], side_px)) for n in wanted}
        pixels: Pixels | None = encoder.preprocess(image) if needs_pixels else None
        record = replace(record, notes=decoded.notes)
        if record.signature is None:
            signature, statistics = describe(image)
            record = replace(
                record, signature=signature.tobytes(), statistics=tuple(statistics.tolist())
            )
        return replace(read_item, record=record, pixels=pixels, crops=crops)

    def with_tables(record: ItemRecord) -> ItemRecord:
        """Add the objects and the captions, as far as they are asked for."""
        if objects is not None:
            record = replace(record, objects=objects_of(record, objects))
        if captions:
            places = (n for n, a in enumerate(record.annotations) if a.type == "caption")
            record = replace(record, captions=tuple(map(CaptionRecord, places)))
            record = known.with_captions(record)
        return record

    return map_ahead(
        read,
        enumerate(source),
        workers=workers,
        ahead=ahead,
        weigh=lambda numbered: 0 if objects is None else numbered[1].n_annotations,
    )
