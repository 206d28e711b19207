"""What every store must do: subclass `StoreContract` and let pytest collect it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ..errors import (
    ItemNotFoundError,
    ModelMismatchError,
    StoreNotFoundError,
    UsageError,
)
from ..records import (
    AnnotationRecord,
    CaptionRecord,
    Categories,
    CropShape,
    ItemKey,
    ItemRecord,
    ObjectKey,
    ObjectRecord,
    ObjectStatus,
    Split,
    Status,
)
from ..signatures import STATISTICS
from ..store import EmbeddingStore, StoreBackend, StoreWriter
from ..store.schema import SCHEMA, array_specs
from ..vectors import VectorKind, unit_rows


class StoreContract(ABC):
    """What every backend must do: subclass it, give `backend`, and pytest runs the rest.

    Examples
    --------
    >>> class TestMyStores(StoreContract):
    ...     @pytest.fixture
    ...     def backend(self):
    ...         return my_package.MyStores()
    """

    DIM = 8

    @pytest.fixture
    @abstractmethod
    def backend(self) -> StoreBackend:
        """Give the backend; the same for all calls of one test."""

    @pytest.fixture(autouse=True)
    def _take_backend(self, backend: StoreBackend) -> None:
        self._backend = backend

    def create(self, path: Path, *, restart: bool = False, **kind: Any) -> StoreWriter:
        """Begin a run; options are those of `VectorKind`."""
        return self._backend.begin(path, VectorKind(**kind), restart=restart)

    def open(self, path: Path) -> EmbeddingStore:
        """Open what such a run sealed."""
        return self._backend.open(path)

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Give a place where nothing is yet."""
        return tmp_path / "made" / "store.h5"

    # Helpers ---------------------------------------------------------------------------------

    def vectors(self, n_rows: int, seed: int = 0) -> npt.NDArray[np.float32]:
        """Draw unit rows."""
        return unit_rows(np.random.default_rng(seed).normal(size=(n_rows, self.DIM)))

    def sealed(
        self, path: Path, records: Sequence[ItemRecord], *, seed: int = 0, **options: Any
    ) -> EmbeddingStore:
        """Write the records with drawn vectors, and open the store."""
        with self.create(path, dim=self.DIM, **options) as writer:
            for record, vector in zip(records, self.vectors(len(records), seed), strict=True):
                writer.append(record, vector if record.status == Status.OK else None)
            writer.seal({})
        return self.open(path)

    @staticmethod
    def plain(*ids: str, subset: str = "train") -> list[ItemRecord]:
        """Make records that have a key and nothing else."""
        return [ItemRecord(ItemKey(subset, item_id)) for item_id in ids]

    def full(self) -> ItemRecord:
        """Make a record that has a value in every field, as its annotations and objects have."""
        one, two = self.vectors(2, seed=9)
        return ItemRecord(
            key=ItemKey("train", "scene/7"),
            split=Split.TRAIN,
            path="train/scene 7.jpg",
            width=640,
            height=2**32 - 1,
            content_sha256=bytes(range(32)),
            signature=bytes(range(256)) * 12,
            statistics=tuple(number / 4 for number in range(len(STATISTICS))),
            attributes={"b": [1, None, {"c": 2.5}], "a": "ü"},
            annotations=(
                AnnotationRecord(
                    "bbox",
                    label=2,
                    ann_id=2**63 - 1,
                    group=-(2**63),
                    object_id=5,
                    z_order=-1,
                    coords=(0.1, -2.0, 1e300, math.inf),
                    attributes={"occluded": True},
                ),
                AnnotationRecord("mask", label=-1, rle='{"counts":"0","size":[1,1]}'),
                AnnotationRecord("caption", text="a “cat”\n\0on a mat"),
                AnnotationRecord("points", coords=(1.0, 2.0, 3.0, 4.0), visibility=(0, 2)),
                AnnotationRecord("cuboid_3d", extra='{"position":[1,2,3]}'),
            ),
            objects=(
                ObjectRecord(
                    label=2,
                    box=(0.1, -2.0, 1e300, 4.0),
                    area=0.25,
                    status=ObjectStatus.WHOLE_IMAGE,
                    crop=(-1, 0, 2**31 - 1, 4),
                    shape=CropShape.STRETCH,
                    annotations=(0, 3),
                    vector=one,
                ),
                ObjectRecord(status=ObjectStatus.CROWD, annotations=(1,)),
            ),
            captions=(CaptionRecord(2, two),),
        )

    # What is read is what was written -----------------------------------------------------------

    def test_every_field_comes_back(self, path: Path) -> None:
        with self.sealed(path, [self.full()]) as store:
            assert store.item(0) == self.full()
            assert (store.n_rows, len(store), store.count("annotations")) == (1, 1, 5)
            assert store.verify() == []
            for child in ("objects", "captions"):
                stored, given = getattr(store.item(0), child), getattr(self.full(), child)
                for found, expected in zip(stored, given, strict=True):
                    assert (found.vector is None) == (expected.vector is None)
                    if expected.vector is not None:
                        np.testing.assert_array_equal(
                            found.vector, expected.vector.astype(np.float16)
                        )

    @pytest.mark.parametrize(
        "text",
        ["", " ", "\0", "a\nb", "\"'\\", "é", "e\u0301", "🐱", "\udc80", "../../x", "x" * 70_000],
    )
    def test_strings_come_back_as_they_are(self, path: Path, text: str) -> None:
        annotation = AnnotationRecord(
            f"t{text}", rle=text, text=text, extra=text, attributes={text: text}
        )
        record = ItemRecord(
            ItemKey(text, text),
            path=text,
            error=text,
            attributes={text: [text]},
            annotations=(annotation,),
        )
        with self.sealed(path, [record]) as store:
            assert store.item(0) == record
            assert store.row(ItemKey(text, text)) == 0
            assert store.verify() == []

    @pytest.mark.parametrize(
        "value",
        [math.inf, -math.inf, 0.1, -0.0, 10**30, {"$float": "nan"}, {"$": {"$$x": 1}}, [[]], {}],
        ids=repr,
    )
    def test_attribute_values_come_back(self, path: Path, value: object) -> None:
        record = ItemRecord(ItemKey("", "x"), attributes={"value": value})
        with self.sealed(path, [record]) as store:
            assert store.item(0).attributes == {"value": value}

    def test_nan_comes_back(self, path: Path) -> None:
        box = AnnotationRecord("bbox", coords=(math.nan, 1.0), attributes={"score": math.nan})
        with self.sealed(path, [ItemRecord(ItemKey("", "x"), annotations=(box,))]) as store:
            (found,) = store.item(0).annotations
        assert math.isnan(found.coords[0])
        assert math.isnan(found.attributes["score"])

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_vectors_are_rounded_to_the_stored_type(self, path: Path, dtype: str) -> None:
        with self.sealed(path, self.plain("a", "b", "c"), dtype=dtype) as store:
            assert store.dtype == np.dtype(dtype)
            assert store.dim == self.DIM
            np.testing.assert_array_equal(store.embeddings(), self.vectors(3).astype(dtype))
            assert store.verify() == []

    def test_a_failed_row_keeps_its_place(self, path: Path) -> None:
        failed = ItemRecord(ItemKey("train", "b"), status=Status.MISSING, error="no such file")
        records = [*self.plain("a"), failed, *self.plain("c")]
        with self.sealed(path, records) as store:
            assert store.statuses.tolist() == [0, 1, 0]
            assert not store.embeddings([1]).any()
            assert store.item(store.row(failed.key)) == failed
            np.testing.assert_array_equal(
                store.embeddings([2])[0], self.vectors(3)[2].astype(np.float16)
            )
            assert store.verify() == []

    def test_no_rows(self, path: Path) -> None:
        with self.sealed(path, []) as store:
            assert (len(store), store.count("annotations"), store.dim) == (0, 0, self.DIM)
            assert store.embeddings().shape == (0, self.DIM)
            assert list(store.keys()) == []
            assert ItemKey("", "") not in store
            assert store.verify() == []

    def test_categories_and_their_vectors(self, path: Path) -> None:
        categories = Categories(("cat", "dog"), {"label": {"parents": ["", "cat"]}})
        vectors = self.vectors(2)
        with self.create(path, dim=self.DIM) as writer:
            writer.set_categories(categories, vectors)
            writer.seal({"model": {"name": "demo"}, "nothing": None})
        with self.open(path) as store:
            assert store.categories == categories
            assert store.label_embeddings is not None
            np.testing.assert_array_equal(store.label_embeddings, vectors)
            assert store.provenance == {"model": {"name": "demo"}, "nothing": None}
            assert store.verify() == []

    def test_no_categories(self, path: Path) -> None:
        with self.sealed(path, self.plain("a")) as store:
            assert store.categories == Categories()
            assert store.label_embeddings is None

    def test_facts(self, path: Path) -> None:
        with self.sealed(path, self.plain("a"), fingerprint="f" * 64) as store:
            assert store.path == str(path)
            assert store.kind.fingerprint == "f" * 64
            assert store.format_version == 2
            assert len(bytes.fromhex(store.uuid)) == 16

    # Columns --------------------------------------------------------------------------------------

    def test_columns_follow_the_schema(self, path: Path) -> None:
        records = [self.full(), *self.with_children("a", "b", subset="val")]
        tables = {"items": 3, "annotations": 7, "objects": 4, "captions": 1}
        ends = {f"{name}+1": n_rows + 1 for name, n_rows in tables.items()}
        sizes = {**tables, **ends, "dim": self.DIM}
        with self.sealed(path, records) as store:
            for spec in array_specs().values():
                if spec.table not in tables:
                    continue
                array = store.column(spec.path)
                assert array.dtype.str in spec.dtypes, spec.path
                for symbol, size in zip(spec.shape, array.shape, strict=True):
                    assert symbol == "*" or size == sizes.get(str(symbol), symbol), spec.path
                assert not array.flags.writeable, spec.path

    def test_named_columns(self, path: Path) -> None:
        other = ItemRecord(ItemKey("val", "a"), Split.VAL, width=4, height=3)
        other = replace(other, objects=(), captions=())
        with self.sealed(path, [self.full(), other]) as store:
            assert store.subset_names == ("train", "val")
            assert store.subset_codes.tolist() == [0, 1]
            assert store.splits.tolist() == [Split.TRAIN, Split.VAL]
            assert store.widths.tolist() == [640, 4]
            assert store.heights.tolist() == [2**32 - 1, 3]
            assert store.content_sha256[0].tobytes() == bytes(range(32))
            assert store.column("items/annotations_offsets").tolist() == [0, 5, 5]
            types = [store.ann_type_names[code] for code in store.column("annotations/type")]
            assert types == ["bbox", "mask", "caption", "points", "cuboid_3d"]
            assert store.column("annotations/label").tolist() == [2, -1, -1, -1, -1]
            assert store.column("annotations/ann_id")[0] == 2**63 - 1
            assert store.column("annotations/group")[0] == -(2**63)
            assert store.column("annotations/object_id").tolist() == [5, -1, -1, -1, -1]
            assert store.column("annotations/z_order").tolist() == [-1, 0, 0, 0, 0]
            assert store.column("annotations/coords_offsets").tolist() == [0, 4, 4, 4, 8, 8]
            assert store.column("annotations/coords")[:2].tolist() == [0.1, -2.0]

    # Objects and captions -------------------------------------------------------------------------

    def with_children(self, *ids: str, subset: str = "train") -> list[ItemRecord]:
        """Make records with a box each, as one object, and no caption."""
        return [
            replace(
                record,
                annotations=(AnnotationRecord("bbox", coords=(float(number), 0.0, 1.0, 2.0)),),
                objects=(
                    ObjectRecord(box=(float(number), 0.0, 1.0, 2.0), annotations=(0,), vector=v),
                ),
                captions=(),
            )
            for number, (record, v) in enumerate(
                zip(self.plain(*ids, subset=subset), self.vectors(len(ids), seed=5), strict=True)
            )
        ]

    def test_tables(self, path: Path) -> None:
        labels = self.vectors(3, seed=7)
        with self.create(path, dim=self.DIM) as writer:
            for record in (self.full(), *self.with_children("x", "y", "z")):
                writer.append(record, self.vectors(1)[0])
            writer.set_categories(Categories(("cat", "dog", "ape")), labels)
            writer.seal({})
        with self.open(path) as store:
            scene = ItemKey("train", "scene/7")
            assert [store.has_table(name) for name in SCHEMA] == [True] * len(SCHEMA)
            assert [len(store.table(n)) for n in ("items", "objects", "captions")] == [4, 5, 1]
            assert store.items.key(3) == ItemKey("train", "z")
            keys = [store.objects.key(row) for row in range(5)]
            assert keys[:3] == [
                *(ObjectKey(scene, 0), ObjectKey(scene, 1), ObjectKey(ItemKey("train", "x"), 0))
            ]
            assert [store.objects.row(str(key)) for key in keys] == list(range(5))
            assert store.captions.key(0) == ObjectKey(scene, 0)
            assert [list(store.objects.of(row)) for row in range(4)] == [[0, 1], [2], [3], [4]]
            assert [len(store.captions.of(row)) for row in range(4)] == [1, 0, 0, 0]
            assert store.objects.item_rows.tolist() == [0, 0, 1, 2, 3]
            assert store.objects.statuses.tolist() == [1, 5, 0, 0, 0]
            assert store.objects.has_vector.tolist() == [True, False, True, True, True]
            assert store.objects.labels.tolist() == [2, -1, -1, -1, -1]
            assert store.objects.boxes[4].tolist() == [2.0, 0.0, 1.0, 2.0]
            assert store.objects.areas.tolist() == [0.25, 0, 0, 0, 0]
            assert store.objects.record(0) == self.full().objects[0]  # type: ignore[index]
            given = self.vectors(3, seed=5).astype(np.float16)
            np.testing.assert_array_equal(store.objects.embeddings([4, 2]), given[[2, 0]])
            np.testing.assert_array_equal(store.objects.embeddings()[2:], given)
            np.testing.assert_array_equal(store.label_embeddings, labels)
            assert store.captions.texts == [store.captions.text(0)] == ["a “cat”\n\0on a mat"]
            for name in ("items", "objects"):
                labelled = np.flatnonzero(store.table(name).labelled([2]))
                assert labelled.tolist() == [0]
                found = [store.table(name).labels_of(row) for row in range(2)]
                assert found == [("ape",), ()]
            tables: tuple[Any, ...] = (store.items, store.objects, store.captions)
            assert store.labels_of(0) == ("ape",)
            for table in tables:
                with pytest.raises(IndexError):
                    table.key(len(table))
                assert table.to_arrow().num_rows == len(table)
            with pytest.raises(ItemNotFoundError, match=r"has 2 objects.* no number 2"):
                store.objects.row("train/scene/7#2")
            with pytest.raises(ItemNotFoundError, match=r"is not SUBSET/ID#N, such as train/x#0\."):
                store.objects.row("train/scene/7")

    @pytest.mark.parametrize("child", ["objects", "captions"])
    def test_tables_that_are_absent(self, path: Path, child: str) -> None:
        with self.sealed(path, self.plain("a")) as store:
            assert not store.has_table(child)
            assert getattr(store.item(0), child) is None
            for ask in (lambda: getattr(store, child), lambda: store.table(child)):
                with pytest.raises(UsageError, match=f"has no {child}. Embed .* --{child}"):
                    ask()
            with pytest.raises(UsageError, match="Choose one of items, objects"):
                store.table("boxes")

    def test_tables_without_rows(self, path: Path) -> None:
        records = [replace(record, objects=(), captions=()) for record in self.plain("a", "b")]
        with self.sealed(path, records) as store:
            assert [store.item(row) for row in range(2)] == records
            for table in (store.objects, store.captions):
                assert len(table) == len(table.of(1)) == len(table.item_rows) == 0
                assert table.embeddings().shape == table.embeddings([]).shape == (0, self.DIM)
                assert table.to_arrow().num_rows == 0
            assert store.verify() == []

    @pytest.mark.parametrize("child", ["objects", "captions"])
    def test_either_all_items_have_a_table_or_none(self, path: Path, child: str) -> None:
        without, *others = self.with_children("a", "b", "c")
        absent: dict[str, Any] = {child: None}
        without = replace(without, **absent)
        vector = self.vectors(1)[0]
        for wrong, right in ((without, others), (others[0], [without])):
            with self.create(path, dim=self.DIM, restart=True) as writer:
                writer.append(replace(wrong, key=ItemKey("train", "_")), vector)
                for record in right:
                    with pytest.raises(UsageError, match=f"Some items have {child} .*others"):
                        writer.append(record, vector)
                writer.append(replace(wrong, key=ItemKey("train", "d")), vector)
                writer.seal({})
            with self.open(path) as store:
                assert [key.id for key in store.keys()] == ["_", "d"]

    def test_equal_records_give_equal_columns(self, path: Path) -> None:
        with (
            self.sealed(path, [self.full()]) as one,
            self.sealed(path.with_name("two.h5"), [self.full()]) as two,
        ):
            for path_, spec in array_specs().items():
                if spec.table in SCHEMA and one.has(path_):
                    assert one.column(path_).tobytes() == two.column(path_).tobytes(), path_
            assert one.uuid != two.uuid

    # Finding and gathering ------------------------------------------------------------------------

    def test_lookup_by_key(self, path: Path) -> None:
        records = [
            record
            for subset in ("", "ab", "b")
            for record in self.plain(*sorted(map(str, range(50))), subset=subset)
        ]
        with self.sealed(path, records) as store:
            assert [store.row(record.key) for record in records] == list(range(150))
            assert [store.key(row) for row in range(150)] == [record.key for record in records]
            assert ItemKey("b", "7") in store
            assert ItemKey("a", "b7") not in store
            assert "b/7" in store
            assert "7" not in store
            assert "a/b7" not in store
            assert store.row("b/7") == store.row(ItemKey("b", "7"))
            assert store["b/7"] == store.item(store.row("b/7")) == store[ItemKey("b", "7")]
            assert list(store) == list(store.keys())
            with pytest.raises(ItemNotFoundError, match="a/b7"):
                store.row(ItemKey("a", "b7"))

    def test_ids_have_slashes_of_their_own(self, path: Path) -> None:
        records = self.plain("a", "a/b", "a/b/c.jpg", subset="train")
        with self.sealed(path, records) as store:
            assert [store.row(f"train/{name}") for name in ("a", "a/b", "a/b/c.jpg")] == [0, 1, 2]

    @pytest.mark.parametrize(
        ("key", "near"),
        [
            ("trian/x1", "train/x1"),
            ("val/x1.jpg", "val/x1"),
            ("x1", "train/x1"),
            (ItemKey("train", "x11"), "train/x1"),
        ],
    )
    def test_a_key_that_is_not_there_names_near_ones(
        self, path: Path, key: ItemKey | str, near: str
    ) -> None:
        records = [*self.plain("x1", "x2", subset="train"), *self.plain("x1", "y", subset="val")]
        with (
            self.sealed(path, records) as store,
            pytest.raises(ItemNotFoundError, match=rf"No item '{key}' in .* Nearest: .*'{near}'"),
        ):
            store.row(key)

    def test_a_row_number_is_not_a_key(self, path: Path) -> None:
        with self.sealed(path, self.plain("a")) as store:
            number: Any = 0
            assert number not in store
            for ask in (store.row, store.__getitem__):
                with pytest.raises(TypeError, match=r"item\(row\)"):
                    ask(number)

    def test_keys_are_a_sequence(self, path: Path) -> None:
        records = self.plain("a", "b", "c")
        with self.sealed(path, records) as store:
            keys = store.keys()
            assert list(keys) == [record.key for record in records]
            assert keys[-1] == ItemKey("train", "c")
            assert list(keys[1:]) == list(keys)[1:]
            assert len(keys) == 3
            with pytest.raises(IndexError):
                keys[3]

    @pytest.mark.parametrize("row", [-1, 3])
    def test_rows_out_of_range(self, path: Path, row: int) -> None:
        with self.sealed(path, self.plain("a", "b", "c")) as store:
            for read in (store.key, store.item):
                with pytest.raises(IndexError, match="out of range"):
                    read(row)

    @pytest.mark.parametrize(
        "rows", [[2, 0, 0], [], slice(1, 3), [True, False, True], np.array([1], dtype=np.uint64)]
    )
    def test_gather(self, path: Path, rows: Any) -> None:
        expected = self.vectors(3).astype(np.float16)
        index = np.asarray(rows, dtype=np.int64) if isinstance(rows, list) and not rows else rows
        with self.sealed(path, self.plain("a", "b", "c")) as store:
            gathered = store.embeddings(rows)
            np.testing.assert_array_equal(gathered, expected[index])
            assert not gathered.flags.writeable

    def test_gather_out_of_range(self, path: Path) -> None:
        with self.sealed(path, self.plain("a")) as store, pytest.raises(IndexError):
            store.embeddings([1])

    def test_arrays_outlive_the_store(self, path: Path) -> None:
        with self.sealed(path, self.plain("a")) as store:
            vectors, widths = store.embeddings(), store.widths
        np.testing.assert_array_equal(vectors, self.vectors(1).astype(np.float16))
        assert widths.tolist() == [0]
        with pytest.raises(UsageError, match="closed"):
            _ = store.heights

    def test_unknown_columns(self, path: Path) -> None:
        with (
            self.sealed(path, self.plain("a")) as store,
            pytest.raises(UsageError, match="items/colour"),
        ):
            store.column("items/colour")

    # What is refused, and that nothing is left behind ------------------------------------------

    @pytest.mark.parametrize(
        ("first", "second", "why"),
        [
            (ItemKey("a", "b"), ItemKey("a", "b"), "twice"),
            (ItemKey("a", "b"), ItemKey("a", "a"), "sorted"),
            (ItemKey("b", ""), ItemKey("a", "z"), "sorted"),
        ],
    )
    def test_order_is_kept(self, path: Path, first: ItemKey, second: ItemKey, why: str) -> None:
        vector = self.vectors(1)[0]
        with self.create(path, dim=self.DIM) as writer:
            writer.append(ItemRecord(first), vector)
            with pytest.raises(UsageError, match=why) as caught:
                writer.append(ItemRecord(second), vector)
            assert caught.value.key == second  # type: ignore[attr-defined]
            writer.append(ItemRecord(ItemKey("c", "")), vector)
            writer.seal({})
        with self.open(path) as store:
            assert list(store.keys()) == [first, ItemKey("c", "")]

    @pytest.mark.parametrize(
        "change",
        [
            {"width": -1},
            {"height": 2**32},
            {"content_sha256": b"short"},
            {"attributes": {"a": object()}},
            {"attributes": {1: "a"}},
            {"status": Status.MISSING},
            {"split": 9},
            {"annotations": (AnnotationRecord(None),)},  # type: ignore[arg-type]
            {"annotations": (AnnotationRecord("bbox", label=2**31),)},
            {"annotations": (AnnotationRecord("points", visibility=(256,)),)},
            {"annotations": (AnnotationRecord("bbox", attributes={"a": b""}),)},
            {"objects": (ObjectRecord(),)},
            {"objects": (ObjectRecord(status=ObjectStatus.CROWD, vector=np.array([1.0])),)},
            {"objects": (ObjectRecord(vector=np.full(8, 0.36, np.float32)),)},
            {"objects": (ObjectRecord(box=(1.0,), status=ObjectStatus.CROWD),)},
            {"objects": (ObjectRecord(status=8, vector=None),)},  # type: ignore[arg-type]
            {"objects": (ObjectRecord(annotations=(-1,), status=ObjectStatus.CROWD),)},
            {"captions": (CaptionRecord(0),)},
            {"captions": (CaptionRecord(-1, np.eye(8, dtype=np.float32)[0]),)},
        ],
        ids=lambda change: str(next(iter(change.items())))[:40],
    )
    def test_a_refused_row_changes_nothing(self, path: Path, change: dict[str, Any]) -> None:
        vector = self.vectors(1)[0]
        key, (first, sound) = ItemKey("train", "b"), self.with_children("a", "b")
        with self.create(path, dim=self.DIM) as writer:
            writer.append(first, vector)
            with pytest.raises(UsageError, match=r"^(?!.*Some items have)") as caught:
                writer.append(replace(sound, **change), vector)
            assert caught.value.key == key  # type: ignore[attr-defined]
            writer.append(sound, vector)
            writer.seal({})
        with self.open(path) as store:
            assert list(store.keys()) == [ItemKey("train", "a"), key]
            assert store.verify() == []

    @pytest.mark.parametrize("kind", ["none", "long", "not unit", "zero", "nan", "matrix"])
    def test_vectors_that_are_refused(self, path: Path, kind: str) -> None:
        unit = self.vectors(1)[0]
        vector = {
            "none": None,
            "long": np.append(unit, np.float32(0)),
            "not unit": unit * np.float32(1.01),
            "zero": unit * 0,
            "nan": unit * np.nan,
            "matrix": unit[None],
        }[kind]
        with self.create(path, dim=self.DIM) as writer, pytest.raises(UsageError):
            writer.append(self.plain("a")[0], vector)

    def test_label_vectors_that_do_not_fit(self, path: Path) -> None:
        with self.create(path, dim=self.DIM) as writer, pytest.raises(UsageError, match="shape"):
            writer.set_categories(Categories(("cat",)), self.vectors(2))

    @pytest.mark.parametrize(
        "options", [{"dim": 0}, {"dim": 10**9}, {"dtype": "float64"}, {"fingerprint": "a\0"}]
    )
    def test_options_that_are_refused(self, path: Path, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError):
            self.create(path, **{"dim": self.DIM} | options)

    @pytest.mark.parametrize("how", ["exception", "no seal", "abort"])
    def test_nothing_is_left_behind(self, path: Path, tmp_path: Path, how: str) -> None:
        with suppress(KeyboardInterrupt), self.create(path, dim=self.DIM) as writer:
            writer.append(self.plain("a")[0], self.vectors(1)[0])
            if how == "exception":
                raise KeyboardInterrupt
            if how == "abort":
                writer.abort()
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(StoreNotFoundError):
            self.open(path)

    def test_a_sealed_writer_takes_no_more(self, path: Path) -> None:
        with self.create(path, dim=self.DIM) as writer:
            writer.seal({})
            with pytest.raises(UsageError, match="has ended"):
                writer.append(self.plain("a")[0], self.vectors(1)[0])
            with pytest.raises(UsageError, match="has ended"):
                writer.seal({})
        with self.open(path) as store:
            assert len(store) == 0

    def test_a_run_replaces_a_store_of_its_model_only(self, path: Path) -> None:
        self.sealed(path, self.plain("a"), fingerprint="one").close()
        with pytest.raises(ModelMismatchError, match="one"):
            self.create(path, dim=self.DIM, fingerprint="two")
        with self.create(path, dim=self.DIM, fingerprint="one") as run:
            assert run.before is not None
            assert [list(store.keys()) for store in run.earlier] == [[ItemKey("train", "a")]]
        with self.open(path) as store:  # the run ended before it was sealed
            assert list(store.keys()) == [ItemKey("train", "a")]

    def test_vectors_of_another_dtype_are_replaced_and_never_taken(self, path: Path) -> None:
        self.sealed(path, self.plain("a")).close()
        with self.create(path, dim=self.DIM, dtype="float32") as run:
            assert run.before is not None
            assert list(run.earlier) == []

    def test_overwriting_on_purpose(self, path: Path) -> None:
        with self.sealed(path, self.plain("a")) as before:
            with self.sealed(path, self.plain("b", "c"), restart=True) as store:
                assert [store.key(row).id for row in range(2)] == ["b", "c"]
            assert before.item(0) == self.plain("a")[0]

    def test_open_what_is_not_there(self, path: Path) -> None:
        with pytest.raises(StoreNotFoundError, match=r"store\.h5"):
            self.open(path)
