"""Search and duplicates of objects and captions: the tables of a store beside its items."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datumaro.components.dataset import Dataset
from PIL import Image, ImageOps

from datumaro_embed import ItemKey, ObjectKey, find_duplicates, search, search_vectors
from datumaro_embed.duplicates import find as duplicates_module
from datumaro_embed.errors import (
    ItemFailedError,
    ItemNotFoundError,
    StaleStoreError,
    UsageError,
)
from datumaro_embed.findings import fresh_items
from datumaro_embed.listing import (
    duplicates_json,
    duplicates_lines,
    hits_json,
    hits_lines,
    write_pairs_csv,
)
from datumaro_embed.objects import ObjectOptions, cut, objects_of
from datumaro_embed.records import (
    AnnotationRecord,
    CaptionRecord,
    CropShape,
    ItemRecord,
    ObjectStatus,
    Status,
)
from datumaro_embed.retrieval import (
    Filters,
    SearchOptions,
    run_search,
    save_hits,
    search_files,
    search_request,
)
from datumaro_embed.store import EmbeddingStore
from search_support import item, memory_store
from support import picture


def boxed(
    record: ItemRecord, *labelled: tuple[int, np.ndarray], captions: dict[str, np.ndarray] | None
) -> ItemRecord:
    """Give an item one object for each label and vector, and captions where there are any."""
    texts = captions or {}
    boxes = [AnnotationRecord("bbox", label=n, coords=(1, 2, 3 + n, 2)) for n, _ in labelled]
    annotations = (*boxes, *(AnnotationRecord("caption", text=text) for text in texts))
    record = replace(record, annotations=annotations)
    objects = objects_of(record, ObjectOptions(margin=0, min_px=1))
    vectors = [vector / np.linalg.norm(vector) for _, vector in labelled]
    said = enumerate(texts.values(), start=len(boxes))
    return replace(
        record,
        objects=tuple(replace(o, vector=v) for o, v in zip(objects, vectors, strict=True)),
        captions=None if captions is None else tuple(CaptionRecord(n, v) for n, v in said),
    )


X, Y, Z = np.eye(3, 4)
_CELLS = ("subset", "id", "number", "label", *"xywh")


@pytest.fixture
def store() -> EmbeddingStore:
    """Items of train and val whose own vectors are along the last axis, their objects' are not."""
    size = {"size": (40, 30)}
    records = [
        boxed(item("train", "a", path="a.png", **size), (0, X), (1, Y), captions={"an x": X}),
        boxed(item("train", "b", **size), captions={}),
        boxed(item("val", "c", **size), (1, Z), (0, Y), captions={"a y": Y, "an x": X}),
    ]
    crowd = replace(records[2].objects[0], status=ObjectStatus.CROWD, vector=None)
    records[2] = replace(records[2], objects=(crowd, records[2].objects[1]))
    return memory_store(np.tile([0.0, 0, 0, 1], (3, 1)), records)


def key(text: str) -> ObjectKey:
    return ObjectKey.parse(text)


def test_hits_are_objects(store: EmbeddingStore) -> None:
    first, second, third = search(store, Y + 0.5 * X, of="objects")  # not the crowd
    assert [first.key, second.key, third.key] == [
        key(f"{t}") for t in ("train/a#1", "val/c#1", "train/a#0")
    ]
    assert (first.label, first.labels, first.box, first.text) == (
        "dog",
        ("dog",),
        (1, 2, 4, 2),
        None,
    )
    assert (first.split.name, first.path, first.row) == ("TRAIN", "a.png", 1)
    assert (first.key.item, first.key.number) == (ItemKey("train", "a"), 1)
    assert search_vectors(store, [Y + 0.5 * X], of="objects") == [[first, second, third]]


def test_hits_are_captions(store: EmbeddingStore) -> None:
    hits = search(store, X, of="captions", k=2)
    assert [(str(hit.key), hit.text, hit.box) for hit in hits] == [
        ("train/a#0", "an x", None),
        ("val/c#1", "an x", None),
    ]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"labels": ["cat"]}, ["train/a#0", "val/c#1"]),
        ({"labels": ["dog"]}, ["train/a#1"]),
        ({"subsets": ["val"]}, ["val/c#1"]),
        ({"splits": ["train"], "labels": ["cat", "dog"]}, ["train/a#0", "train/a#1"]),
        ({"labels": ["car"]}, []),
    ],
)
def test_filters_are_of_the_object_and_of_its_item(
    store: EmbeddingStore, filters: dict, found: list[str]
) -> None:
    hits = search(store, X, of="objects", **filters)
    assert sorted(str(hit.key) for hit in hits) == found


def test_rows_of_every_table_are_queries(store: EmbeddingStore) -> None:
    assert str(search(store, key("val/c#1"), of="objects", k=1)[0].key) == "train/a#1"
    assert search(store, key("val/c#0"), of="captions", k=1)[0].text == "a y"
    assert str(search(store, key("train/a#0"), k=1)[0].key) == "train/a"  # items like an object
    near = search(store, X, of="objects", minus=key("train/a#1"), labels="cat")
    assert [str(hit.key) for hit in near] == ["train/a#0", "val/c#1"]
    with pytest.raises(ItemFailedError, match=r"val/c#0 has no vector \(crowd\)\. .* objects\."):
        search(store, key("val/c#0"), of="objects")
    with pytest.raises(ItemNotFoundError, match="has 2 objects"):
        search(store, key("train/a#2"))


def test_what_is_not_there_is_one_sentence(store: EmbeddingStore) -> None:
    bare = memory_store(np.eye(2), [item("train", "a"), item("train", "b")])
    for call in (search, find_duplicates):
        query = [np.ones(2)] if call is search else []
        for of in ("objects", "captions"):
            with pytest.raises(UsageError, match=f"has no {of}. Embed the dataset with --{of}"):
                call(bare, *query, of=of)
        with pytest.raises(UsageError, match=r"of is 'labels'\. Choose items, obj"):
            call(store, *query, of="labels")


@pytest.mark.parametrize(
    ("flags", "queries"),
    [
        ({"item": ["train/x"], "object": ["3"]}, [key("train/x#3")]),
        ({"object": ["train/x#3"]}, [key("train/x#3")]),
        ({"item": "v/a#0", "object": "t/x#3"}, [ItemKey("v", "a#0"), key("t/x#3")]),
    ],
)
def test_objects_are_named_as_flags(flags: dict, queries: list) -> None:
    unlike = {f"not_{name}": value for name, value in flags.items()}
    plus, options = search_request([], **flags, **unlike, of="objects")
    assert plus == queries == options.minus
    assert options.items(plus) == [query.item for query in queries] * 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"object": ["3"]}, "'3' is not an object key. Write SUBSET/ID#N"),
        ({"item": ["a/b", "a/c"], "object": ["3"]}, "'3' is not an object key"),
        ({"item": ["a"], "object": ["3"]}, "'a#3' is not an object key"),
    ],
)
def test_objects_that_are_not_named(flags: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        search_request([], **flags)


def test_hits_are_told(store: EmbeddingStore) -> None:
    def result(of: str, query=Y, **filters):
        return run_search(store, [query], SearchOptions(k=1, of=of, filters=Filters(**filters)))

    titles, line = hits_lines(result("objects"))
    assert titles.split() == ["rank", "similarity", "object", "label", "box", "file"]
    assert line.split(maxsplit=3) == ["1", "1.0000", "train/a#1", "dog    1, 2, 4, 2  a.png"]
    assert list(hits_lines(result("objects", labels="car"))) == ["no object matches the filters"]
    assert list(hits_lines(result("captions")))[1].split() == [
        "1",
        "1.0000",
        "val/c#0",
        "-",
        "a",
        "y",
        "-",
    ]
    content = json.loads(hits_json(result("objects")))
    assert content["of"] == "objects"
    assert content["hits"] == [
        {
            "rank": 1,
            "similarity": 1.0,
            "subset": "train",
            "id": "a",
            "number": 1,
            "row": 1,
            "split": "train",
            "label": "dog",
            "box": [1, 2, 4, 2],
            "path": "a.png",
        }
    ]
    assert json.loads(hits_json(result("captions")))["hits"][0]["text"] == "a y"


# Duplicates ---------------------------------------------------------------------------------------


def test_objects_of_two_items_are_duplicates(store: EmbeddingStore, tmp_path: Path) -> None:
    report = find_duplicates(store, of="objects")
    (group,), (pair,) = report.groups, report.leaks
    assert (report.n_rows, str(pair.first), str(pair.second)) == (3, "train/a#1", "val/c#1")
    assert (group.keep, group.conflicting_labels) == (key("train/a#1"), True)
    assert group.facts == ({"box": (1, 2, 4, 2)}, {"box": (1, 2, 3, 2)})
    lines = list(duplicates_lines(report))
    assert lines[0].startswith("3 objects, every pair compared")
    assert ["similarity", "object", "other", "object"] in [line.split() for line in lines]
    content = json.loads(duplicates_json(report))
    assert content["groups"][0]["members"][1] == {
        "subset": "val",
        "id": "c",
        "number": 1,
        "split": "val",
        "labels": ["cat"],
        "box": [1, 2, 3, 2],
    }
    assert content["pairs"][0]["first"] == {"subset": "train", "id": "a", "number": 1}
    write_pairs_csv(report, tmp_path / "p.csv")
    (row,) = csv.DictReader((tmp_path / "p.csv").read_text().splitlines())
    cells = [row[f"{side}_{name}"] for side in ("first", "second") for name in _CELLS]
    assert " ".join(cells) == "train a 1 dog 1.0 2.0 4.0 2.0 val c 1 cat 1.0 2.0 3.0 2.0"


def test_equal_captions_are_identical(store: EmbeddingStore, tmp_path: Path) -> None:
    report = find_duplicates(store, of="captions")
    assert [(str(p.first), str(p.second), p.identical) for p in report.pairs] == [
        ("train/a#0", "val/c#1", True)
    ]
    write_pairs_csv(report, tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().endswith("train,a,0,an x,val,c,1,an x\n")


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_groups_are_those_of_brute_force(
    seed: int, big: bool, across: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal and near vectors in any mixture of items: what connects objects of different items."""
    monkeypatch.setattr(duplicates_module, "MAX_EXACT_ROWS", 0 if big else 1000)
    rng = np.random.default_rng(seed)
    bases = np.eye(6)[np.arange(8) // 2] + rng.normal(0, 0.07, (8, 6))  # near in pairs, or not
    records, vectors, owners, splits = [], [], [], []
    for n in range(9):
        subset = ("train", "val", "x")[n // 3]
        drawn = [bases[i] / np.linalg.norm(bases[i]) for i in rng.integers(0, 8, rng.integers(4))]
        shas = hashlib.sha256(bytes([rng.integers(4)])).digest()
        named = item(subset, str(n), sha=shas, size=(40, 30))
        records.append(boxed(named, *((0, v) for v in drawn), captions=None))
        vectors += drawn
        owners += [n] * len(drawn)
        splits += [n // 3] * len(drawn)
    made = memory_store(np.ones((9, 6)), records, "float32")
    report = find_duplicates(made, of="objects", across_splits=across, threshold=0.97)

    rows = made.objects.vectors.astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    linked = unit @ unit.T >= 0.97 - 1e-12
    linked &= np.not_equal.outer(owners, owners)
    if across:
        linked &= np.not_equal.outer(splits, splits) & np.less.outer(splits, [2] * len(splits))
        linked &= linked.T
    reach = linked | np.eye(len(rows), dtype=bool)
    for _ in rows:
        reach = reach @ reach
    expected = {tuple(np.flatnonzero(row)) for row in reach if row.sum() > 1}
    found = {tuple(made.objects.row(k) for k in group.keys) for group in report.groups}
    assert found == expected
    places = [(made.objects.row(p.first), made.objects.row(p.second)) for p in report.pairs]
    assert all(linked[a, b] for a, b in places)
    for group in report.groups:
        inside = [made.objects.row(k) for k in group.keys]
        all_of_it = (unit @ unit.T)[np.ix_(inside, inside)][linked[np.ix_(inside, inside)]]
        seen = group.min_similarity, group.max_similarity
        assert seen == pytest.approx((all_of_it.min(), all_of_it.max()))


def test_what_is_near_a_sibling_is_near_its_copies() -> None:
    size = {"size": (40, 30)}
    one = boxed(item("train", "a", **size), (0, X), (0, X + 0.1 * Y), captions=None)
    two = boxed(item("train", "b", **size), (0, X), captions=None)
    report = find_duplicates(memory_store(np.ones((2, 4)), [one, two]), of="objects")
    (group,) = report.groups
    assert [str(k) for k in group.keys] == ["train/a#0", "train/a#1", "train/b#0"]
    assert group.min_similarity == pytest.approx(1 / np.sqrt(1.01), abs=1e-3)
    pairs = [f"{pair.first} {pair.second}" for pair in report.pairs]
    assert pairs == ["train/a#0 train/b#0", "train/a#1 train/b#0"]


def test_a_scene_of_siblings_is_no_group() -> None:
    """A tile in which nearly every pair is near lists pairs of different items only."""
    rng = np.random.default_rng(0)
    near = np.concatenate([np.ones((600, 1)), rng.normal(0, 0.01, (600, 7))], axis=1)
    one = boxed(item("train", "a", size=(40, 30)), *((0, v) for v in near), captions=None)
    none = boxed(item("train", "b", size=(40, 30)), (0, np.eye(8)[7]), captions=None)
    far = memory_store(np.ones((2, 8)), [one, none])
    report = find_duplicates(far, of="objects")
    assert (report.groups, report.pairs, report.n_pairs) == ((), (), 0)
    other = boxed(item("val", "b", size=(40, 30)), (0, near[0] + 1e-3), captions=None)
    report = find_duplicates(memory_store(np.ones((2, 8)), [one, other]), of="objects")
    assert [len(group.keys) for group in report.groups] == [601]
    assert all(pair.across_splits for pair in report.pairs)
    assert report.n_pairs == 600


def test_only_items_are_changed() -> None:
    dataset = Dataset.from_iterable([])
    with pytest.raises(UsageError, match="changes items, not objects"):
        list(dataset.transform("clip_duplicates", store="no.h5", of="objects"))


# Crops --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", CropShape)
def test_crops_are_those_that_were_embedded(tmp_path: Path, shape: CropShape) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(3, (40, 60)).save(tmp_path / "a.jpg", exif=turned)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))
    sha = hashlib.sha256((tmp_path / "a.jpg").read_bytes()).digest()
    record = item("train", "s/a", path="a.jpg", sha=sha, size=upright.size)
    box = AnnotationRecord("bbox", label=0, coords=(5, 4, 30, 12))
    record = replace(record, annotations=(box,))
    (one,) = objects_of(record, ObjectOptions(shape=shape))
    record = replace(record, objects=(replace(one, vector=np.ones(2) / np.sqrt(2)),))
    saved = memory_store(np.ones((1, 2)), [record])
    hits = search(saved, np.ones(2), of="objects")
    assert save_hits(saved, hits, tmp_path / "out", media_root=tmp_path) == []
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == "001_1.0000_s_a_0.png"
    np.testing.assert_array_equal(Image.open(path), cut(upright, one, max(upright.size)))


def test_a_crop_of_another_image_is_never_saved(tmp_path: Path, store: EmbeddingStore) -> None:
    picture(3).save(tmp_path / "a.png")
    hits = search(store, X, of="objects", k=1)
    with pytest.raises(StaleStoreError, match="train/a#0: the image's bytes have changed"):
        save_hits(store, hits, tmp_path / "out", media_root=tmp_path)
    options = SearchOptions(of="objects", k=1)
    with pytest.raises(StaleStoreError, match="'train/a' cannot be a query"):
        search_files(store, [key("train/a#0")], options, tmp_path, skip_stale=True)
    region = item("train", "a", path="a.png", size=(9, 9))
    region = boxed(
        replace(region, content_sha256=hashlib.sha256((tmp_path / "a.png").read_bytes()).digest()),
        (0, X),
        captions=None,
    )
    part = memory_store(np.ones((1, 4)), [region])
    (problem,) = save_hits(
        part, search(part, X, of="objects"), tmp_path / "o", media_root=tmp_path, skip_stale=True
    )
    assert "is a region of its file" in problem
    assert list((tmp_path / "o").iterdir()) == []


@pytest.mark.parametrize(
    ("status", "is_fresh"), [(Status.UNREADABLE, True), (Status.INFERENCE_FAILED, False)]
)
def test_an_item_without_a_vector_is_stale_where_its_objects_may_have_one(
    tmp_path: Path, status: Status, is_fresh: bool
) -> None:
    for name in "ab":
        picture(ord(name)).save(tmp_path / f"{name}.png")
    sha = hashlib.sha256((tmp_path / "a.png").read_bytes()).digest()
    records = [item("default", "a", sha=sha), item("default", "b", sha=sha, status=status)]
    contents = {ItemKey("default", "a"): sha, ItemKey("default", "b"): bytes(range(32))}
    fresh = fresh_items(memory_store(np.ones((2, 2)), records), contents, skip_stale=True)
    assert (ItemKey("default", "b") in fresh) is is_fresh
