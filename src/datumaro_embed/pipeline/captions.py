"""Captions get their vectors a block of rows at a time, on the way to the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..encoders import Encoder
from .ordering import Row

__all__ = ["with_captions"]

_TEXTS_AT_ONCE = 512
_MAX_ROWS = 1024


def with_captions(rows: Iterable[Row], encoder: Encoder) -> Iterator[Row]:
    """Pass rows on in order, with the vectors of their captions.

    Notes
    -----
    Equal texts of a block are embedded once. Holds at most 1,024 rows.
    """
    block: list[Row] = []
    texts: dict[str, None] = {}
    for row in rows:
        record = row[0]
        block.append(row)
        for caption in record.captions or ():
            if caption.vector is None:
                texts[record.annotations[caption.annotation].text] = None
        if len(texts) >= _TEXTS_AT_ONCE or len(block) >= _MAX_ROWS:
            yield from _captioned(block, list(texts), encoder)
            block, texts = [], {}
    if block:
        yield from _captioned(block, list(texts), encoder)


def _captioned(block: Sequence[Row], texts: Sequence[str], encoder: Encoder) -> Iterator[Row]:
    vectors = dict(zip(texts, encoder.embed_texts(texts), strict=True))
    for record, vector, item in block:
        captions = tuple(
            caption
            if caption.vector is not None
            else replace(caption, vector=vectors[record.annotations[caption.annotation].text])
            for caption in record.captions or ()
        )
        yield replace(record, captions=captions), vector, item
