"""One item → its finished record and, where it is readable, its upright image."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image

from ..adapter import SourceItem, encoder_input
from ..depth import UNCHOSEN, DepthRange
from ..geometry import orient_xywh
from ..images import ImageProblem, OpenedImage, open_image
from ..records import ItemRecord, Status

__all__ = ["OpenedItem", "open_item", "read_item", "read_item_info"]


@dataclass(frozen=True, slots=True)
class OpenedItem:
    """An item whose image's bytes and header are read, and whose pixels are not yet.

    Attributes
    ----------
    record : ItemRecord
        Complete; a status other than OK and a reason where the image cannot be read.
    source : SourceItem
    image : OpenedImage or None
        None exactly where the status is not OK.
    roi : (x, y, width, height) or None
        The region of the image that the item is; None where it is all of it.
    """

    record: ItemRecord
    source: SourceItem
    image: OpenedImage | None = None
    roi: tuple[int, int, int, int] | None = None

    def read(self, *, least_side_px: int = 0) -> tuple[ItemRecord, Image.Image | None]:
        """Decode the pixels, once.

        Parameters
        ----------
        least_side_px : int
            See `OpenedImage.decode`; a region of an image is always decoded in full.

        Returns
        -------
        record : ItemRecord
            As before and with notes on the pixels, or with the status and reason why they could not
            be read.
        image : upright RGB image or None
            None exactly where the status is not OK.
        """
        if self.image is None:
            return self.record, None
        try:
            image = self.image.decode(least_side_px=0 if self.roi else least_side_px)
            if self.roi is not None:
                info = self.image.info
                size = info.stored_width, info.stored_height
                x, y, w, h = map(int, orient_xywh(self.roi, size, info.orientation))
                if min(w, h) <= 0 or min(x, y) < 0 or x + w > image.width or y + h > image.height:
                    reason = "the region of interest exceeds the image"
                    raise ImageProblem(Status.UNREADABLE, reason, info=info)
                image = image.crop((x, y, x + w, y + h))
            notes = (*self.record.notes, *self.image.notes)
            return (replace(self.record, notes=notes) if notes else self.record), image
        except ImageProblem as problem:
            return _failed(self.source, problem), None


def open_item(source: SourceItem, depth_range: DepthRange = UNCHOSEN) -> OpenedItem:
    """Read bytes, hash, header and annotations of an item."""
    try:
        if source.unsafe:
            raise ImageProblem(Status.UNSAFE_PATH, source.unsafe)
        medium = encoder_input(source.medium, source.videos)
        image = open_image(medium.source, channel_order="bgr", depth_range=depth_range)
        info, roi = image.info, medium.roi
        # A region of interest is an image of its own size.
        size = roi[2:] if roi else (info.stored_width, info.stored_height)
        record = source.record(size, info.orientation, info.content_sha256)
        return OpenedItem(record, source, image, roi)
    except ImageProblem as problem:
        return OpenedItem(_failed(source, problem), source)


def read_item(source: SourceItem) -> tuple[ItemRecord, Image.Image | None]:
    """Read and decode an item's image; see `OpenedItem.read`."""
    return open_item(source).read()


def read_item_info(source: SourceItem) -> ItemRecord:
    """Read an item as `read_item` does, but only the header and the hash, not the pixels."""
    return open_item(source).record


def _failed(source: SourceItem, problem: ImageProblem) -> ItemRecord:
    info = problem.info
    known = info is not None and info.stored_width > 0
    return source.record(
        (info.stored_width, info.stored_height) if info and known else None,
        info.orientation if info and known else 1,
        info.content_sha256 if info else bytes(32),
        status=problem.status,
        error=one_line(problem.reason),
    )


def one_line(reason: str) -> str:
    """Fit a reason into a row."""
    return " ".join(reason.split())[:500]
