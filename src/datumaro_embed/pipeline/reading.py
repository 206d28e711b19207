"""One item → its finished record and, where it is readable, its upright image."""

from __future__ import annotations

from PIL import Image

from ..adapter import EncoderInput, SourceItem, encoder_input
from ..adapter.media import UnsupportedMediaError
from ..geometry import orient_xywh
from ..images import ImageInfo, ImageProblem, read_image, read_info
from ..records import ItemRecord, Status

__all__ = ["read_item", "read_item_info"]


def read_item(source: SourceItem) -> tuple[ItemRecord, Image.Image | None]:
    """Read and decode an item's image.

    Returns
    -------
    record : ItemRecord
        Complete; a status other than OK and a reason where the image could not be read.
    image : upright RGB image or None
        None exactly where the status is not OK.
    """
    try:
        medium = _checked_input(source)
        image, info = read_image(medium.source, channel_order="bgr")
        return _finish(source, medium, image, info)
    except ImageProblem as problem:
        return _failed(source, problem), None


def read_item_info(source: SourceItem) -> ItemRecord:
    """Read an item as `read_item` does, but only the header and the hash, not the pixels."""
    try:
        medium = _checked_input(source)
        info = read_info(medium.source)
        return _record(source, medium, info)
    except ImageProblem as problem:
        return _failed(source, problem)


def _checked_input(source: SourceItem) -> EncoderInput:
    """Bridge the medium, with every way that it can fail made an ImageProblem."""
    if source.unsafe:
        raise ImageProblem(Status.UNSAFE_PATH, source.unsafe)
    try:
        return encoder_input(source.medium)
    except UnsupportedMediaError as error:
        raise ImageProblem(Status.UNSUPPORTED, str(error)) from error
    except FileNotFoundError as error:
        raise ImageProblem(Status.MISSING, str(error)) from error
    except Exception as error:  # a medium runs the dataset author's own callable
        raise ImageProblem(Status.UNREADABLE, f"{type(error).__name__}: {error}") from error


def _finish(
    source: SourceItem, medium: EncoderInput, image: Image.Image, info: ImageInfo
) -> tuple[ItemRecord, Image.Image | None]:
    if medium.roi is None:
        return _record(source, medium, info), image
    x, y, w, h = _upright_roi(medium.roi, info)
    if w <= 0 or h <= 0 or x < 0 or y < 0 or x + w > image.width or y + h > image.height:
        raise ImageProblem(Status.UNREADABLE, "the region of interest leaves the image", info=info)
    return _record(source, medium, info), image.crop((x, y, x + w, y + h))


def _upright_roi(roi: tuple[int, int, int, int], info: ImageInfo) -> tuple[int, int, int, int]:
    x, y, w, h = orient_xywh(roi, (info.stored_width, info.stored_height), info.orientation)
    return int(x), int(y), int(w), int(h)


def _record(source: SourceItem, medium: EncoderInput, info: ImageInfo) -> ItemRecord:
    """A record of an image that was read; a region of interest is an image of its own size."""
    stored = medium.roi[2:] if medium.roi else (info.stored_width, info.stored_height)
    return source.record(stored, info.orientation, info.content_sha256)


def _failed(source: SourceItem, problem: ImageProblem) -> ItemRecord:
    info = problem.info
    known = info is not None and info.stored_width > 0
    return source.record(
        (info.stored_width, info.stored_height) if info and known else None,
        info.orientation if info and known else 1,
        info.content_sha256 if info else bytes(32),
        status=problem.status,
        error=_one_line(problem.reason),
    )


def _one_line(reason: str) -> str:
    return " ".join(reason.split())[:500]
