"""Rows leave in the order in which their items came, whenever their vectors are ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ..records import ItemRecord, ObjectStatus, Status
from .contents import Contents

__all__ = ["OrderedRows", "Pixels", "ReadItem"]

Pixels = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float32]


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

    @property
    def is_reused(self) -> bool:
        """Whether its vector is one of an earlier run."""
        return self.vector is not None

    @property
    def n_new(self) -> int:
        """Objects and captions whose vectors this run computes."""
        captions = self.record.captions or ()
        return len(self.crops) + sum(caption.vector is None for caption in captions)


@dataclass(slots=True)
class _Waiting:
    """An item whose vectors are not all there: the image's first, then those of its objects."""

    item: ReadItem
    wants_image: bool
    answers: list[Vector | str] = field(default_factory=list)


class OrderedRows:
    """A queue: an item with pixels waits for its vectors, any other only for those before it.

    Parameters
    ----------
    write : callable
        Takes record, vector (None where the item failed) and the item.
    contents : Contents
    """

    def __init__(
        self, write: Callable[[ItemRecord, Vector | None, ReadItem], None], contents: Contents
    ) -> None:
        self._write = write
        self._contents = contents
        self._waiting: deque[_Waiting] = deque()
        self._unanswered: deque[_Waiting] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, item: ReadItem) -> list[Pixels]:
        """Take the next item; return the pixels that are to be embedded, in the answers' order."""
        if item.shares and self._contents.is_twin(item.record.content_sha256, item.position):
            item = replace(item, shares=False, is_twin=True)
        image = [] if item.pixels is None or item.is_twin else [item.pixels]
        wanted = [*image, *item.crops.values()]
        crops = dict.fromkeys(item.crops, _NO_PIXELS)
        waiting = _Waiting(replace(item, pixels=None, crops=crops), bool(image))
        self._waiting.append(waiting)
        self._unanswered.extend([waiting] * len(wanted))
        self._write_ready()
        return wanted

    def fill(self, answers: Iterable[Vector | str]) -> None:
        """Take vectors, or the reasons why there is none, in the order of the pixels."""
        for answer in answers:
            self._unanswered.popleft().answers.append(answer)
            self._write_ready()

    def _write_ready(self) -> None:
        while self._waiting:
            item, answers = self._waiting[0].item, self._waiting[0].answers
            n_images = int(self._waiting[0].wants_image)
            if len(answers) < n_images + len(item.crops):
                return
            self._waiting.popleft()
            record, vector = item.record, item.vector
            if n_images:
                vector, record = _answered(record, answers[0])
            record = _with_vectors(record, dict(zip(item.crops, answers[n_images:], strict=True)))
            if item.is_twin:
                record, vector = self._contents.of_twin(record)
            elif item.shares:
                self._contents.keep(record, vector)
            self._write(record, vector, item)


def _answered(record: ItemRecord, answer: Vector | str) -> tuple[Vector | None, ItemRecord]:
    if isinstance(answer, str):
        return None, replace(record, status=Status.INFERENCE_FAILED, error=answer)
    return answer, record


def _with_vectors(record: ItemRecord, answers: Mapping[int, Vector | str]) -> ItemRecord:
    """Return a record whose objects have the vectors, or failed."""
    if not answers:
        return record
    objects = list(record.objects or ())
    for number, answer in answers.items():
        if isinstance(answer, str):
            failed = ObjectStatus.INFERENCE_FAILED
            objects[number] = replace(objects[number], status=failed, crop=(0, 0, 0, 0))
        else:
            objects[number] = replace(objects[number], vector=answer)
    return replace(record, objects=tuple(objects))
