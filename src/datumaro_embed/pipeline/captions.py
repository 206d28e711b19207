"""Captions get their vectors a block of rows at a time, on the way to the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..encoders import Encoder
from ..records import ItemRecord
from .ordering import ReadItem

__all__ = ["CaptionedRows"]

Vector = npt.NDArray[np.float32]
Write = Callable[[ItemRecord, Vector | None, ReadItem], None]

_TEXTS_AT_ONCE = 512
_MAX_ROWS = 1024


class CaptionedRows:
    """Passes rows on in order, with the vectors of their captions.

    Parameters
    ----------
    write : callable
        As for `OrderedRows`.
    encoder : Encoder

    Notes
    -----
    Equal texts of a block are embedded once. Holds at most 1,024 rows.
    """

    def __init__(self, write: Write, encoder: Encoder) -> None:
        self._write, self._encoder = write, encoder
        self._rows: list[tuple[ItemRecord, Vector | None, ReadItem]] = []
        self._texts: dict[str, None] = {}

    def append(self, record: ItemRecord, vector: Vector | None, item: ReadItem) -> None:
        """Take the next row."""
        self._rows.append((record, vector, item))
        for caption in record.captions or ():
            if caption.vector is None:
                self._texts[record.annotations[caption.annotation].text] = None
        if len(self._texts) >= _TEXTS_AT_ONCE or len(self._rows) >= _MAX_ROWS:
            self.flush()

    def flush(self) -> None:
        """Embed the texts that wait, and pass their rows on."""
        if not self._rows:
            return
        vectors = dict(zip(self._texts, self._encoder.embed_texts(list(self._texts)), strict=True))
        rows, self._rows, self._texts = self._rows, [], {}
        for record, vector, item in rows:
            captions = tuple(
                caption
                if caption.vector is not None
                else replace(caption, vector=vectors[record.annotations[caption.annotation].text])
                for caption in record.captions or ()
            )
            self._write(replace(record, captions=captions), vector, item)
