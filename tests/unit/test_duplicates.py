"""Groups, leaks, what stays, and stores big enough for an index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datumaro_embed import ItemKey, find_duplicates
from datumaro_embed.duplicates import find as duplicates_module
from datumaro_embed.duplicates.grouping import Components, PairKeeper
from datumaro_embed.errors import UsageError
from datumaro_embed.records import Split, Status
from datumaro_embed.similarity import PairBlock
from search_support import file_store, item, memory_store


def near(base: int, noise: float, dim: int = 16) -> np.ndarray:
    """Return a vector near axis ``base``."""
    vector = np.zeros(dim)
    vector[base] = 1
    vector[(base + 8) % dim] = noise
    return vector


def key(text: str) -> ItemKey:
    return ItemKey(*text.split("/"))


SHA = bytes([7]) * 32


def test_a_report_from_end_to_end() -> None:
    rows = [
        (item("test", "a", 0), near(0, 0)),
        (item("train", "b", 1), near(0, 0.1)),
        (item("train", "c", 0, sha=SHA), near(1, 0)),
        (item("train", "d", 0, sha=SHA), near(1, 0)),
        (item("train", "e"), near(2, 0)),
        (item("train", "f", status=Status.UNREADABLE, sha=SHA[:1] + bytes(31)), near(3, 0)),
        (item("val", "g", status=Status.UNREADABLE, sha=SHA[:1] + bytes(31)), near(3, 0)),
    ]
    records, vectors = [record for record, _ in rows], np.stack([vector for _, vector in rows])

    report = find_duplicates(memory_store(vectors, records))

    assert (report.n_rows, report.all_pairs, report.n_pairs) == (5, True, 2)
    pairs = [(str(p.first), str(p.second), p.identical, p.across_splits) for p in report.pairs]
    assert pairs == [
        ("test/a", "train/b", False, True),
        ("train/c", "train/d", True, False),
    ]
    assert [p.similarity for p in report.pairs] == pytest.approx([1 / np.sqrt(1.01), 1], abs=1e-3)
    assert report.leaks == report.pairs[:1]
    leak, inside = report.groups  # f and g failed: equal bytes make them no duplicates
    assert (leak.keep, leak.across_splits, leak.conflicting_labels) == (key("train/b"), True, True)
    assert leak.splits == (Split.TEST, Split.TRAIN)
    assert leak.labels == (("cat",), ("dog",))
    assert (inside.identical, inside.conflicting_labels) == (True, False)


def test_components_are_transitive_and_unlabelled_items_do_not_conflict() -> None:
    vectors = np.stack([near(0, 0), near(0, 0.3), near(0, 0.6), near(3, 0)])
    records = [item("train", "a", 0), item("train", "b"), item("train", "c", 0), item("val", "d")]
    (group,) = find_duplicates(memory_store(vectors, records)).groups
    assert [k.id for k in group.keys] == ["a", "b", "c"]
    assert not group.conflicting_labels
    assert group.min_similarity < group.max_similarity


@pytest.mark.parametrize(
    ("records", "kept"),
    [
        ([item("test", "a", 0, 1), item("train", "z"), item("val", "a", 0)], "train/z"),
        ([item("test", "a", 0), item("val", "z"), item("x", "a", 0)], "val/z"),
        ([item("train", "a"), item("train", "b", 0), item("train", "c", 0)], "train/b"),
        ([item("train", "a", size=(4, 4)), item("train", "b", size=(5, 4))], "train/b"),
        ([item("train", "a"), item("train", "b")], "train/a"),
    ],
)
def test_what_stays(records: list, kept: str) -> None:
    store = memory_store(np.ones((len(records), 4)), records)
    (group,) = find_duplicates(store).groups
    assert group.keep == key(kept)


def test_regions_of_one_file_are_no_duplicates() -> None:
    records = [item("train", "a", sha=SHA), item("train", "b", sha=SHA)]
    assert find_duplicates(memory_store(np.eye(2), records)).groups == ()


def test_across_splits_leaves_the_rest_out_but_not_a_copy_that_leaks() -> None:
    vectors = np.stack([near(0, 0), near(0, 0), near(0, 0.1), near(1, 0), near(1, 0), near(2, 0)])
    names = ["train/a", "train/b", "val/a", "val/b", "val/c", "x/a"]
    vectors[5] = near(1, 0)
    records = [item(*name.split("/")) for name in names]
    report = find_duplicates(memory_store(vectors, records), across_splits=True)
    assert {(str(p.first), str(p.second)) for p in report.pairs} == {
        ("train/a", "val/a"),
        ("train/b", "val/a"),
    }
    (group,) = report.groups
    assert [str(k) for k in group.keys] == ["train/a", "train/b", "val/a"]


@pytest.mark.parametrize("threshold", [0, -1, 1.0001, 2, float("nan")])
def test_thresholds_that_mean_nothing(threshold: float) -> None:
    store = memory_store(np.ones((1, 4)), [item("train", "a")])
    with pytest.raises(UsageError, match="threshold must be above 0 and at most 1"):
        find_duplicates(store, threshold=threshold)


def test_threshold_one_finds_equal_vectors_and_no_others() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 33))
    vectors[100:] = vectors[:100]
    vectors[150:] += 1e-2
    records = [item("train", f"{n:03}") for n in range(200)]
    report = find_duplicates(memory_store(vectors, records), threshold=1)
    assert {(int(p.first.id), int(p.second.id)) for p in report.pairs} == {
        (n, n + 100) for n in range(50)
    }


@pytest.mark.parametrize(
    "records", [[], [item("train", "a")], [item("train", "a", status=Status.MISSING)]]
)
def test_too_few_items_for_a_pair(records: list) -> None:
    report = find_duplicates(memory_store(np.ones((len(records), 4)), records))
    assert (report.pairs, report.groups) == ((), ())


def clustered_store(path: Path):
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(3000, 32))
    vectors[2900:] = vectors[:100] + 0.05 * rng.normal(size=(100, 32))
    vectors[50:60] = vectors[40]
    records = [item("train" if n < 2900 else "val", f"{n:04}") for n in range(3000)]
    return file_store(path, vectors, records)


def test_big_stores_are_compared_by_cells(tmp_path: Path, monkeypatch) -> None:
    with clustered_store(tmp_path / "e.h5") as store:
        exact = find_duplicates(store)
        monkeypatch.setattr(duplicates_module, "MAX_EXACT_ROWS", 1000)
        by_cells = find_duplicates(store)
        assert (exact.all_pairs, by_cells.all_pairs) == (True, False)
        expected = {(p.first, p.second): p.similarity for p in exact.pairs}
        found = {(p.first, p.second): p.similarity for p in by_cells.pairs}
        assert set(found) <= set(expected)
        assert len(found) >= 0.99 * len(expected)
        for pair, similarity in found.items():
            assert similarity == pytest.approx(expected[pair], abs=1e-12)
        assert find_duplicates(store, all_pairs=True) == exact


def test_components_of_a_long_chain() -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(5000)
    components = Components(5003)
    for part in np.array_split(rng.permutation(4999), 7):
        a, b = order[part], order[part + 1]
        first, second = np.minimum(a, b), np.maximum(a, b)
        components.join(PairBlock(first, second, np.full(len(a), 0.9)))
    ((rows, least, most),) = components.groups()
    assert rows.tolist() == list(range(5000))
    assert (least, most) == (0.9, 0.9)


def test_a_bounded_number_of_pairs_is_kept_the_worst_leaks_first() -> None:
    keeper = PairKeeper(max_pairs=3)
    rng = np.random.default_rng(0)
    for n in range(10):
        block = PairBlock(np.arange(4) + 10 * n, np.arange(4) + 1000, rng.random(4))
        keeper.add(block, np.arange(4) == n - 3)
        keeper.add(block, np.arange(4) == n - 3)
    pairs, counts = keeper.best()
    assert counts[0] >= 40
    across = [
        (int(a), int(b)) in {(30, 1000), (41, 1001), (52, 1002), (63, 1003)}
        for a, b in zip(pairs.first, pairs.second, strict=True)
    ]
    assert across == [True, True, True]
    assert (np.diff(pairs.similarities) <= 0).all()


def test_pairs_are_counted_at_each_level_even_where_they_are_not_listed(monkeypatch) -> None:
    angles = np.sort(np.random.default_rng(0).uniform(0, 0.4, 600))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    store = memory_store(vectors, [item("train", f"{n:03}") for n in range(600)], "float32")
    unit = store.embeddings().astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(600, 1)]
    for limit in (100_000, 1000):
        monkeypatch.setattr(PairKeeper.__init__, "__defaults__", (limit,))
        for threshold, levels in ((0.96, (0.97, 0.98, 0.99)), (0.99, (0.99,))):
            report = find_duplicates(store, threshold=threshold)
            assert len(report.pairs) < report.n_pairs == (cosines >= threshold).sum()
            assert report.n_pairs_at == {at: (cosines >= at).sum() for at in levels}


@pytest.mark.parametrize(
    ("keep_split", "kept"), [("train", "train/b"), ("val", "val/c"), ("test", "test/a")]
)
def test_the_wanted_split_keeps_its_copy(keep_split: str, kept: str) -> None:
    vectors = np.stack([near(0, 0)] * 3)
    records = [item("test", "a", 0, 1), item("train", "b", 0), item("val", "c")]
    (group,) = find_duplicates(memory_store(vectors, records), keep_split=keep_split).groups
    assert group.keep == key(kept)


def test_a_split_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="Choose train, val or test"):
        find_duplicates(memory_store(np.stack([near(0, 0)]), [item("train", "a")]), keep_split="x")
