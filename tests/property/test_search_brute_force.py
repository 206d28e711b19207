"""Search and duplicates equal brute force in float64 on any store, filters included."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datumaro_embed import find_duplicates, search, search_vectors
from datumaro_embed.records import Split, Status
from datumaro_embed.retrieval.filters import Filters
from datumaro_embed.store import EmbeddingStore
from search_support import LABELS, SUBSETS, assert_nearest, float64_cosines, item, memory_store


@st.composite
def stores(draw: Any) -> tuple[EmbeddingStore, list[Any], np.ndarray]:
    """A store in which many vectors are equal or nearly so, with its records and stored vectors."""
    n_rows = draw(st.integers(0, 60))
    dim = draw(st.sampled_from([1, 2, 3, 16, 130]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["normal", "coarse", "near"]))
    vectors = rng.normal(size=(n_rows, dim))
    if kind == "coarse":
        vectors = np.sign(vectors)
    if kind == "near" and n_rows:
        vectors = vectors[rng.integers(0, min(3, n_rows), n_rows)]
        vectors = vectors + 1e-3 * rng.normal(size=(n_rows, dim))
    records = [
        item(
            *(SUBSETS[rng.integers(4)][0], f"{number:03}"),
            *rng.integers(0, len(LABELS), rng.integers(0, 3)).tolist(),
            status=Status.UNREADABLE if rng.random() < 0.15 else Status.OK,
            sha=bytes([rng.integers(1, 40)]) * 32 if rng.random() < 0.2 else bytes(32),
        )
        for number in range(n_rows)
    ]
    records.sort(key=lambda record: record.key)
    dtype = draw(st.sampled_from(["float16", "float32"]))
    store = memory_store(vectors, records, dtype)
    return store, records, np.asarray(store.embeddings())


def names(values: Any) -> Any:
    return st.lists(st.sampled_from(sorted(values)), max_size=2, unique=True)


@settings(max_examples=40, deadline=None)
@given(stores(), st.integers(1, 30), st.integers(0, 2**32), st.data())
def test_search_is_brute_force(made: Any, k: int, seed: int, data: Any) -> None:
    store, records, vectors = made
    filters = {
        "subsets": data.draw(names({record.key.subset for record in records})) if records else [],
        "splits": data.draw(names(split.name.lower() for split in Split)),
        "labels": data.draw(names(LABELS)),
    }
    allowed = np.array(
        [
            record.status is Status.OK
            and (not filters["subsets"] or record.key.subset in filters["subsets"])
            and (not filters["splits"] or record.split.name.lower() in filters["splits"])
            and (
                not filters["labels"]
                or any(LABELS[a.label] in filters["labels"] for a in record.annotations)
            )
            for record in records
        ],
        dtype=bool,
    )
    query = np.random.default_rng(seed).normal(size=store.dim)

    hits = search(store, query, k=k, **filters)

    (batch,) = search_vectors(store, query[None], k=k, filters=Filters(**filters))
    for found in (hits, batch):
        rows, similarities = [hit.row for hit in found], [hit.similarity for hit in found]
        assert_nearest(rows, similarities, float64_cosines(vectors, query), allowed, k)
        assert [hit.key for hit in found] == [records[row].key for row in rows]


def brute_duplicates(records: list[Any], vectors: np.ndarray, threshold: float) -> Any:
    """Pairs and connected components, by the definition; items that failed are in none."""
    pairs = {}
    for i, a in enumerate(records):
        for j in range(i + 1, len(records)):
            b = records[j]
            if a.status is not Status.OK or b.status is not Status.OK:
                continue
            cosine = float64_cosines(vectors[[j]], vectors[i].astype(np.float64))[0]
            if cosine >= threshold:
                pairs[a.key, b.key] = cosine
    groups: list[set[Any]] = [{record.key} for record in records]
    for a, b in pairs:
        joined = [group for group in groups if a in group or b in group]
        groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return pairs, {tuple(sorted(group)) for group in groups if len(group) > 1}


def leaking(leaks: Any, splits: Any) -> set[Any]:
    """Which item leaks from or into which split."""
    return {(a, splits[b]) for a, b in leaks} | {(b, splits[a]) for a, b in leaks}


def no_copies(records: list[Any], vectors: np.ndarray) -> bool:
    """Tell whether no two items of one split have equal vectors or files; not all are paired."""
    ok = [
        (r.split, v.tobytes())
        for r, v in zip(records, vectors, strict=True)
        if r.status is Status.OK
    ]
    files = [
        (r.split, r.content_sha256)
        for r in records
        if any(r.content_sha256) and r.status is Status.OK
    ]
    return len({*ok}) == len(ok) and len({*files}) == len(files)


@settings(max_examples=40, deadline=None)
@given(stores(), st.sampled_from([0.3, 0.9, 0.9501, 0.99999]), st.booleans())
def test_duplicates_are_brute_force(made: Any, threshold: float, across: bool) -> None:
    store, records, vectors = made
    pairs, groups = brute_duplicates(records, vectors, threshold)
    splits = {record.key: record.split for record in records}
    leaks = {
        (a, b)
        for a, b in pairs
        if splits[a] != splits[b] and Split.OTHER not in (splits[a], splits[b])
    }

    report = find_duplicates(store, threshold=threshold, across_splits=across)

    found = {(pair.first, pair.second): pair.similarity for pair in report.pairs}
    assert len(found) == len(report.pairs) == report.n_pairs
    found_leaks = {(pair.first, pair.second) for pair in report.leaks}
    assert set(found) <= set(pairs)
    assert found_leaks <= leaks
    assert leaking(found_leaks, splits) == leaking(leaks, splits)
    if no_copies(records, vectors):
        assert set(found) == (leaks if across else set(pairs))
    for pair, similarity in found.items():
        np.testing.assert_allclose(similarity, pairs[pair], atol=1e-9)
    assert [pair.across_splits for pair in report.pairs] == sorted(
        (pair.across_splits for pair in report.pairs), reverse=True
    )
    if across:
        assert set(found) == found_leaks
    else:
        assert {group.keys for group in report.groups} == groups
    for group in report.groups:
        assert group.keep in group.keys
        inside = {splits[key] for key in group.keys} - {Split.OTHER}
        assert group.across_splits == (len(inside) > 1)
