"""A fixed camera: nearly every pair is near. Few pairs are listed, all are counted, groups hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from datumaro_embed import find_duplicates
from datumaro_embed.similarity.pairs import chosen_pairs
from datumaro_embed.vectors import unit_rows
from search_support import item, memory_store


def components(n: int, one: np.ndarray, other: np.ndarray) -> list[set[int]]:
    """Connected components of two and more, the slow way."""
    found: list[set[int]] = []
    for pair in zip(one.tolist(), other.tolist(), strict=True):
        touched = [group for group in found if group & set(pair)]
        found = [group for group in found if not group & set(pair)]
        found.append(set(pair).union(*touched))
    return sorted(found, key=min)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("is_square", [True, False])
def test_chosen_pairs_connect_what_all_pairs_connect(seed: int, is_square: bool) -> None:
    rng = np.random.default_rng(seed)
    m, n = (40, 40) if is_square else (30, 50)
    cosines = rng.random((m, n)).astype(np.float32)
    blocks = rng.integers(0, 3, m), rng.integers(0, 3, n)
    passing = (blocks[0][:, None] == blocks[1][None, :]) & (rng.random((m, n)) < rng.random())
    if is_square:
        passing = np.triu(passing, 1)
        passing |= passing.T
        cosines = np.triu(cosines) + np.triu(cosines, 1).T
    classes = rng.integers(0, 3, n)
    i, j = chosen_pairs(cosines, passing, classes, is_square=is_square)
    offset = 0 if is_square else m
    every = np.nonzero(passing)
    assert passing[i, j].all()
    assert components(m + n, i, j + offset) == components(m + n, every[0], every[1] + offset)
    for row in range(m):
        for c in range(3):
            near = np.flatnonzero(passing[row] & (classes == c))
            best = near[np.argsort(-cosines[row, near])][:4]
            assert set(best) <= set(j[i == row])


def frames(n_rows: int, spread: float, rng: np.random.Generator) -> np.ndarray:
    return unit_rows(rng.normal(size=32) + spread * rng.normal(size=(n_rows, 32)))


def test_frames_of_two_cameras_are_two_groups_and_few_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([frames(900, 0.1, rng), frames(300, 0.1, rng), frames(20, 9, rng)])
    vectors = vectors.astype(np.float16)
    names = ["train" if n % 10 else "val" for n in range(len(vectors))]
    records = [item(name, f"{n:04}") for n, name in enumerate(names)]
    order = sorted(range(len(records)), key=lambda n: records[n].key)
    report = find_duplicates(
        memory_store(vectors[order].astype(np.float32), [records[n] for n in order])
    )
    exact = unit_rows(vectors[order].astype(np.float64))
    near = np.triu(exact @ exact.T >= report.threshold, 1)
    assert report.n_pairs == np.count_nonzero(near) > 400_000
    assert len(report.pairs) < 40 * len(vectors)
    assert [len(group.keys) for group in report.groups] == [900, 300]
    assert all(group.across_splits for group in report.groups)
    leaking = {key for pair in report.leaks for key in (pair.first, pair.second)}
    assert len(leaking) == 1200
    assert all(
        (not one.across_splits, -one.similarity) <= (not other.across_splits, -other.similarity)
        for one, other in pairwise(report.pairs)
    )
