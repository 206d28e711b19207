"""`merge`, `repair` and `compact`, and directories that several writers filled."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from crash.runs import N_ITEMS, QuickFiles, content, embed, rows, source
from datumaro_embed.errors import (
    ModelMismatchError,
    StoreCorruptError,
    StoreExistsError,
    StoreForeignError,
    StoreUnfinishedError,
    UsageError,
)
from datumaro_embed.info import describe
from datumaro_embed.maintenance import compact_store, merge_stores, repair_store
from datumaro_embed.records import AnnotationRecord, Categories, ItemKey, ItemRecord, Status
from datumaro_embed.store import open_store
from datumaro_embed.vectors import unit_rows
from store_support import begin, create_store
from support import run

VECTORS = unit_rows(np.random.default_rng(0).normal(size=(60, 8)))


def record(number: int, label: int = 0) -> ItemRecord:
    kinds = ("bbox", "mask", "caption")
    return ItemRecord(
        ItemKey("b" if number % 2 else "a", f"{number:02}"),
        path="x" * number,
        annotations=tuple(
            AnnotationRecord(
                kinds[(number + i) % 3], label=label, coords=(1.0 * i,) * 4, text="t" * i
            )
            for i in range(number % 4)
        ),
    )


def store_of(
    path: Path,
    numbers: Iterable[int],
    *,
    labels: tuple[str, ...] = ("cat",),
    label: int = 0,
    fingerprint: str = "f",
) -> Path:
    with create_store(path, dim=8, run_fingerprint=fingerprint) as writer:
        for item in sorted((record(n, label) for n in numbers), key=lambda item: item.key):
            writer.append(item, VECTORS[int(item.key.id)])
        writer.set_categories(Categories(labels), VECTORS[: len(labels)])
        writer.seal({"model": {"name": "m"}})
    return path


# merge --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["c.h5", "c"])
def test_merged_stores_are_the_store_of_all(tmp_path: Path, output: str) -> None:
    parts = [range(0, 60, 3), range(1, 60, 3), range(2, 60, 3)]
    paths = [store_of(tmp_path / f"{i}.h5", part) for i, part in enumerate(parts)]
    summary = merge_stores(paths, tmp_path / output)
    assert (summary.n_items, summary.n_dropped) == (60, 0)
    with (
        open_store(tmp_path / output) as merged,
        open_store(store_of(tmp_path / "all.h5", range(60))) as whole,
    ):
        assert content(merged) == content(whole)
        assert merged.categories == whole.categories
        np.testing.assert_array_equal(merged.label_embeddings, whole.label_embeddings)
        assert merged.verify() == []
        assert len(merged.provenance["merged"]) == 3


def test_labels_go_by_name(tmp_path: Path) -> None:
    one = store_of(tmp_path / "1.h5", [1, 2], labels=("cat", "dog"), label=1)
    two = store_of(tmp_path / "2.h5", [3, 5], labels=("owl", "dog"), label=1)
    merge_stores([one, two], tmp_path / "c.h5")
    with open_store(tmp_path / "c.h5") as merged:
        assert merged.categories.labels == ("cat", "dog", "owl")
        assert set(merged.column("annotations/label").tolist()) == {1}
        assert merged.verify() == []


@pytest.mark.parametrize(("wins", "label"), [("first", 0), ("last", 1)])
def test_duplicates(tmp_path: Path, wins: str, label: int) -> None:
    one = store_of(tmp_path / "1.h5", [1, 2], labels=("cat", "dog"), label=0)
    two = store_of(tmp_path / "2.h5", [2, 3], labels=("cat", "dog"), label=1)
    with pytest.raises(UsageError, match=r"'a/02' is in both .*1\.h5' and .*2\.h5'"):
        merge_stores([one, two], tmp_path / "c.h5")
    assert not (tmp_path / "c.h5").exists()
    assert not (tmp_path / "c.h5.work").exists()
    summary = merge_stores([one, two], tmp_path / "c.h5", on_duplicate=wins)
    assert (summary.n_items, summary.n_dropped) == (3, 1)
    with open_store(tmp_path / "c.h5") as merged:
        item = merged.item(merged.row(ItemKey("a", "02")))
        assert {annotation.label for annotation in item.annotations} == {label}


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    one = store_of(tmp_path / "1.h5", [1])
    two = store_of(tmp_path / "2.h5", [2], fingerprint="g")
    with pytest.raises(ModelMismatchError, match="Embed one of the datasets again"):
        merge_stores([one, two], tmp_path / "c.h5")
    with pytest.raises(StoreExistsError):
        merge_stores([one], two)
    with pytest.raises(UsageError, match="nothing to merge"):
        merge_stores([], tmp_path / "c.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.h5", "2.h5"]


def test_full_categories_say_the_same_as_the_names(tmp_path: Path) -> None:
    paths = []
    for name, labels in (("1.h5", ("cat",)), ("2.h5", ("dog", "cat"))):
        full = {"label": {"items": [{"name": label, "from": name} for label in labels]}, "x": name}
        with create_store(tmp_path / name, dim=8) as writer:
            writer.append(record(len(paths)), VECTORS[0])
            writer.set_categories(Categories(labels, full))
            writer.seal({})
        paths.append(tmp_path / name)
    merge_stores(paths, tmp_path / "c.h5")
    with open_store(tmp_path / "c.h5") as merged:
        items = [{"name": "cat", "from": "1.h5"}, {"name": "dog", "from": "2.h5"}]
        assert merged.categories == Categories(
            ("cat", "dog"), {"label": {"items": items}, "x": "1.h5"}
        )


def test_a_norm_that_float16_rounded_is_taken_over(tmp_path: Path) -> None:
    """The writer takes 1 ± 1e-3 in float32; rounding may carry it over that."""
    rng = np.random.default_rng(0)
    while True:
        vector = (unit_rows(rng.normal(size=(1, 4)))[0] * 1.00095).astype(np.float32)
        if np.linalg.norm(vector.astype(np.float16).astype(np.float64)) > 1.00102:
            break
    with create_store(tmp_path / "1.h5", dim=4) as writer:
        writer.append(record(1), vector)
        writer.seal({})
    merge_stores([tmp_path / "1.h5"], tmp_path / "merged.h5")
    summary = repair_store(tmp_path / "1.h5", tmp_path / "repaired.h5")
    assert (summary.n_kept, summary.n_marked) == (1, 0)
    for name in ("1.h5", "merged.h5", "repaired.h5"):
        with open_store(tmp_path / name) as store:
            assert store.verify() == []
            assert store.embeddings([0])[0].tobytes() == vector.astype(np.float16).tobytes()


@pytest.mark.parametrize("strange", [{"model": "m"}, {"model": {"name": 5}}, {"shard": {"x": 1}}])
def test_provenance_of_others_may_say_anything(tmp_path: Path, strange: dict) -> None:
    for number in (1, 2):
        with create_store(tmp_path / f"{number}.h5", dim=8) as writer:
            writer.append(record(number), VECTORS[number])
            writer.seal({**strange, "media_root": 5})
    merge_stores([tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "c.h5")
    with open_store(tmp_path / "c.h5") as merged:
        assert (merged.model_fact("name"), merged.media_root) == ("", "")
        assert len(list(describe(merged))) > 5


def test_a_damaged_row_is_not_given_a_new_checksum(tmp_path: Path) -> None:
    bad, good = store_of(tmp_path / "1.h5", [1, 2]), store_of(tmp_path / "2.h5", [3])
    damage(bad, VECTORS[2].astype(np.float16).tobytes())
    with pytest.raises(StoreCorruptError, match=r"1\.h5' is damaged .items/vector: rows 0 to 1 "):
        merge_stores([bad, good], tmp_path / "c.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.h5", "2.h5"]


def test_a_run_that_did_not_end_is_neither_merged_nor_overwritten(tmp_path: Path) -> None:
    work = tmp_path / "c.h5.work"
    with begin(f"{work}/", dim=8, run_fingerprint="f", commit_rows=1, files=QuickFiles()) as shards:
        shards.append(record(0), VECTORS[0])
        shards.suspend()
    one = store_of(tmp_path / "1.h5", [1])
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.*")}
    with pytest.raises(StoreUnfinishedError, match=r"c\.h5\.work' is unfinished: 1 row committed"):
        merge_stores([work, one], tmp_path / "d.h5")
    with pytest.raises(StoreExistsError, match="holds an unfinished run"):
        merge_stores([one], tmp_path / "c.h5")
    with pytest.raises(StoreExistsError, match="holds an unfinished run"):
        repair_store(work, tmp_path / "c.h5")
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.*")} == before
    with pytest.raises(StoreUnfinishedError, match=r"c\.h5\.work' is unfinished: 1 row committed"):
        repair_store(work, tmp_path / "e.h5")
    repair_store(work, tmp_path / "e.h5", partial=True)
    with open_store(tmp_path / "e.h5") as saved:
        assert len(saved) == 1
    assert not (tmp_path / "d.h5.work").exists()


# compact ------------------------------------------------------------------------------------------


def test_compacting_changes_no_row(tmp_path: Path) -> None:
    target = tmp_path / "store"
    embed(target, source(), QuickFiles())
    with open_store(target) as store:
        before, provenance = content(store), store.provenance
    done = compact_store(target, commit_rows=10)
    assert (done.n_before, done.n_after) == (12, 4)
    with open_store(target) as store:
        assert content(store) == before
        assert store.provenance == provenance
        assert store.verify() == []
    assert len(list((target / "segments").iterdir())) == 5
    assert compact_store(target, commit_rows=10).n_after == 4
    assert embed(target, source(), QuickFiles()).n_computed == 0
    with open_store(target) as store:
        assert content(store) == before


def test_an_unfinished_store_is_not_compacted(tmp_path: Path) -> None:
    shards = begin(tmp_path / "s", dim=8, commit_rows=1, files=QuickFiles())
    shards.append(record(0), VECTORS[0])
    shards.suspend()
    shards.abort()
    with pytest.raises(UsageError, match="not finished"):
        compact_store(tmp_path / "s")


def test_a_file_is_not_compacted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already a single file"):
        compact_store(store_of(tmp_path / "1.h5", [1]))


# repair -------------------------------------------------------------------------------------------


def damage(path: Path, data: bytes) -> None:
    raw = bytearray(path.read_bytes())
    place = raw.find(data)
    assert place > 0
    raw[place] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["store.h5", "store"])
def test_repair_keeps_what_verifies_and_embed_makes_the_rest(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    embed(target, source(), QuickFiles())
    with open_store(target) as store:
        before = rows(store)
        whole = content(store)
        vector, key = store.embeddings([3]).tobytes(), str(store.key(3))
    files = [target] if target.is_file() else sorted((target / "segments").iterdir())
    damage(next(file for file in files if vector in file.read_bytes()), vector)
    n_bad = N_ITEMS if name == "store.h5" else 3  # the block of the row: the file, or its segment
    summary = repair_store(target, tmp_path / f"new-{name}")
    assert (summary.n_kept, summary.n_marked, summary.n_lost) == (N_ITEMS - n_bad, n_bad, 0)
    with open_store(tmp_path / f"new-{name}") as repaired:
        assert repaired.verify() == []
        marked = dict(item for item in rows(repaired).items() if item[1] != before[item[0]])
        assert key in marked
        assert len(marked) <= n_bad
        assert repaired.statuses[3] == Status.INFERENCE_FAILED
        assert repaired.categories.labels == ("cat",)
    done = embed(tmp_path / f"new-{name}", source(), QuickFiles())
    assert done.n_failed == 5
    assert done.n_computed == (31 if name == "store.h5" else 3)
    with open_store(tmp_path / f"new-{name}") as store:
        assert content(store) == whole


def test_repair_of_a_directory_without_its_manifest_and_some_shards(tmp_path: Path) -> None:
    target = tmp_path / "store"
    embed(target, source(), QuickFiles())
    with open_store(target) as store:
        before = rows(store)
    (target / "manifest.json").unlink()
    shards = sorted((target / "segments").iterdir())
    shards[2].unlink()
    shards[5].write_bytes(shards[5].read_bytes()[:1000])
    summary = repair_store(target, tmp_path / "new.h5")
    assert (summary.n_kept, len(summary.left_out)) == (30, 1)
    with open_store(tmp_path / "new.h5") as repaired:
        assert rows(repaired).items() <= before.items()
        assert repaired.verify() == []


def test_shards_without_a_manifest_are_not_cleaned_up_by_a_run(tmp_path: Path) -> None:
    target = tmp_path / "store"
    embed(target, source(), QuickFiles())
    (target / "manifest.json").unlink()
    with pytest.raises(StoreCorruptError, match=r"has 13 segments but no manifest\. .*repair"):
        embed(target, source(), QuickFiles())
    assert len(list((target / "segments").iterdir())) == 13
    assert embed(target, source(), QuickFiles(), restart=True).n_reused == 0


def test_what_cannot_be_repaired(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"nothing")
    with pytest.raises(StoreForeignError, match="does not start like an HDF5 file"):
        repair_store(tmp_path / "x.h5", tmp_path / "new.h5")
    store_of(tmp_path / "a.h5", [1])
    with pytest.raises(StoreExistsError):
        repair_store(tmp_path / "a.h5", tmp_path / "x.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "x.h5"]


# As commands --------------------------------------------------------------------------------------


def test_the_three_commands(tmp_path: Path) -> None:
    one, two = store_of(tmp_path / "1.h5", [1, 2]), store_of(tmp_path / "2.h5", [3])
    merged = run("datumaro-embed", "merge", one, two, "-o", f"{tmp_path / 'm'}/")
    assert (merged.returncode, merged.stdout) == (0, f"3 rows in {tmp_path / 'm'}/\n")
    compacted = run("datumaro-embed", "compact", tmp_path / "m")
    assert (compacted.returncode, compacted.stdout) == (0, "1 segment before, 1 now\n")
    shutil.copy(one, tmp_path / "bad.h5")
    damage(tmp_path / "bad.h5", VECTORS[1].astype(np.float16).tobytes())
    assert run("datumaro-embed", "verify", tmp_path / "bad.h5").returncode == 1
    repaired = run("datumaro-embed", "repair", tmp_path / "bad.h5", "-o", tmp_path / "good.h5")
    assert repaired.returncode == 0
    assert "0 rows kept" in repaired.stdout
    assert "2 damaged and marked\n`datumaro-embed embed DATASET --store " in repaired.stdout
    assert run("datumaro-embed", "verify", tmp_path / "good.h5").returncode == 0
