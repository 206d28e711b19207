"""Datasets of datumaro.experimental have the keys and vectors of the legacy ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datumaro.components import annotation as dm
from datumaro.components.dataset import Dataset as LegacyDataset

from datumaro_embed import (
    EmbeddingStore,
    Finding,
    Findings,
    ObjectKey,
    add_embeddings,
    apply_findings,
    embed_dataset,
    find_duplicates,
    search,
)
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.adapter.experimental import ExperimentalItems
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import DatasetReadError, DatasetWriteError, ItemNotFoundError, UsageError
from support import SAMPLE, picture, write_coco

experimental = pytest.importorskip("datumaro.experimental", reason="no extra `experimental`")

FORMATS = ("coco", "yolo")


def stored(dataset: Any, path: Path, **options: Any) -> EmbeddingStore:
    return embed_dataset(
        dataset, path, encoder=FakeEncoder(), objects=True, progress=False, **options
    )


@pytest.fixture(scope="module", params=FORMATS)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, EmbeddingStore, EmbeddingStore]:
    """The experimental dataset, its store, and the store of the legacy dataset."""
    folder, source = tmp_path_factory.mktemp(request.param), SAMPLE / request.param
    dataset = experimental.import_dataset(source)
    legacy = LegacyDataset.import_from(str(source), request.param)
    return dataset, stored(dataset, folder / "new.h5"), stored(legacy, folder / "old.h5")


def test_keys_vectors_and_objects_are_those_of_the_legacy_route(both: Any) -> None:
    _, new, old = both
    assert list(new.keys()) == list(old.keys())
    assert new.categories == old.categories
    assert new.media_root == old.media_root
    assert [new.item(row).path for row in range(69)] == [old.item(row).path for row in range(69)]
    assert np.array_equal(new.embeddings(), old.embeddings())
    for column in ("boxes", "labels", "statuses", "vectors"):
        assert np.array_equal(getattr(new.objects, column), getattr(old.objects, column)), column
    assert np.allclose(new.objects.areas, old.objects.areas, rtol=1e-6)  # Datumaro's are float32
    assert len(new.objects) == 218


@pytest.mark.parametrize("which", [1, 2], ids=["new", "legacy"])
def test_vectors_survive_export_and_import(both: Any, which: int, tmp_path: Path) -> None:
    dataset, store = both[0], both[which]
    experimental.export_dataset(add_embeddings(dataset, store), tmp_path / "out")
    back = experimental.import_dataset(tmp_path / "out")
    rows = store.rows_for(back)  # whose images lie in one folder now
    assert sorted(rows) == list(range(69))
    objects = store.objects
    for sample, row in zip(back, rows, strict=True):
        assert np.array_equal(sample.embedding, store.embeddings([row])[0])
        own = objects.of(row)
        shown = sample.bboxes if sample.bboxes is not None else np.zeros((0, 4))
        assert sample.object_embedding.shape == (len(own), store.dim)
        if sample.subset is experimental.fields.Subset.TRAINING and "xywh" in str(back.schema):
            order = [int(np.abs(objects.boxes[own] - box).sum(1).argmin()) for box in shown]
            vectors = objects.vectors[own.start : own.stop]
            assert np.array_equal(sample.object_embedding, vectors[order].reshape(-1, store.dim))


def test_samples_filtered_and_reordered_find_their_rows(both: Any) -> None:
    dataset, store, _ = both
    part = dataset.filter_by_labels(["dog", "person"])
    assert 0 < len(part) < 69
    for rows, some in ((store.rows_for(part), part), (store.rows_for(dataset), dataset)):
        stems = [Path(store.item(row).path).stem for row in rows]
        assert stems == [Path(sample.image).stem for sample in some]
        assert np.array_equal(store.for_dataset(some), store.embeddings(rows))
        found = [sample.embedding for sample in add_embeddings(some, store)]
        assert np.array_equal(found, store.embeddings(rows))


def test_hits_and_duplicates_join_back_by_key(both: Any) -> None:
    dataset, store, _ = both
    place = {store.key(row): place for place, row in enumerate(store.rows_for(dataset))}
    (hit, *_) = search(store, store.objects.key(3), k=1, of="objects")
    assert Path(dataset[place[hit.key.item]].image).name == Path(hit.path).name
    report = find_duplicates(store, threshold=0.99)
    assert {key for pair in report.pairs for key in (pair.first, pair.second)} <= place.keys()


def test_fields_are_replaced_and_the_dataset_stays(both: Any) -> None:
    dataset, store, _ = both
    before = list(dataset.schema.attributes)
    once = add_embeddings(dataset, store)
    again = add_embeddings(once, store, name="clip")
    assert list(dataset.schema.attributes) == before
    assert list(again.schema.attributes) == [*before, "clip", "object_clip"]
    assert np.array_equal(again[5].clip, once[5].embedding)


def test_samples_and_boxes_that_the_store_lacks(both: Any, tmp_path: Path) -> None:
    import polars as pl

    dataset, store, _ = both
    first = add_embeddings(dataset, store).df["bboxes"].to_list()
    moved = [[[x + 7, y, w, h] for x, y, w, h in boxes] if boxes else boxes for boxes in first[:1]]
    changed = dataset.df.with_columns(
        pl.Series("bboxes", [*moved, *first[1:]], dtype=dataset.df.schema["bboxes"])
    )
    other = experimental.Dataset.from_dataframe(changed, dataset.dtype, schema=dataset.schema)
    with pytest.raises(ItemNotFoundError, match="1 sample of the dataset, or one of"):
        add_embeddings(other, store)
    null = add_embeddings(other, store, missing="null")
    assert null[0].object_embedding is None
    assert null[0].embedding is not None
    part = experimental.Dataset.from_dataframe(dataset.df[:9], dataset.dtype, schema=dataset.schema)
    small = stored(part, tmp_path / "small.h5")
    with pytest.raises(ItemNotFoundError, match="60 samples"):
        add_embeddings(dataset, small)
    assert add_embeddings(dataset, small, missing="null")[60].embedding is None
    with pytest.raises(UsageError, match="choose error or null"):
        add_embeddings(dataset, store, missing="zero")
    with pytest.raises(UsageError, match=r"datumaro\.experimental"):
        add_embeddings([], store)


def save(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(root / name)
    return root


@pytest.mark.parametrize(
    ("kind", "names", "keys"),
    [
        ("yolo", ["images/train/a.jpg", "images/val/b.jpg"], ["train/a", "val/b"]),
        ("yolo", ["train/images/a.jpg", "valid/images/b.jpg"], ["train/a", "valid/b"]),
        ("yolo", ["images/train/a.jpg", "images/train/a.png"], ["train/a", "train/a.png"]),
        ("yolo", ["obj_train_data/a.jpg", "obj_valid_data/a.jpg"], ["train/a", "val/a"]),
        ("coco", ["a.jpg", "images/a.jpg", "test/a.jpg"], ["a", "images/a", "test/a"]),
        ("coco", ["cam/images/a.jpg", "cam/images/b.jpg"], ["cam/images/a", "cam/images/b"]),
    ],
)
def test_layouts(kind: str, names: list[str], keys: list[str], tmp_path: Path) -> None:
    root = tmp_path / "test"
    if kind == "coco":
        write_coco(root, [(name, (48, 40)) for name in names], "train2017")
        names = [f"images/train2017/{name}" for name in names]
        keys = [f"train2017/{key}" for key in keys]
    save(root, *names)
    if kind == "yolo":
        (root / ("obj.names" if names[0][0] == "o" else "data.yaml")).write_text("names: [thing]\n")
    dataset = experimental.import_dataset(root)
    store = stored(dataset, tmp_path / "e.h5", root=root)
    assert list(map(str, store.keys())) == keys
    for place in range(len(dataset)):  # one sample alone has another common folder
        one = experimental.Dataset.from_dataframe(
            dataset.df[place : place + 1], dataset.dtype, schema=dataset.schema
        )
        (row,) = store.rows_for(one)
        assert store.item(row).path == str(Path(one[0].image).relative_to(root))


def test_coco_of_several_files(tmp_path: Path) -> None:
    """Areas, crowds, polygons, captions and keypoints; keypoints are not told whose they are."""
    root = save(tmp_path / "c", "images/train2017/a.jpg")
    images = [{"id": 7, "file_name": "a.jpg", "width": 48, "height": 40}]
    categories = [{"id": 1, "name": "cat"}, {"id": 4, "name": "person", "keypoints": ["l", "r"]}]
    of = {"image_id": 7, "category_id": 4}
    outline = [[1, 1, 20, 1, 20, 30]]
    parts: dict[str, list[dict[str, Any]]] = {
        "instances": [
            {**of, "id": 1, "bbox": [1, 1, 19, 29], "area": 200, "segmentation": outline},
            {**of, "id": 2, "bbox": [2, 2, 30, 30], "category_id": 1, "iscrowd": 1},
        ],
        "person_keypoints": [{**of, "id": 1, "keypoints": [5, 6, 2, 9, 9, 1]}],
        "captions": [{**of, "id": n, "caption": text} for n, text in ((8, "a cat"), (9, "two"))],
    }
    (root / "annotations").mkdir()
    for name, found in parts.items():
        content = {"images": images, "annotations": found, "categories": categories}
        (root / "annotations" / f"{name}_train2017.json").write_text(json.dumps(content))
    (item,) = ExperimentalItems(experimental.import_dataset(root))
    assert (item.subset, item.id, item.attributes) == ("train2017", "a", {"id": 7})
    facts = [
        (type(a).__name__, a.label, a.group, a.attributes.get("area"), a.attributes.get("is_crowd"))
        for a in item.annotations
        if not isinstance(a, dm.Caption)
    ]
    assert facts == [
        ("Bbox", 1, 1, 200, False),
        ("Bbox", 0, 2, 900, True),
        ("Polygon", 1, 1, 200, False),
        ("Points", None, 0, None, None),
    ]
    assert [a.caption for a in item.annotations if isinstance(a, dm.Caption)] == ["a cat", "two"]


def test_fields_without_a_counterpart_are_losses(tmp_path: Path) -> None:
    import polars as pl
    from datumaro.experimental import fields

    class Own(experimental.Sample):  # type: ignore[name-defined, misc]
        image: str = fields.image_path_field()
        boxes: np.ndarray = fields.bbox_field(pl.Float32(), format="xyxy")
        shares: np.ndarray = fields.bbox_field(pl.Float32(), normalize=True, semantic="share")

    root = save(tmp_path, "a.png")
    box = np.array([[1, 2, 31, 32]], np.float32)
    dataset = experimental.Dataset(Own)
    sample = {"boxes": box, "shares": box / 100}
    dataset.append(Own(image=str(root / "a.png"), **sample))
    source = SourceDataset(dataset)
    assert "shares" in "".join(source.losses.lines())
    store = stored(dataset, tmp_path / "e.h5")
    assert store.objects.boxes.tolist() == [[1, 2, 30, 30]]
    assert str(store.key(0)) == "default/a"


def test_samples_without_a_path_are_refused() -> None:
    from datumaro.experimental import fields

    class Bytes(experimental.Sample):  # type: ignore[name-defined, misc]
        image: bytes = fields.image_bytes_field()

    dataset = experimental.Dataset(Bytes)
    dataset.append(Bytes(image=b"none"))
    with pytest.raises(DatasetReadError, match=r"Sample 0 .* has no path to an image"):
        SourceDataset(dataset)


@pytest.mark.slow
def test_nothing_asks_for_polars_unasked(tmp_path: Path) -> None:
    """The base install has none: embedding and reading a legacy dataset do not import it."""
    shutil.copytree(SAMPLE / "yolo", tmp_path / "yolo")
    program = """
import sys
sys.modules["polars"] = None
from datumaro.components.dataset import Dataset
from datumaro_embed import add_embeddings, embed_dataset
from datumaro_embed.encoders import FakeEncoder
dataset = Dataset.import_from("yolo", "yolo")
store = embed_dataset(dataset, "e.h5", encoder=FakeEncoder(), progress=False)
print(len(store.for_dataset(dataset)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "69\n", done.stderr


def objects_of_items(dataset: Any) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    """Label and box of each object, by item."""
    source = SourceDataset(dataset)
    names = source.categories.labels
    return {
        f"{item.key}": [
            (names[one.label], tuple(one.get_bbox()))
            for one in item.item.annotations
            if one.type is dm.AnnotationType.bbox
        ]
        for item in source
    }


def test_findings_change_samples(both: Any, tmp_path: Path) -> None:
    dataset, store, _ = both
    before = objects_of_items(dataset)
    crowded = [row for row in range(len(store)) if len(store.objects.of(row)) >= 3]
    gone, moved, kept, changed = crowded[:4]

    def of(row: int, action: str, number: int | None = None) -> Finding:
        key = store.key(row)
        values: dict[str, Any] = {"content_sha256": store.content_sha256[row].tobytes().hex()}
        if number is not None:
            at = store.objects.of(row)[number]
            (label,) = store.objects.labels_of(at)
            values |= {"label": label, "box": store.objects.record(at).box}
            key = ObjectKey(key, number)
        return Finding.of("x", key, action=action, **values)

    found = Findings([
        of(gone, "drop"), of(moved, "subset val"), of(kept, "keep"),
        of(changed, "label pizza", 0), of(changed, "drop", 1),
    ])  # fmt: skip
    after = apply_findings(dataset, found)
    assert type(after) is type(dataset)
    assert len(after) == len(dataset) - 1
    left = objects_of_items(after)
    names = {row: f"{store.key(row)}" for row in crowded}
    (new,) = left.keys() - before.keys()
    assert new.startswith("val/")
    assert before.keys() - left.keys() == {names[gone], names[moved]}
    assert left[new] == before[names[moved]]
    relabeled, dropped = (
        tuple(store.objects.record(at).box) for at in store.objects.of(changed)[:2]
    )
    assert left[names[changed]] == [
        ("pizza" if box == relabeled else label, box)
        for label, box in before[names[changed]]
        if box != dropped
    ]
    assert len(left[names[changed]]) == len(before[names[changed]]) - 1
    same = left.keys() - {new, names[changed]}
    assert {name: left[name] for name in same} == {name: before[name] for name in same}
    assert objects_of_items(dataset) == before  # which stays as it is

    experimental.export_dataset(after, tmp_path / "out")
    again = objects_of_items(experimental.import_dataset(tmp_path / "out"))
    assert sorted(map(sorted, again.values())) == sorted(map(sorted, left.values()))


@pytest.mark.parametrize(
    ("action", "new_labels", "message"),
    [
        ("subset sample", False, "cannot hold the subset 'sample' of train/"),
        ("attribute a=1", False, "cannot hold the attribute 'a' of train/"),
        ("label pizza", False, "cannot hold a label of the whole image of train/"),
        ("label new", True, "cannot hold a label of the whole image of train/"),
    ],
)
def test_what_a_schema_cannot_hold_is_an_error(
    both: Any, action: str, new_labels: bool, message: str
) -> None:
    dataset, store, _ = both
    sha = store.content_sha256[0].tobytes().hex()
    found = Findings([Finding.of("x", store.key(0), action=action, content_sha256=sha)])
    with pytest.raises(DatasetWriteError, match=message):
        apply_findings(dataset, found, new_labels=new_labels)


def test_a_new_label_of_an_object_and_a_field_beside_the_objects_are_errors(both: Any) -> None:
    dataset, store, _ = both
    row = next(row for row in range(len(store)) if len(store.objects.of(row)))
    at = store.objects.of(row)[0]
    finding = Finding.of(
        "x",
        ObjectKey(store.key(row), 0),
        action="label new",
        label=store.objects.labels_of(at)[0],
        box=store.objects.record(at).box,
        content_sha256=store.content_sha256[row].tobytes().hex(),
    )
    with pytest.raises(
        DatasetWriteError, match="cannot hold the label 'new' in the field 'labels'"
    ):
        apply_findings(dataset, Findings([finding]), new_labels=True)
    with_vectors = add_embeddings(dataset, store)
    dropped = Findings([replace(finding, action="drop")])
    with pytest.raises(DatasetWriteError, match="fewer objects beside its field 'embedding'"):
        apply_findings(with_vectors, dropped)


def test_labels_of_whole_images_are_replaced_and_added(tmp_path: Path) -> None:
    files = [f"{number}.png" for number in range(3)]
    for number, name in enumerate(files):
        picture(number).save(tmp_path / name)

    fields = experimental.fields

    class Labeled(experimental.Sample):  # type: ignore[name-defined, misc]
        image: str = fields.image_path_field()
        label: int | None = fields.label_field()
        subset: experimental.fields.Subset = fields.subset_field()

    names = experimental.categories.LabelCategories(labels=("cat", "dog"))
    dataset = experimental.Dataset(Labeled, categories={"label": names})
    subset = fields.Subset.TRAINING
    for name, label in zip(files, (0, 1, None), strict=True):
        dataset.append(Labeled(image=str(tmp_path / name), label=label, subset=subset))
    shas = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in files]
    found = Findings([
        Finding("x", None, "train", "0", None, "cat", action="label dog", content_sha256=shas[0]),
        Finding("x", None, "train", "2", action="label cat", content_sha256=shas[2]),
    ])  # fmt: skip
    after = apply_findings(dataset, found)
    assert [sample.label for sample in after] == [1, 1, 0]

    dataset.append(Labeled(image=str(tmp_path / "0.png"), label=1, subset=subset))
    with pytest.raises(DatasetWriteError, match="a change of one of 2 samples of train/0"):
        apply_findings(dataset, found)
    gone = Findings(replace(row, action="drop") for row in found.filter(id="0"))
    dropped = apply_findings(dataset, gone)
    assert [Path(sample.image).name for sample in dropped] == ["1.png", "2.png"]
