"""Exact nearest rows, pairs and the index: edges, ties, and what must be found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datumaro_embed.errors import StoreIndexError, UsageError
from datumaro_embed.similarity import (
    LEVELS,
    all_cosines,
    build_graph,
    collapse_equal,
    counts_at,
    graph_path,
    likely_pairs,
    nearest_rows,
    open_graph,
    similar_pairs,
    write_graph,
)
from datumaro_embed.similarity import exact as exact_module
from datumaro_embed.similarity.codes import encode_rows
from datumaro_embed.vectors import unit_rows
from search_support import assert_nearest, float64_cosines


def vectors(n_rows: int, dim: int = 24, seed: int = 0, dtype: str = "float16") -> np.ndarray:
    rng = np.random.default_rng(seed)
    return unit_rows(rng.normal(size=(n_rows, dim))).astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("n_rows", [1, 7, 70_000])
def test_nearest_equals_brute_force(n_rows: int, dtype: str) -> None:
    stored = vectors(n_rows, 8, dtype=dtype)
    queries = np.random.default_rng(n_rows).normal(size=(3, 8))

    rows, similarities = nearest_rows(stored, queries, 5)

    for query, found, values in zip(queries, rows, similarities, strict=True):
        assert_nearest(found, values, float64_cosines(stored, query), np.ones(n_rows, bool), 5)


@pytest.mark.parametrize("n_rows", [0, 7, 70_000])
def test_all_cosines_are_those_of_every_row(n_rows: int) -> None:
    stored, query = vectors(n_rows, 8), np.arange(1, 9)
    found = all_cosines(stored, query)
    assert found.shape == (n_rows,)
    np.testing.assert_allclose(found, float64_cosines(stored, query), atol=2e-3)
    with pytest.raises(UsageError, match="do not fit"):
        all_cosines(vectors(3, 8), np.ones(7))


def test_a_batch_is_its_queries() -> None:
    stored, queries = vectors(500), vectors(150, seed=1)
    rows, similarities = nearest_rows(stored, queries, 4)
    for number, query in enumerate(queries):
        alone = nearest_rows(stored, query[None], 4)
        np.testing.assert_array_equal(rows[number], alone[0][0])
        np.testing.assert_array_equal(similarities[number], alone[1][0])


def test_equal_rows_come_in_row_order_and_k_is_capped() -> None:
    stored = np.array([[0, 1], [1, 0], [1, 0]], dtype=np.float16)
    rows, similarities = nearest_rows(stored, [[1.0, 0.0]], 10)
    assert rows.tolist() == [[1, 2, 0]]
    assert similarities.tolist() == [[1, 1, 0]]


@pytest.mark.parametrize("n_equal", [300, 70_000])
def test_more_ties_than_candidates_are_settled_by_row(n_equal: int) -> None:
    stored = np.repeat(vectors(1), n_equal, axis=0)
    stored[5] = vectors(1, seed=3)
    rows, _ = nearest_rows(stored, stored[:1].astype(np.float64), 8)
    assert rows.tolist() == [[0, 1, 2, 3, 4, 6, 7, 8]]


def test_rows_closer_than_float16_can_tell_are_in_float64_order() -> None:
    """2,000 rows within 1e-6 of each other: the stored query alone cannot rank them."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=64)
    stored = unit_rows(base + 1e-5 * rng.normal(size=(2000, 64)))
    query = unit_rows((base + 0.3 * rng.normal(size=64))[None])[0].astype(np.float64)
    rows, similarities = nearest_rows(stored.astype(np.float32), query[None], 20)
    expected = float64_cosines(stored, query)
    assert_nearest(rows[0], similarities[0], expected, np.ones(2000, bool), 20)


@pytest.mark.parametrize("excluded", [1, 255, 400, 9_999, 10_000])
def test_rows_that_are_not_allowed_are_never_found(excluded: int) -> None:
    stored = vectors(10_000)
    query = np.random.default_rng(5).normal(size=24)
    similarities = float64_cosines(stored, query)
    allowed = np.ones(10_000, dtype=bool)
    allowed[np.argsort(-similarities)[:excluded]] = False
    rows, values = nearest_rows(stored, query[None], 7, allowed=allowed)
    assert_nearest(rows[0], values[0], similarities, allowed, 7)


def test_a_scan_that_rounds_worse_than_promised_is_not_believed(monkeypatch) -> None:
    """As on a processor that sums in float16: the result stays right, only slower."""
    real = exact_module._distances

    def coarse(*arguments):
        rows, distances = real(*arguments)
        return rows, np.round(distances * 50) / 50

    stored, query = vectors(5000), np.random.default_rng(6).normal(size=24)
    monkeypatch.setattr(exact_module, "_distances", coarse)
    rows, values = nearest_rows(stored, query[None], 10)
    assert_nearest(rows[0], values[0], float64_cosines(stored, query), np.ones(5000, bool), 10)


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.ones((1, 24)), 0, "k must be at least 1"),
        (np.ones((1, 23)), 1, "do not fit vectors of length 24"),
        (np.ones(24), 1, "do not fit"),
        (np.zeros((1, 24)), 1, "zero or not finite"),
        (np.full((1, 24), np.nan), 1, "zero or not finite"),
        (np.full((1, 24), np.inf), 1, "zero or not finite"),
    ],
)
def test_queries_that_are_refused(queries: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nearest_rows(vectors(4), queries, k)


def test_no_rows_and_no_queries() -> None:
    assert nearest_rows(vectors(0), np.ones((2, 24)), 3)[0].shape == (2, 0)
    assert nearest_rows(vectors(4), np.ones((0, 24)), 3)[0].shape == (0, 3)


def brute_pairs(stored: np.ndarray, rows: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    rows64 = stored.astype(np.float64)
    rows64 /= np.linalg.norm(rows64, axis=1, keepdims=True)
    above = rows64 @ rows64.T >= threshold
    return {(int(i), int(j)) for i in rows for j in rows if i < j and above[i, j]}


@pytest.mark.parametrize("dim", [3, 128, 200])
@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_pairs_equal_brute_force(dim: int, kind: str) -> None:
    rng = np.random.default_rng(dim)
    n_rows = 1300  # more than one tile
    stored = rng.normal(size=(n_rows, dim))
    if kind == "dense":
        stored[:] = stored[0] + 0.25 * stored
    stored[900:1000] = stored[:100] + 0.02 * rng.normal(size=(100, dim))
    stored = unit_rows(stored).astype(np.float16)
    rows = np.sort(rng.choice(n_rows, 1200, replace=False))
    threshold = 0.999 if dim == 3 else 0.945

    blocks = list(similar_pairs(stored, rows, threshold))

    found = [pair for b in blocks for pair in zip(b.first.tolist(), b.second.tolist(), strict=True)]
    assert len(found) == len(set(found))
    expected = brute_pairs(stored, rows, threshold)
    unlisted = sum(block.unlisted for block in blocks)
    n_unlisted = int(unlisted[0])
    listed = np.concatenate([block.similarities for block in blocks])
    for n_more, count, level in zip(unlisted[1:], counts_at(listed)[1:], LEVELS, strict=True):
        if level >= threshold:
            assert n_more + count == len(brute_pairs(stored, rows, level))
    assert set(found) == expected if not n_unlisted else set(found) < expected
    assert len(found) + n_unlisted == len(expected) > 50
    assert (n_unlisted > 0) == (kind == "dense" and dim > 3)
    for block in blocks:
        assert block.similarities.min() >= threshold


@pytest.mark.parametrize("outlier", [1.0, 50.0])
def test_rounded_rows_bound_the_cosine(outlier: float) -> None:
    """A coordinate far above the others, as CLIP has some, costs no precision."""
    rng = np.random.default_rng(1)
    stored = rng.normal(size=(300, 96))
    stored[:, 7] *= outlier
    stored = unit_rows(stored).astype(np.float16)
    codes = encode_rows(stored, np.arange(300))
    everything = slice(0, 300)
    products = codes.products(everything, codes.pack(everything))
    cosines = np.array([float64_cosines(stored, row.astype(np.float64)) for row in stored])
    for threshold in (0.3, 0.9, 0.99):
        least = codes.least_product(everything, everything, threshold)
        assert (products[cosines >= threshold] >= least).all()
        assert cosines[products >= least].min() > threshold - 0.06


@pytest.mark.slow
def test_likely_pairs_are_nearly_all_pairs_with_exact_similarities() -> None:
    rng = np.random.default_rng(3)
    basis = rng.normal(size=(12, 64))  # rows near a plane of 12 dimensions, as embeddings are
    stored = rng.normal(size=(6000, 12)) @ basis + 0.3 * rng.normal(size=(6000, 64))
    stored[3000:] = stored[:3000] + 1.0 * rng.normal(size=(3000, 64))
    stored = unit_rows(stored).astype(np.float16)
    rows = np.flatnonzero(np.arange(6000) % 7)

    found = {}
    for block in likely_pairs(stored, rows, 0.95):
        pairs = zip(block.first.tolist(), block.second.tolist(), strict=True)
        found.update(zip(pairs, block.similarities.tolist(), strict=True))

    expected = brute_pairs(stored, rows, 0.95)
    assert set(found) <= expected
    assert len(found) >= 0.99 * len(expected) > 1000
    for (first, second), similarity in list(found.items())[::50]:
        exact = float64_cosines(stored[[second]], stored[first].astype(np.float64))[0]
        np.testing.assert_allclose(similarity, exact, atol=1e-12)


def test_equal_rows_collapse_to_the_first() -> None:
    stored = vectors(6)[[0, 1, 0, 2, 1, 0]]
    rows = np.array([0, 1, 2, 4, 5])
    assert collapse_equal(stored, rows).tolist() == [0, 1, 0, 1, 0]


@pytest.fixture
def clustered() -> np.ndarray:
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(40, 32))
    return unit_rows(centres[rng.integers(0, 40, 3000)] + 0.5 * rng.normal(size=(3000, 32))).astype(
        np.float16
    )


def test_index_finds_nearly_all_with_exact_similarities(clustered: np.ndarray) -> None:
    graph = build_graph(clustered, np.arange(3000))
    queries = clustered[::60].astype(np.float32)
    exact_rows, _ = nearest_rows(clustered, queries, 10)
    found = graph.nearest_rows(clustered, queries, 10)
    shared = [
        len({*rows.tolist()} & {*exact.tolist()})
        for (rows, _), exact in zip(found, exact_rows, strict=True)
    ]
    assert np.mean(shared) / 10 >= 0.98
    for query, (rows, similarities) in zip(queries, found, strict=True):
        np.testing.assert_allclose(
            similarities, float64_cosines(clustered, query)[rows], atol=1e-12
        )


def test_a_small_index_finds_every_row() -> None:
    """Several threads at once, in a graph that is all but empty, left holes in every second one."""
    rng = np.random.default_rng(3)
    vectors = unit_rows(rng.normal(size=(69, 64)).astype(np.float32)).astype(np.float16)
    for _ in range(20):
        graph = build_graph(vectors, np.arange(69))
        found = graph.nearest_rows(vectors, vectors.astype(np.float32), 1)
        assert [int(rows[0]) for rows, _ in found] == list(range(69))


def test_index_survives_the_disk_and_skips_rows(clustered: np.ndarray, tmp_path: Path) -> None:
    rows = np.flatnonzero(np.arange(3000) % 3)
    path = graph_path(tmp_path / "e.h5")
    write_graph(build_graph(clustered, rows), path, uuid="u", n_rows=3000)
    graph = open_graph(path, uuid="u", n_rows=3000, dim=32)
    assert len(graph) == 2000
    ((found, _),) = graph.nearest_rows(clustered, clustered[[3]].astype(float), 20)
    assert (found % 3 > 0).all()


def test_index_of_another_store_is_refused(clustered: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "e.h5.usearch"
    write_graph(build_graph(clustered, np.arange(10)), path, uuid="u", n_rows=3000)
    for facts in ({"uuid": "v", "n_rows": 3000}, {"uuid": "u", "n_rows": 2999}):
        with pytest.raises(StoreIndexError, match="Build it again with `datumaro-embed index`"):
            open_graph(path, dim=32, **facts)
    with pytest.raises(StoreIndexError, match="disagree"):
        open_graph(path, uuid="u", n_rows=3000, dim=31)


@pytest.mark.parametrize("first", ["usearch.index", "openvino"])
def test_usearch_and_openvino_live_in_one_process(first: str) -> None:
    """USearch 2.26.6 did not: imported first, it left OpenVINO unable to read any model."""
    second = {"usearch.index": "openvino", "openvino": "usearch.index"}[first]
    code = (
        f"import {first}, {second}, openvino, pathlib, datumaro_embed.models as m; "
        "d = pathlib.Path(m.resolve_model('demo')); "
        "openvino.Core().read_model(d / 'image_encoder.xml')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
