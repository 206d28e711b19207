"""How relevant a row is to a text, compared with texts that say nothing about any image.

A cosine alone says little: with one model a text that means nothing has hits at 0.3, as many a true
one has with another model. The same rows' cosines to texts such as "a photo", "thing" and "123"
tell what nothing looks like.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

BACKGROUND = (
    *("a photo", "an image", "a picture of something", "a drawing", "an illustration"),
    *("a screenshot", "a close-up", "a detail", "a scene", "a pattern", "a shape", "a texture"),
    *("background", "object", "thing", "stuff", "part", "something else", "nothing", "unknown"),
    *("color", "noise", "blurry", "art", "abstract", "text", "word", "number", "time", "idea"),
    *("news", "question", "system", "the", "and", "of", "12345", "qwj lkjh", "poiu", "foo bar baz"),
)
_BLOCK_ROWS = 8192
_SAMPLE_ROWS = 4096


class Relevance:
    """The relevance of rows to a query: deviations by which a cosine is above the background's.

    The deviation is that of one row's cosines to all texts of the background, the median of some
    thousand rows. With the demo model, labels that a dataset has reach 3.4 and more in some row;
    texts without meaning, and things it does not show, at most 4.0, most of them below 3.

    Parameters
    ----------
    embed_texts : callable
        Texts to unit vectors.
    vectors : array of shape (n_rows, dim)
        Of norm 1, or zero.
    rows : array of int64
        Those with a vector.
    """

    def __init__(
        self,
        embed_texts: Callable[[list[str]], npt.NDArray[Any]],
        vectors: npt.NDArray[Any],
        rows: npt.NDArray[np.int64],
    ) -> None:
        self._vectors, self._rows = vectors, rows
        texts = np.asarray(embed_texts(list(BACKGROUND)), np.float32)
        self._mean = texts.mean(axis=0)
        step = max(1, -(-len(rows) // _SAMPLE_ROWS))
        some = np.asarray(vectors[rows[::step]], np.float32) @ (texts - self._mean).T
        self._deviation = max(float(np.median(some.std(axis=1))) if len(rows) else 1.0, 1e-6)

    def of(self, query: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(n_rows,) float32: the relevance of every row to a unit vector; O(n_rows · dim)."""
        found = np.full(len(self._vectors), -np.inf, np.float32)
        found[self._rows] = self.at(query, self._rows)
        return found

    def at(self, query: npt.ArrayLike, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(n,) float32: the relevance of some rows to a unit vector; O(n · dim)."""
        text = np.asarray(query, np.float32) - self._mean
        found = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            vectors = np.asarray(self._vectors[rows[block]], np.float32)
            found[block] = vectors @ text / self._deviation
        return found
