"""The loop of a run: submit what needs a vector, collect what is computed, give rows in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ..encoders import ImageEncoder
from ..records import ItemRecord, ObjectStatus, Status
from .contents import Contents
from .inference import Answers, Inference

__all__ = ["MAX_WAITING_ROWS", "Pixels", "ReadItem", "Row", "rows_in_order"]

Pixels = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float32]

# With few images to embed among many rows that need none, rows do not wait for a full batch.
MAX_WAITING_ROWS = 4096
_NO_PIXELS: Pixels = np.empty(0, np.uint8)  # of crops that are under way


@dataclass(frozen=True, slots=True)
class ReadItem:
    """An item with its vector, or with pixels that need one, or with neither where it failed.

    Attributes
    ----------
    record : ItemRecord
    position : int
        Ascends from item to item.
    pixels : array of shape (side, side, 3), uint8, or None
    vector : array of shape (dim,), float32, or None
        Of an earlier run.
    shares : bool
        Items with the same bytes take its vector.
    is_twin : bool
        It takes that of the first item with the same bytes.
    crops : mapping
        Number of an object → its pixels; the record has the vectors of the others.
    """

    record: ItemRecord
    position: int
    pixels: Pixels | None = None
    vector: Vector | None = None
    shares: bool = False
    is_twin: bool = False
    crops: Mapping[int, Pixels] = field(default_factory=dict)


Row = tuple[ItemRecord, Vector | None, ReadItem]
"""Finished record, its vector (None where the item failed), and what was read of the item."""

# An item, whether the image needs a vector, and the answers: the image's, then those of its crops.
_Waiting = deque[tuple[ReadItem, bool, Answers]]


def rows_in_order(
    items: Iterable[ReadItem], encoder: ImageEncoder, contents: Contents, stop: Callable[[], bool]
) -> Generator[Row, None, None]:
    """Yield a row for each item, in order: one with pixels waits for its vectors.

    Any other row waits only for those before it. Once `stop` says so, no item is taken any more,
    and the rows of those that were taken are yielded.

    Raises
    ------
    InferenceError
        The encoder fails whatever it is given.
    StreamDisagreementError
    """
    waiting: _Waiting = deque()
    with closing(encoder.session()) as session:
        inference = Inference(encoder, session)
        for item in items:
            if item.shares and contents.is_twin(item.record.content_sha256, item.position):
                item = replace(item, shares=False, is_twin=True)
            image = [] if item.pixels is None or item.is_twin else [item.pixels]
            wanted = [*image, *item.crops.values()]
            # An item that waits holds no pixels, only the numbers of its crops.
            item = replace(item, pixels=None, crops=dict.fromkeys(item.crops, _NO_PIXELS))
            answers: Answers = []
            waiting.append((item, bool(image), answers))
            yield from _finished(waiting, contents)

            for pixels in wanted:
                inference.submit(pixels, answers)
                yield from _finished(waiting, contents)
            while len(waiting) >= MAX_WAITING_ROWS:
                inference.collect()
                yield from _finished(waiting, contents)
            if stop():
                break
        inference.finish()
        while waiting:
            inference.collect()
            yield from _finished(waiting, contents)


def _finished(waiting: _Waiting, contents: Contents) -> Iterator[Row]:
    """Take the oldest items away as far as all their answers are there, and yield their rows."""
    while waiting:
        item, wants_image, answers = waiting[0]
        if len(answers) < wants_image + len(item.crops):
            return
        waiting.popleft()
        record, vector = item.record, item.vector
        if wants_image:
            answer = answers[0]
            if isinstance(answer, str):
                record = replace(record, status=Status.INFERENCE_FAILED, error=answer)
            else:
                vector = answer
        if item.crops:
            objects = list(record.objects or ())
            for number, answer in zip(item.crops, answers[wants_image:], strict=True):
                if isinstance(answer, str):
                    failed = ObjectStatus.INFERENCE_FAILED
                    objects[number] = replace(objects[number], status=failed, crop=(0, 0, 0, 0))
                else:
                    objects[number] = replace(objects[number], vector=answer)
            record = replace(record, objects=tuple(objects))
        if item.is_twin:
            record, vector = contents.of_twin(record)
        elif item.shares:
            contents.keep(record, vector)
        yield record, vector, item
