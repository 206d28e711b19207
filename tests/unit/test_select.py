"""Selection of rows: equal to plain NumPy, ties by row number; findings of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from datumaro_embed.audit import select as room
from datumaro_embed.audit.select import label_entropy, select_per_label, select_rows

Array = npt.NDArray[Any]


def some_vectors(n: int, dim: int = 64, dtype: str = "float16", repeated: int = 100) -> Array:
    """Clusters; the last rows repeat the first ones."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((40, dim))
    rows = centres[rng.integers(0, 40, n)] + 0.6 * rng.standard_normal((n, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    if repeated:
        rows[-repeated:] = rows[:repeated]
    return rows.astype(dtype)


def unit(vectors: Array) -> Array:
    rows = vectors.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def plain_diverse(vectors: Array, k: int, given: list[int]) -> list[int]:
    rows = unit(vectors)
    left = np.ones(len(rows), bool)
    left[given] = False
    nearest = (rows @ rows[given].T).max(axis=1) if given else np.full(len(rows), np.nan)
    chosen: list[int] = []
    while len(chosen) < k:
        score = -(rows @ rows.mean(axis=0)) if np.isnan(nearest).all() else nearest
        place = np.where(left, score.round(12), np.inf).argmin()
        chosen.append(int(place))
        left[place] = False
        nearest = np.fmax(nearest, rows @ rows[place])
    return chosen


def plain_coverage(vectors: Array, k: int, given: list[int]) -> list[int]:
    rows = unit(vectors)
    clients = np.setdiff1d(np.arange(len(rows)), given)
    every = rows[clients] @ rows[clients].T
    reached = (rows[clients] @ rows[given].T).max(axis=1) if given else np.zeros(len(clients))
    chosen: list[int] = []
    for _ in range(k):
        gains = np.maximum(every - reached[:, None], 0).sum(axis=0)
        gains[chosen] = -1
        place = int(np.flatnonzero(gains >= gains.max() * (1 - 1e-9))[0])
        chosen.append(place)
        reached = np.maximum(reached, every[place])
    return clients[chosen].tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("given", [[], [3, 17, 4999]])
def test_diverse_is_plain_greedy(dtype: str, given: list[int]) -> None:
    vectors = some_vectors(5000, dtype=dtype)
    pool = np.setdiff1d(np.arange(5000), given)
    rows, values = select_rows(vectors, 500, pool=pool, given=np.array(given, np.int64))
    assert rows.tolist() == plain_diverse(vectors, 500, given)
    assert (np.diff(values[1:]) >= 0).all()


def test_diverse_of_few_distinct_rows() -> None:
    vectors = np.repeat(some_vectors(10, repeated=0), 30, axis=0)
    vectors[150:] = vectors[150:] * np.float16(1.0005)
    rows, values = select_rows(vectors, 250)
    assert sorted(rows[:10] // 30) == list(range(10)) and not (rows[:10] % 30).any()
    assert rows[10:].tolist() == np.setdiff1d(np.arange(300), rows[:10])[:240].tolist()
    assert len(select_rows(vectors, None, until=0.99)[0]) == 10


def test_diverse_of_a_fixed_camera() -> None:
    """Cosines that float32 cannot tell apart."""
    rng = np.random.default_rng(0)
    vectors = unit(1 + 3e-3 * rng.standard_normal((1500, 64))).astype(np.float32)
    assert select_rows(vectors, 300)[0].tolist() == plain_diverse(vectors, 300, [])


@pytest.mark.parametrize("given", [[], [3, 17, 1999]])
def test_coverage_is_plain_greedy(given: list[int]) -> None:
    vectors = some_vectors(5000 if not given else 2000)
    pool = np.setdiff1d(np.arange(len(vectors)), given)
    rows, gains = select_rows(
        vectors, 200, by="coverage", pool=pool, given=np.array(given, np.int64)
    )
    assert rows.tolist() == plain_coverage(vectors, 200, given)
    assert (gains > 0).all()
