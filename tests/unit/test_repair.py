"""What `repair` may take, and what it must say is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from crash.runs import N_ITEMS, Counting, QuickFiles, content, embed, rows, source
from datumaro_embed.errors import (
    InferenceError,
    StoreCorruptError,
    StoreForeignError,
    StoreNotFoundError,
    StoreUnfinishedError,
)
from datumaro_embed.maintenance import merge_stores, repair_store
from datumaro_embed.records import (
    AnnotationRecord,
    Categories,
    ItemKey,
    ItemRecord,
    Split,
)
from datumaro_embed.store import open_store
from store_support import create_store

BLOCK = 1024


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three blocks of rows, the last one short; every item has one annotation."""
    path = tmp_path_factory.mktemp("big") / "s.h5"
    box = AnnotationRecord("bbox", label=1, coords=(1.0, 2.0, 3.0, 4.0))
    with create_store(path, dim=2) as run:
        for number in range(2500):
            record = ItemRecord(ItemKey("a", f"{number:04}"), width=4, annotations=(box,))
            run.append(record, np.array([0, 1], np.float32))
        run.set_categories(Categories(("cat", "dog")), np.eye(2, dtype=np.float32))
        run.seal({"model": {"name": "m"}})
    return path


def flip(path: Path, array: str, byte: int, mask: int = 1) -> None:
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        place = file[array].id.get_offset() + byte % file[array].nbytes
    data[place] ^= mask
    path.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("array", "byte", "mask", "kept", "lost"),
    [
        ("items/split", 1500, 64, 1476, 0),  # a value that no split has
        ("annotations/type", 10, 16, 1476, 0),
        ("items/path_offsets", 8 * 1500 + 2, 64, 1476, 0),  # descends
        ("items/annotations_offsets", 8 * 1024, 1, 452, 0),  # of two blocks
        ("items/id", 5, 1, 1476, 1024),
        ("items/vector", -1, 4, 2048, 0),
        ("labels/name_offsets", 7, 4, 2500, 0),
        ("meta/provenance", 3, 1, 2500, 0),
        ("meta/arrays", 3, 1, 2500, 0),
    ],
)
def test_one_bit_costs_its_block(
    big: Path, tmp_path: Path, array: str, byte: int, mask: int, kept: int, lost: int
) -> None:
    copy = Path(shutil.copy(big, tmp_path / "bad.h5"))
    flip(copy, array, byte, mask)
    with open_store(copy) as store:
        assert store.verify() != []
    done = repair_store(copy, tmp_path / "good.h5")
    assert (done.n_kept, done.n_lost) == (kept, lost)
    assert done.n_kept + done.n_marked + done.n_lost == 2500
    with open_store(big) as before, open_store(tmp_path / "good.h5") as after:
        assert after.verify() == []
        expected = {key: before[key] for key in after.keys()}
        if array.startswith("labels/"):
            assert after.categories.labels == ()
            assert set(after.column("annotations/label").tolist()) == {-1}
            assert any("label names" in reason for reason in done.left_out)
            return
        assert after.categories == before.categories
        sound = [key for row, key in enumerate(after.keys()) if after.statuses[row] == 0]
        assert len(sound) == kept
        assert all(after[key] == expected[key] for key in sound)
        assert ("model" in after.provenance) == (array != "meta/provenance")
        assert any("provenance" in r for r in done.left_out) == (array == "meta/provenance")


def test_rows_of_a_segment_that_is_gone_are_counted(tmp_path: Path) -> None:
    embed(tmp_path / "store", source(), QuickFiles())
    sorted((tmp_path / "store" / "segments").iterdir())[2].unlink()
    done = repair_store(tmp_path / "store", tmp_path / "new.h5")
    assert (done.n_kept, done.n_lost, len(done.left_out)) == (N_ITEMS - 3, 3, 1)
    assert "is missing" in done.left_out[0] or "No store" in done.left_out[0]


def test_the_manifest_decides_which_rows_are_the_stores(tmp_path: Path) -> None:
    """Beside them lie rows of a run that did not end, with other labels, and an orphan."""
    target = tmp_path / "store"
    embed(target, source(range(12)), QuickFiles())
    with open_store(target) as store:
        before = rows(store)
        whole = content(store)
    with pytest.raises(InferenceError):
        embed(target, source(range(20), box=2.0), QuickFiles(), encoder=Counting(stop_after=1))
    shutil.copy(sorted((target / "segments").iterdir())[-1], target / "segments" / "0-000099.h5")
    done = repair_store(target, tmp_path / "new.h5")
    assert (done.n_kept, done.n_marked, done.n_lost, list(done.left_out)) == (12, 0, 0, [])
    with open_store(tmp_path / "new.h5") as store:
        assert rows(store) == before
        assert content(store) == whole


def test_of_an_unfinished_run_only_its_rows_are_taken(tmp_path: Path) -> None:
    target = tmp_path / "store.h5"
    with pytest.raises(InferenceError):
        embed(target, source(), QuickFiles(), encoder=Counting(stop_after=4))
    with pytest.raises(StoreUnfinishedError):  # by the name of the file that it will publish
        repair_store(target, tmp_path / "new.h5")
    with open_store(target, partial=True) as store:
        before = rows(store)
    done = repair_store(target, tmp_path / "new.h5", partial=True)
    assert any("labels" in reason for reason in done.left_out)
    with open_store(tmp_path / "new.h5") as store:
        found = rows(store)
        assert {key: vector for key, (_, vector) in found.items()} == {
            key: vector for key, (_, vector) in before.items()
        }
        # Their names were not written yet.
        assert set(store.column("annotations/label").tolist()) == {-1}


def test_a_number_that_names_no_label_gets_no_name_of_another_store(tmp_path: Path) -> None:
    for name, labels in (("1", ()), ("2", ("cat", "dog"))):
        box = AnnotationRecord("bbox", label=1, coords=(1.0, 2.0, 3.0, 4.0))
        with create_store(tmp_path / f"{name}.h5", dim=2) as run:
            record = ItemRecord(ItemKey("a", name), annotations=(box,))
            run.append(record, np.array([0, 1], np.float32))
            run.set_categories(Categories(labels))
            run.seal({})
    merge_stores([tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "c.h5")
    with open_store(tmp_path / "c.h5") as store:
        assert store.column("annotations/label").tolist() == [-1, 1]


def test_rows_whose_vectors_are_damaged_keep_their_split(tmp_path: Path) -> None:
    """That of sound rows of their subset, else that of its name; and they say what is wrong."""
    path = tmp_path / "s.h5"
    rows_of = {"odd": (1100, Split.TEST), "train2017": (1500, Split.TRAIN), "val": (400, Split.VAL)}
    with create_store(path, dim=2) as run:
        for subset, (n_rows, split) in rows_of.items():
            for number in range(n_rows):
                record = ItemRecord(ItemKey(subset, f"{number:04}"), split=split)
                run.append(record, np.array([0, 1], np.float32))
        run.seal({})
    flip(path, "items/vector", -1)  # all of val
    flip(path, "items/vector", 0)  # most of odd
    done = repair_store(path, tmp_path / "new.h5")
    assert done.n_kept == BLOCK
    with open_store(tmp_path / "new.h5") as store:
        found = {(key.subset, Split(s)) for key, s in zip(store.keys(), store.splits, strict=True)}
        assert found == {
            ("odd", Split.TEST),
            ("train2017", Split.TRAIN),
            ("val", Split.VAL),
        }
        (marked, *_) = np.flatnonzero(store.statuses)
        assert store.item(int(marked)).error == (
            "its vector or another value was damaged in the store; `embed` computes it again"
        )


def test_what_is_no_store_is_said_as_everywhere(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match=r"^No store at"):
        repair_store(tmp_path / "gone.h5", tmp_path / "new.h5")
    (tmp_path / "bad.h5").write_bytes(b"no HDF5")
    with pytest.raises(StoreForeignError, match=r"bad\.h5' does not start like an HDF5"):
        repair_store(tmp_path / "bad.h5", tmp_path / "new.h5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        StoreCorruptError, match=r"No rows can be recovered from .*empty': it has no"
    ):
        repair_store(tmp_path / "empty", tmp_path / "new.h5")
