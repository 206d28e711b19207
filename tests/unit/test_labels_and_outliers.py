"""Wrong labels, outliers and quality: what small arrays and real pictures must give."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from datumaro_embed import ObjectKey, audit, open_store
from datumaro_embed.auditing import label_pairs
from datumaro_embed.auditing.label_pairs import odd_pairs
from datumaro_embed.auditing.mislabels import Conflict, Mislabels, find_conflicts, find_mislabels
from datumaro_embed.auditing.outliers import (
    find_outliers,
    isolation,
    label_distances,
    least_of_items,
    texture,
    texture_distances,
)
from datumaro_embed.auditing.quality import KINDS, measure_quality
from datumaro_embed.auditing.references import SameGroup, greatest, reference_places
from datumaro_embed.records import AnnotationRecord
from datumaro_embed.signatures import STATISTICS, describe
from datumaro_embed.store import EmbeddingStore
from search_support import item, memory_store

PHOTOS = sorted((Path(__file__).parents[2] / "sample_data" / "coco").rglob("*.jpg"))
DIM, N_LABELS = 64, 5
RNG = np.random.default_rng(3)
CENTERS = RNG.standard_normal((N_LABELS, DIM))


def clustered(n_each: int, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Rows around a center for each label, and the right labels."""
    labels = np.repeat(np.arange(N_LABELS), n_each)
    rows = CENTERS[labels] + spread * np.random.default_rng(0).standard_normal((len(labels), DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16), labels


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize("shape", [(3, 5), (4, 900), (6, 2_000), (5, 9_000)])
@pytest.mark.parametrize("n", [1, 7, 50])
def test_the_greatest_of_each_row_are_found(dtype: type, shape: tuple[int, int], n: int) -> None:
    found = np.random.default_rng(n).integers(-40, 40, shape).astype(dtype)  # with many ties
    found[0] = -(2**30)
    places, values = greatest(found, n)
    assert np.array_equal(values, -np.sort(-found, axis=1)[:, : min(n, shape[1])])
    assert np.array_equal(np.take_along_axis(found, places, 1), values)
    assert all(len(set(row)) == len(row) for row in places.tolist())


def test_a_statistic_that_is_no_number_hides_nothing() -> None:
    """A store of another program may have one."""
    rng = np.random.default_rng(0)
    signatures = rng.integers(100, 140, (60, 3072), dtype=np.uint8)
    signatures[7] = rng.integers(0, 256, 3072, dtype=np.uint8)
    statistics = rng.standard_normal((60, len(STATISTICS))).astype(np.float32)
    statistics[3, 2], statistics[4, 5] = np.nan, np.inf
    apart = texture_distances(texture(signatures, statistics), np.arange(60))
    assert np.isfinite(apart).all()
    assert apart.argmax() == 7


def judged(vectors: np.ndarray, labels: np.ndarray, **options: object) -> Mislabels:
    every = np.arange(len(labels))
    options = {"groups": every} | options
    return find_mislabels(vectors, every, labels, **options)  # type: ignore[arg-type]


def test_references_are_even_and_rare_labels_keep_all() -> None:
    labels = np.array([7] * 9 + [2] * 2)
    assert reference_places(labels, 7).tolist() == [9, 10, 0, 2, 4, 6, 8]
    assert reference_places(labels, 11).tolist() == [9, 10, *range(9)]
    assert reference_places(labels[:0]).tolist() == []
    rows, places = SameGroup(np.array([4, 5, 4, 6]), np.array([2, 1, 0])).pairs(slice(0, 3))
    assert sorted(zip(rows.tolist(), places.tolist(), strict=True)) == [
        (0, 0), (0, 2), (1, 1), (2, 0), (2, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("n_references", [10_000, 60])
def test_wrong_labels_come_first_with_the_right_suggestion(named: bool, n_references: int) -> None:
    vectors, right = clustered(40)
    wrong = np.array([3, 50, 90, 130, 170])
    labels = 10 * right  # numbers of labels need not follow each other
    labels[wrong] = 10 * ((right[wrong] + 2) % N_LABELS)
    names = np.zeros((41, DIM), np.float32)
    names[::10] = CENTERS
    options = {"label_vectors": names} if named else {}
    found = judged(vectors, labels, n_references=n_references, **options)
    assert sorted(found.ranked[:5].tolist()) == wrong.tolist()
    assert found.suggestions[wrong].tolist() == (10 * right[wrong]).tolist()
    assert found.n_wrong == 5
    assert found.systematic == []


def test_agreement_is_that_of_brute_force() -> None:
    vectors, labels = clustered(12, spread=2)
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    cosines = exact @ exact.T
    deviation = cosines.std()
    np.fill_diagonal(cosines, -2)
    nearest = np.argsort(-cosines, axis=1)[:, :10]
    weights = np.exp(4 * np.take_along_axis(cosines, nearest, 1) / deviation)
    expected = (weights * (labels[nearest] == labels[:, None])).sum(1) / weights.sum(1)
    difference = np.abs(judged(vectors, labels).agreement - expected)
    assert np.median(difference) < 0.01  # a tenth neighbour may be another
    assert difference.max() < 0.1


def test_copies_do_not_vouch_for_each_other() -> None:
    vectors, labels = clustered(20)
    vectors, labels, groups = np.tile(vectors, (4, 1)), np.tile(labels, 4), np.tile(range(100), 4)
    wrong = np.flatnonzero(groups == 7)  # in all four copies
    labels[wrong] = 3
    found = judged(vectors, labels, groups=groups)
    assert sorted(found.ranked[:4].tolist()) == wrong.tolist()
    assert (
        judged(vectors, labels, groups=np.arange(400)).scores[wrong] < found.scores[wrong]
    ).all()


def test_what_cannot_be_judged_is_not_suspected() -> None:
    vectors, labels = clustered(10)
    labels[0] = 9  # the only one of its label
    found = judged(vectors, labels)
    assert (found.scores[0], found.suggestions[0]) == (-np.inf, -1)
    one_label = judged(vectors, np.zeros_like(labels))
    assert one_label.n_wrong == len(one_label.ranked) == 0
    assert (one_label.suggestions == -1).all()
    assert len(judged(vectors[:0], labels[:0]).ranked) == 0


@pytest.mark.parametrize("named", [True, False])
def test_systematic_mistakes_are_a_list(named: bool) -> None:
    vectors, right = clustered(40)
    labels = right.copy()
    labels[40:60] = 3  # half of label 1
    options = {"label_vectors": CENTERS.astype(np.float32)} if named else {}
    first = judged(vectors, labels, **options).systematic[0]
    # Without names nothing tells which of the two that mix is wrong.
    assert {first.label, first.suggestion} == {1, 3}
    if named:
        assert (first.label, first.suggestion, first.share) == (3, 1, 20 / 60)
        assert first.places.tolist() == list(range(40, 60))


def test_conflicts_are_one_object_with_two_labels() -> None:
    unit = np.eye(4, dtype=np.float32)
    vectors = np.stack([unit[0], unit[1], unit[0], unit[1], unit[0], unit[2], unit[3]])
    items = np.array([0, 0, 1, 1, 2, 3, 4])
    labels = np.array([0, 1, 0, 2, 5, 0, 1])
    groups = np.array([0, 0, 0, 0, 2, 3, 3])  # items 3 and 4: copies with nothing in common
    rows = np.arange(7)
    assert find_conflicts(vectors, rows, labels, items, groups) == [Conflict(1, 3, 1.0)]


def test_a_wrong_label_among_many_copies_is_one_conflict() -> None:
    vectors = np.tile(np.eye(4, dtype=np.float32)[0], (40, 1))
    labels = np.zeros(40, int)
    labels[[7, 30]] = 1, 2
    one_group, every = np.zeros(40, int), np.arange(40)
    found = find_conflicts(vectors, every, labels, every, one_group)
    assert found == [Conflict(0, 7, 1.0), Conflict(0, 30, 1.0), Conflict(7, 30, 1.0)]


def test_outliers_sum_ranks_of_measures() -> None:
    found = find_outliers(
        texture=np.array([1.0, 1.0, 5.0, 2.0]), label=np.array([0.2, np.nan, 0.1, 0.3])
    )
    assert found.ranks["texture"].tolist() == [0, 0, 0.75, 0.5]
    np.testing.assert_allclose(
        found.scores,
        [-np.log(2 / 3), 1, -2 * np.log(0.25), -2 * np.log(0.5) - np.log(1 / 3)],
    )
    assert found.ranked.tolist() == [2, 3, 1, 0]
    assert [found.strangest(place) for place in range(4)] == [
        "label",
        "texture",
        "texture",
        "label",
    ]


def test_distances_are_those_of_brute_force() -> None:
    vectors, _ = clustered(12)
    groups = np.arange(60) // 2
    exact = vectors.astype(np.float64)
    mean = exact.mean(axis=0)
    seen = exact - mean
    lengths = np.linalg.norm(seen, axis=1)
    cosines = (seen / lengths[:, None]) @ (seen / lengths[:, None]).T
    cosines[groups[:, None] == groups] = -9
    apart, bland = isolation(vectors, np.arange(60), groups)
    np.testing.assert_allclose(apart, 1 - np.sort(cosines)[:, -50:].mean(axis=1), atol=0.005)
    np.testing.assert_allclose(bland, -lengths, atol=1e-3)

    numbers = RNG.standard_normal((60, 5)).astype(np.float32)
    distances = np.linalg.norm(numbers[:, None] - numbers, axis=2)
    distances[groups[:, None] == groups] = np.inf
    expected = np.sort(distances)[:, :20].mean(axis=1)
    np.testing.assert_allclose(texture_distances(numbers, groups), expected, rtol=1e-4)

    axes = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    to_label = label_distances(axes, np.arange(4), np.array([5, 5, 5, 8]))
    np.testing.assert_allclose(to_label, [1 / 3, 1 / 3, 2 / 3, 0], atol=1e-6)
    least = least_of_items(to_label, np.array([0, 2, 2, 2]), 4)
    np.testing.assert_allclose(least, [1 / 3, np.nan, 0, np.nan], atol=1e-6)


def described(pictures: list[Image.Image]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = [describe(picture.convert("RGB")) for picture in pictures]
    signatures, statistics = (np.array(part) for part in zip(*found, strict=True))
    return signatures, statistics, np.array([picture.size for picture in pictures])


def test_a_picture_of_noise_is_an_outlier_among_photographs() -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (240, 320, 3), dtype=np.uint8))
    signatures, statistics, _ = described([*(Image.open(file) for file in PHOTOS), noise])
    distances = texture_distances(texture(signatures, statistics), np.arange(len(signatures)))
    assert find_outliers(texture=distances).ranked[0] == len(PHOTOS)


BAD = {
    "dark": lambda picture: picture.point(lambda level: level // 4),
    "bright": lambda picture: picture.point(lambda level: 200 + level // 5),
    "blurry": lambda picture: picture.filter(ImageFilter.GaussianBlur(3)),
    "uninformative": lambda picture: picture.point(lambda level: 100 + level // 25),
    "uniform": lambda picture: Image.new("RGB", picture.size, (90, 120, 30)),
    "noisy": lambda picture: Image.fromarray(
        np.clip(np.asarray(picture) + RNG.normal(0, 30, (*picture.size[::-1], 3)), 0, 255).astype(
            np.uint8
        )
    ),
    "odd_shape": lambda picture: picture.crop((0, 0, picture.width, picture.height // 8)),
    "odd_size": lambda picture: picture.resize((picture.width // 6, picture.height // 6)),
    "gray": lambda picture: picture.convert("L"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_picture_is_named_among_photographs(kind: str) -> None:
    good = [Image.open(file).convert("RGB") for file in PHOTOS]
    bad = BAD[kind](good[0])
    _, statistics, sizes = described([*good, bad])
    found = measure_quality(statistics, sizes)[kind]
    assert found.named[-1]
    assert np.count_nonzero(found.named[:-1]) <= 0.1 * len(good)
    # What most pictures have is how the dataset looks; what is unknown is not named.
    alike = measure_quality(np.tile(statistics[-1:], (9, 1)), np.tile(sizes[-1:], (9, 1)))[kind]
    assert not alike.named.any()
    unknown = np.full((1, len(STATISTICS)), np.nan, np.float32)
    assert not measure_quality(unknown, sizes[:1])[kind].named.any()


def labelled_items(sets: list[tuple[int, ...]]) -> EmbeddingStore:
    """Items with these labels of the whole image."""
    records = [item("train", f"{n:05}", *labels) for n, labels in enumerate(sets)]
    return memory_store(np.ones((len(sets), 2)), records)


def test_labels_that_are_together_once_are_odd_if_both_are_frequent() -> None:
    """Forty are expected together; a copy of the picture counts with it."""
    sets = [(0, 2)] * 40 + [(1, 2)] * 40 + [(0,)] * 40 + [(1,)] * 40 + [(0, 1), (0, 1, 2)]
    store = labelled_items(sets)
    groups = np.arange(len(sets))
    assert [*odd_pairs(store, groups)] == []  # twice, in two pictures
    groups[-1] = groups[-2]
    one, other = odd_pairs(store, groups)
    assert (one.kind, one.group, one.suggestion) == ("odd_pair", 1, "review")
    assert (one.id, one.label, other.id, other.label) == ("00160", "cat", "00160", "dog")
    assert one.value == pytest.approx(81 * 81 / 161, abs=1e-3)
    assert "'cat' and 'dog' are together in no other item; 41 are expected" in one.reason


def test_an_audit_of_boxes_without_objects_says_what_it_needs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    boxes = (AnnotationRecord("bbox", label=0, coords=(0, 0, 2, 2)),)
    with memory_store(np.ones((1, 2)), [replace(item("train", "a"), annotations=boxes)]) as store:
        assert len(audit(store, only="box")) == 0
        assert "made with `embed --objects`" in caplog.text
        caplog.clear()
        audit(store, only="failed")
    with labelled_items([(0,), (1,)]) as store:
        audit(store, only="box")
    assert caplog.text == ""


def test_an_outlier_among_items_of_its_label_is_not_told_of_objects() -> None:
    vectors, labels = clustered(20)
    labels[0] = 1  # among those of label 0
    records = [item("train", f"{n:05}", label) for n, label in enumerate(labels.tolist())]
    with memory_store(vectors, records) as store:
        reasons = {row.reason for row in audit(store, only="outlier")}
    assert "it is unlike others of its label" in reasons
    assert not any("object" in reason for reason in reasons)


def test_pairs_of_independent_or_rare_labels_are_not_odd() -> None:
    random = np.random.default_rng(0)
    chances = np.array([0.4, 0.3, 0.01])
    sets = [tuple(np.flatnonzero(random.random(3) < chances).tolist()) for _ in range(2000)]
    assert [*odd_pairs(labelled_items(sets), np.arange(len(sets)))] == []
    assert [*odd_pairs(labelled_items([()] * 3), np.arange(3))] == []


@pytest.mark.slow
def test_odd_pairs_name_the_objects(objects_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_pairs, "_CHANCE", 1e9)  # every pair that is in one item alone
    with open_store(objects_store) as store:
        found = [*odd_pairs(store, np.arange(len(store)))]
        sets = [{*store.labels_of(row)} for row in range(len(store))]
        for row in found:
            record = store.objects.record(store.objects.row(ObjectKey(row.key, row.object)))
            assert row.label == store.categories.labels[record.label]
            assert row.box == tuple(round(value, 2) for value in record.box)
    named = [{row.label for row in found if row.group == n} for n in {row.group for row in found}]
    once = [
        {a, b}
        for a, b in combinations(sorted(set.union(*sets)), 2)
        if sum({a, b} <= one for one in sets) == 1
    ]
    assert sorted(map(sorted, named)) == sorted(map(sorted, once))
    assert len(once) > 20
