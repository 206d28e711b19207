"""The most isolated and the most typical items, by cosine similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..vectors import unit_rows

__all__ = ["Ranked", "isolated", "typical"]

Vectors = npt.NDArray[np.floating[Any]]
_BLOCK_ROWS = 2_048
_MAX_REFERENCES = 10_000
_NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rows in order, and the similarity that put them there; `note` says of what to what."""

    rows: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32]
    note: str


def isolated(vectors: Vectors, k: int, *, seed: int = 0) -> Ranked:
    """Rank rows by mean similarity to their five nearest others, lowest first.

    Parameters
    ----------
    vectors : array of shape (n, dim)
        Unit rows.
    k : int
        At most this many rows.
    seed : int
        Of the sample.

    Notes
    -----
    Exact up to 10,000 rows; above, the others are a random 10,000 of all. O(n · 10,000 · dim) time:
    about 20 s for 100,000 × 512 on two cores; 80 MB.
    """
    n_rows = len(vectors)
    references = np.arange(n_rows)
    if n_rows > _MAX_REFERENCES:
        chosen = np.random.default_rng(seed).choice(n_rows, _MAX_REFERENCES, replace=False)
        references = np.sort(chosen)
    others = np.asarray(vectors[references], dtype=np.float32)
    nearest = min(_NEIGHBOURS, len(references) - 1)
    if nearest < 1:
        return Ranked(np.arange(0), np.zeros(0, np.float32), "Too few items.")
    means = np.empty(n_rows, dtype=np.float32)
    for start in range(0, n_rows, _BLOCK_ROWS):
        rows = np.arange(start, min(start + _BLOCK_ROWS, n_rows))
        block = np.asarray(vectors[start : rows[-1] + 1], dtype=np.float32) @ others.T
        position = np.searchsorted(references, rows).clip(max=len(references) - 1)
        itself = references[position] == rows
        block[np.flatnonzero(itself), position[itself]] = -2.0
        means[rows] = np.partition(block, -nearest, axis=1)[:, -nearest:].mean(axis=1)
    order = np.argsort(means, kind="stable")[:k]
    sampled = f"{_MAX_REFERENCES:,} random items" if n_rows > _MAX_REFERENCES else "all items"
    note = f"Lowest mean similarity to the {nearest} nearest of {sampled}."
    return Ranked(order, means[order], note)


def typical(vectors: Vectors, k: int) -> Ranked:
    """Rank rows by similarity to the mean of all rows, highest first.

    Parameters
    ----------
    vectors : array of shape (n, dim)
        Unit rows.
    k : int
        At most this many rows.
    """
    if not len(vectors):
        return Ranked(np.arange(0), np.zeros(0, np.float32), "No item has a vector.")
    centre = unit_rows(vectors.mean(axis=0, dtype=np.float32)[None])[0]
    similarities = vectors.astype(np.float32) @ centre
    order = np.argsort(-similarities, kind="stable")[:k]
    return Ranked(order, similarities[order], "Highest similarity to the mean of all items.")
