"""Selection of rows: equal to plain NumPy, ties by row number; findings of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from datumaro_embed import EmbeddingStore, ItemKey, Status, select
from datumaro_embed.auditing.select import (
    entropy_bits,
    label_entropy,
    nearest_chosen,
    select_per_label,
    select_rows,
)
from datumaro_embed.errors import UsageError
from search_support import item, memory_store

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


def plain_diverse(
    vectors: Array, k: int, given: list[int], labels: Array | None = None
) -> list[int]:
    """`labels`: of shape (n_rows, n_labels), whether a row has a label."""
    rows = unit(vectors)
    left = np.ones(len(rows), bool)
    left[given] = False
    nearest = (rows @ rows[given].T).max(axis=1) if given else np.full(len(rows), np.nan)
    chosen: list[int] = []
    while len(chosen) < k:
        score = -(rows @ rows.mean(axis=0)) if np.isnan(nearest).all() else nearest
        score = np.where(left, score.round(12), np.inf)
        place = score.argmin()
        if labels is not None:
            places = np.argsort(score, kind="stable")[:64]
            if chosen + given:
                places = places[1 - score[places] >= 0.9 * (1 - score[place])]
            counts = labels[np.array(chosen + given, int)].sum(axis=0) + labels[places]
            place = places[entropy_bits(counts).round(9).argmax()]
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
        place = int(np.flatnonzero(gains >= gains.max() - 1e-6 * (1 + gains.max()))[0])
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


@pytest.mark.parametrize("given", [[], [3, 17, 4999]])
def test_diverse_with_labels_is_plain_greedy(given: list[int]) -> None:
    """A row has up to three labels, and some have none."""
    vectors = some_vectors(5000, repeated=0)
    labels = np.random.default_rng(0).random((5000, 30)) < 0.05
    pool = np.setdiff1d(np.arange(5000), given)
    rows, _ = select_rows(
        vectors, 300, pool=pool, given=np.array(given, np.int64), labels=np.nonzero(labels)
    )
    assert rows.tolist() == plain_diverse(vectors, 300, given, labels)


def test_diverse_of_few_distinct_rows() -> None:
    """Each once, the first of equal ones; then the rest, by row number."""
    vectors = np.repeat(some_vectors(10, repeated=0), 30, axis=0)
    rows, _ = select_rows(vectors, 250)
    assert sorted(rows[:10].tolist()) == list(range(0, 300, 30))
    assert rows[10:].tolist() == np.setdiff1d(np.arange(300), rows[:10])[:240].tolist()
    assert len(select_rows(vectors, None, until=0.999)[0]) == 10


def test_diverse_until_every_row_is_near_a_chosen_one() -> None:
    vectors = some_vectors(2000)
    rows, values = select_rows(vectors, None, until=0.8)
    reached = (unit(vectors) @ unit(vectors)[rows].T).max(axis=1)
    assert reached.min() >= 0.8 > values[1:].max()


def test_diverse_of_a_fixed_camera() -> None:
    """Cosines that float32 cannot tell apart."""
    rng = np.random.default_rng(0)
    vectors = unit(1 + 3e-3 * rng.standard_normal((1500, 64))).astype(np.float32)
    assert select_rows(vectors, 300)[0].tolist() == plain_diverse(vectors, 300, [])


@pytest.mark.parametrize(
    ("n_rows", "k", "given"),
    [
        (1000, 20, []),
        (1200, 200, [3, 17, 1199]),
        pytest.param(5000, 20, [], marks=pytest.mark.slow),
    ],
)
def test_coverage_is_plain_greedy(n_rows: int, k: int, given: list[int]) -> None:
    vectors = some_vectors(n_rows)
    pool = np.setdiff1d(np.arange(n_rows), given)
    rows, gains = select_rows(vectors, k, by="coverage", pool=pool, given=np.array(given, np.int64))
    assert rows.tolist() == plain_coverage(vectors, k, given)
    assert (gains > 0).all()


def test_rows_that_are_copies_are_each_chosen_once() -> None:
    vectors = np.repeat(some_vectors(20), 2, axis=0)
    rows, gains = select_rows(vectors, 30, by="coverage")
    assert len(set(rows.tolist())) == 30
    assert rows.tolist() == plain_coverage(vectors, 30, [])
    assert gains[-1] == 0


@pytest.mark.parametrize("k", [30, 400])
def test_coverage_of_many_rows_loses_little(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a sample where few rows are chosen, within cells where many are."""
    vectors = some_vectors(3000)

    def mean(rows: Array) -> float:
        return float(nearest_chosen(vectors, np.arange(3000), rows).mean())

    exact = mean(select_rows(vectors, k, by="coverage")[0])
    random = mean(np.random.default_rng(0).choice(3000, k, replace=False))
    monkeypatch.setattr("datumaro_embed.auditing.select.MAX_EXACT_ROWS", 1000)
    monkeypatch.setattr("datumaro_embed.auditing.select.CELL_ROWS", 500)
    rows, gains = select_rows(vectors, k, by="coverage")
    assert len(set(rows.tolist())) == k
    assert (np.diff(gains) <= 0).all()
    assert exact - mean(rows) < 0.25 * (exact - random)


def test_typical_is_near_the_mean() -> None:
    vectors = some_vectors(500, repeated=0)
    rows, values = select_rows(vectors, 20, by="typical", pool=np.arange(100, 500))
    mean = unit(vectors)[100:].mean(axis=0)
    cosines = unit(vectors)[100:] @ mean / np.linalg.norm(mean)
    assert rows.tolist() == (100 + np.argsort(-cosines)[:20]).tolist()
    assert np.allclose(values, np.sort(cosines)[::-1][:20], atol=1e-6)


def test_label_entropy_is_that_of_the_nearest_rows() -> None:
    vectors = some_vectors(600, repeated=0)
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(rng.random(600) < 0.8)  # others have no label; some have two
    pairs = sorted({(row, int(label)) for row in rows for label in rng.integers(0, 5, 2)})
    labels = tuple(np.array(pairs).T)
    cosines = unit(vectors) @ unit(vectors)[rows].T
    cosines[rows, np.arange(len(rows))] = -2
    expected = []
    for near in np.argsort(-cosines, axis=1, kind="stable")[:, :16]:
        shares = np.zeros(5)
        for row in rows[near]:
            own = [label for other, label in pairs if other == row]
            shares[own] += 1 / len(own) / 16
        expected.append(-sum(share * np.log2(share) for share in shares if share))
    found = label_entropy(vectors, np.arange(600), labels)
    assert np.allclose(found, expected)
    chosen, _ = select_rows(vectors, 9, by="uncertain-by-label", labels=labels)
    assert chosen.tolist() == np.lexsort((np.arange(600), -np.round(expected, 9)))[:9].tolist()


def test_per_label_shares_evenly() -> None:
    """Rare labels are used up, the rest is shared by the others; what is given counts."""
    vectors = some_vectors(300, repeated=0)
    labels = np.arange(290), np.repeat([0, 1, 2], [250, 35, 5])
    pool, given = np.arange(10, 300), np.arange(10)
    rows, _ = select_per_label(vectors, 45, labels=labels, pool=pool, given=given)
    counts = np.bincount(np.concatenate([labels[1][rows], labels[1][given]]), minlength=3)
    assert counts.tolist() == [25, 25, 5]
    assert len(set(rows.tolist())) == 45


def small_store() -> EmbeddingStore:
    records = [
        item(subset, f"{n:02}", n % 3, sha=bytes([n + 1]) * 32)
        for subset in ("train", "val")
        for n in range(20)
    ]
    records.append(item("val", "99", status=Status.UNREADABLE))
    return memory_store(some_vectors(41, repeated=0), records)


def test_selection_of_a_store() -> None:
    with small_store() as store:
        found = select(store, fraction=0.25, given=["val"])
        assert (found.n_pool, found.n_given, len(found.keys)) == (20, 20, 5)
        assert [row.rank for row in found.findings] == [1, 2, 3, 4, 5]
        assert [row.key for row in found.findings] == [*found.keys]
        first = found.findings[0]
        assert (first.kind, first.measure, first.suggestion) == (
            "selected",
            "cosine",
            "subset sample",
        )
        assert first.content_sha256 == bytes([int(first.id) + 1]).hex() * 32
        assert {key.subset for key in found.keys} == {"train"}
        distances = [values["greatest distance"] for _, values in found.figures]
        assert [name for name, _ in found.figures] == ["given", "chosen", "random"]
        assert distances[1] < distances[0]
        assert "5 of 20 items chosen (20 items given)" in next(found.lines())
        assert ItemKey("val", "99") not in select(store, 40).keys  # it has no vector
        assert len(select(store, 500).keys) == 40
        labels = [store.labels_of(int(row))[0] for row in select(store, 9, per_label=True).rows]
        assert set(Counter(labels).values()) == {3}


def test_without_labels_nothing_is_uncertain_by_them() -> None:
    records = [item("train", f"{n}") for n in range(4)]
    with (
        memory_store(np.eye(4), records) as store,
        pytest.raises(UsageError, match=r"No item of .* has a label. Choose another"),
    ):
        select(store, 2, by="uncertain-by-label")


def test_no_negative_zero_is_printed() -> None:
    records = [item("train", str(n), 0) for n in range(4)]
    with memory_store(np.array([[1, 0], [1, 0], [0, 1], [-1e-9, 1]]), records) as store:
        lines = [*select(store, 3, by="diverse").lines()]
    assert " 0.0000" in "".join(lines)
    assert not [line for line in lines if "-0.0000" in line]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of"),
        ({"k": 1, "fraction": 0.5}, "one of"),
        ({"k": 0}, "at least 1"),
        ({"k": 2.5}, "whole number"),
        ({"fraction": 0.0}, "above 0"),
        ({"until": 1.5}, "at most 1"),
        ({"until": 0.5, "by": "coverage"}, "requires"),
        ({"k": 1, "by": "best"}, "Choose one of diverse"),
        ({"k": 1, "given": ["trian"]}, "Nearest: 'train'"),
        ({"k": 1, "given": ["train", "val"]}, "every item with a vector is outside"),
    ],
)
def test_impossible_selections(options: dict[str, Any], message: str) -> None:
    with small_store() as store, pytest.raises(UsageError, match=message):
        select(store, **options)
