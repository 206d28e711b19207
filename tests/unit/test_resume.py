"""The same command again: what is re-used, what is made anew, and what it says of both."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from datumaro.components.annotation import Bbox
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image, RoIImage

from crash.runs import N_ITEMS, Counting, QuickFiles, content, rows, source
from datumaro_embed import Status, open_store
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import (
    InferenceError,
    ModelMismatchError,
    RunInterruptedError,
    StoreExistsError,
    StoreLockedError,
    StoreWriteError,
)
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.pipeline.progress import EmbedSummary
from datumaro_embed.records import ItemKey, ItemRecord, ObjectRecord
from datumaro_embed.store import Hdf5Stores
from store_support import begin


def go(
    target: Path | str, data: SourceDataset, encoder: FakeEncoder | None = None, **options: Any
) -> EmbedSummary:
    return embed_source(
        data,
        target,
        EmbedOptions(**{"workers": 2, "commit_rows": 3} | options),
        progress=False,
        encoder=encoder or FakeEncoder(),
        backend=Hdf5Stores(QuickFiles()),
    )


def test_segments_are_kept_up_to_the_object_that_changed(tmp_path: Path) -> None:
    """An object's vector, and nothing else, differs in the second half of the store."""

    def write(n_same: int) -> tuple[list[str], dict[str, bytes]]:
        with begin(tmp_path / "s", dim=4, commit_rows=2) as run:
            for number in range(8):
                unit = np.eye(4, dtype=np.float32)[int(number >= n_same)]
                child = ObjectRecord(vector=unit)
                record = ItemRecord(ItemKey("", str(number)), objects=(child,))
                run.append(record, np.eye(4, dtype=np.float32)[2], reused=True)
            run.seal({})
        with open_store(tmp_path / "s") as store:
            assert store.verify() == []
            return [Path(part.path).name for part in store.parts], content(store)

    names, first = write(8)
    assert write(8) == (names, first)
    changed_names, changed = write(5)
    assert changed_names[:2] == names[:2]
    assert not {*changed_names[2:]} & {*names}
    assert {path for path in first if first[path] != changed[path]} == {"objects/vector"}


# Going on -----------------------------------------------------------------------------------------


def test_a_run_that_broke_goes_on_and_ends_with_the_same_bytes(target: Path, whole: dict) -> None:
    with pytest.raises(InferenceError):
        go(target, source(), Counting(stop_after=3))
    encoder = Counting()
    summary = go(target, source(), encoder)
    assert summary.n_reused == 12
    assert encoder.n_images == N_ITEMS - 5 - 12  # every seventh has no image
    with open_store(target) as store:
        assert content(store) == whole
        assert store.verify() == []


def test_a_run_that_broke_leaves_no_thread_to_the_garbage_collector(target: Path) -> None:
    with pytest.raises(InferenceError) as caught:
        go(target, source(), Counting(stop_after=3))
    assert caught.tb is not None  # so every frame of the run is still there
    ours = [t.name for t in threading.enumerate() if t.name.startswith("datumaro-embed")]
    assert ours == []


def test_a_region_is_not_taken_for_its_image(tmp_path: Path) -> None:
    """Both have the hash of the same file."""
    file = tmp_path / "a.png"
    PIL.Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    ).save(file)
    whole = DatasetItem("whole", media=Image.from_file(str(file)))
    region = RoIImage.from_image(Image.from_file(str(file)), (0, 0, 10, 10))
    items = [DatasetItem("region", media=region)]
    for name in ("again.h5", "fresh.h5"):
        go(tmp_path / name, SourceDataset(Dataset.from_iterable(items)))
        items = [*items, whole][:2]
    summary = go(tmp_path / "again.h5", SourceDataset(Dataset.from_iterable(items)))
    assert summary.n_reused == 0
    with open_store(tmp_path / "again.h5") as again, open_store(tmp_path / "fresh.h5") as fresh:
        assert again.embeddings().tobytes() == fresh.embeddings().tobytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_every_row_that_was_embedded(target: Path, whole: dict, number: int) -> None:
    encoder, said = Counting(stop_after=2, number=number), []
    with pytest.raises(RunInterruptedError, match=signal.Signals(number).name) as caught:
        embed_source(
            source(), target, EmbedOptions(commit_rows=1000), encoder=encoder, notify=said.append
        )
    assert caught.value.exit_status == 128 + number
    assert isinstance(caught.value, KeyboardInterrupt)
    assert len(said) == 1
    assert "Run the same command again to continue." in said[0]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    summary = go(target, source())
    assert summary.n_reused == encoder.n_images > 0
    with open_store(target) as store:
        assert content(store) == whole


def test_a_second_signal_stops_at_once_and_what_was_committed_stays(target: Path) -> None:
    class Impatient(Counting):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            if self.n_images >= 8:
                signal.raise_signal(signal.SIGINT)
            return super().embed(batch)

    with pytest.raises(KeyboardInterrupt):
        go(target, source(), Impatient())
    assert go(target, source()).n_reused >= 6


def test_running_again_embeds_nothing(target: Path, whole: dict) -> None:
    go(target, source())
    encoder = Counting()
    summary = go(target, source(), encoder)
    assert encoder.n_images == 0
    assert (summary.n_reused, summary.n_removed) == (N_ITEMS - 5, 0)
    assert "0 computed, 31 reused, 5 failed in" in summary.lines()[0]
    with open_store(target) as store:
        assert content(store) == whole


def test_shards_that_came_out_the_same_are_kept_as_they_are(tmp_path: Path) -> None:
    target = tmp_path / "store"
    go(target, source())
    before = {path.name: path.stat().st_ino for path in (target / "segments").iterdir()}
    go(target, source([*range(20), *range(21, N_ITEMS)]))
    after = {path.name: path.stat().st_ino for path in (target / "segments").iterdir()}
    kept = before.items() & after.items()
    assert len(kept) == 6  # 18 rows: item 20 was in the seventh shard
    assert len(list((target / "segments").iterdir())) == len(after)


# Changes of the dataset ---------------------------------------------------------------------------


def item(number: int, name: str = "", *, seed: int | None = None, x: float = 1) -> DatasetItem:
    rng = np.random.default_rng(number if seed is None else seed)
    pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    box = Bbox(x, 1, 2, 3, label=0)
    return DatasetItem(
        name or f"{number:03}", subset="a", media=Image.from_numpy(pixels), annotations=[box]
    )


def dataset(*items: DatasetItem, labels: tuple[str, ...] = ("cat",)) -> SourceDataset:
    return SourceDataset(Dataset.from_iterable(items, categories=list(labels)), root=Path("/x"))


@pytest.mark.parametrize(
    ("after", "counts", "n_embedded"),
    [
        ([*range(10)], (10, 0, 0), 0),
        ([*range(12)], (10, 0, 0), 2),
        ([*range(2, 10)], (8, 0, 2), 0),
        ([item(0, seed=77), *range(1, 10)], (9, 0, 0), 1),
        ([item(3, "renamed"), *range(3), *range(4, 10)], (10, 0, 1), 0),
        ([item(3, x=2.5), *range(3), *range(4, 10)], (10, 1, 0), 0),
        ([item(9, "000"), *range(1, 9), item(0, "009")], (10, 0, 0), 0),
    ],
    ids=["nothing", "added", "removed", "edited", "renamed", "relabelled", "swapped"],
)
def test_only_changed_content_is_embedded(
    target: Path, tmp_path: Path, after: list, counts: tuple, n_embedded: int
) -> None:
    go(target, dataset(*map(item, range(10))))
    changed = [entry if isinstance(entry, DatasetItem) else item(entry) for entry in after]
    encoder = Counting()
    done = go(target, dataset(*changed), encoder)
    assert (done.n_reused, done.n_relabelled, done.n_removed) == counts
    assert (done.n_computed, done.n_failed) == (encoder.n_images, 0) == (n_embedded, 0)
    go(tmp_path / "anew.h5", dataset(*changed))
    with open_store(target) as store, open_store(tmp_path / "anew.h5") as anew:
        assert content(store) == content(anew)
        assert store.verify() == []


def test_new_label_names_come_with_old_vectors(target: Path) -> None:
    go(target, dataset(item(0), item(1)))
    done = go(target, dataset(item(0), item(1), labels=("dog", "cat")))
    assert (done.n_reused, done.n_relabelled) == (2, 2)  # both boxes are of dogs now
    assert "  2 reused rows have changed annotations" in done.lines()
    with open_store(target) as store:
        assert store.categories.labels == ("dog", "cat")
        expected = FakeEncoder().embed_labels(("dog", "cat"))
        np.testing.assert_array_equal(store.label_embeddings, expected)


def test_labels_with_other_numbers_are_the_same_labels(target: Path) -> None:
    def named(number: int, label: int) -> DatasetItem:
        made = item(number)
        return made.wrap(annotations=[made.annotations[0].wrap(label=label)])

    go(target, dataset(named(0, 0), named(1, 1), named(2, 0), labels=("cat", "dog")))
    after = dataset(named(0, 1), named(1, 0), named(2, 0), labels=("dog", "cat"))
    done = go(target, after)  # the third was a cat and is a dog
    assert (done.n_reused, done.n_relabelled) == (3, 1)


def test_a_failed_item_is_tried_again(tmp_path: Path) -> None:
    from support import picture

    photo, target = tmp_path / "a.png", tmp_path / "store.h5"
    data = SourceDataset(
        Dataset.from_iterable([DatasetItem("a", media=Image.from_file(str(photo)))]), root=tmp_path
    )
    go(target, data)
    with open_store(target) as store:
        assert store.statuses.tolist() == [Status.MISSING]
    picture(1).save(photo)
    summary = go(target, data)
    assert (summary.n_reused, summary.n_computed) == (0, 1)
    with open_store(target) as store:
        assert store.statuses.tolist() == [Status.OK]


def test_regions_of_one_image_never_share_a_vector(tmp_path: Path) -> None:
    from datumaro.components.media import RoIImage

    from support import picture

    picture(3, (64, 64)).save(tmp_path / "a.png")

    def region(x: int) -> SourceDataset:
        image = Image.from_file(str(tmp_path / "a.png"))
        medium = RoIImage.from_image(image, roi=(x, 0, 20, 20))
        return SourceDataset(Dataset.from_iterable([DatasetItem("a", media=medium)]), root=tmp_path)

    encoder = Counting()
    for x in (0, 30):
        go(tmp_path / "store.h5", region(x), encoder)
    assert encoder.n_images == 2


# Refusals -----------------------------------------------------------------------------------------


def test_another_model_is_refused_and_nothing_changes(target: Path) -> None:
    go(target, source(range(6)))
    with open_store(target) as store:
        before = rows(store)
    with pytest.raises(ModelMismatchError, match=r"by fake \(.*but .* by fake \(.* is required"):
        go(target, source(range(6)), FakeEncoder(seed=1))
    with open_store(target) as store:
        assert rows(store) == before
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    go(target, source(range(6)), FakeEncoder(seed=1), restart=True)
    with open_store(target) as store:
        assert store.kind.fingerprint == FakeEncoder(seed=1).fingerprint


def test_an_unfinished_run_of_another_model_is_refused(target: Path) -> None:
    with pytest.raises(InferenceError):
        go(target, source(), Counting(stop_after=3))
    with pytest.raises(ModelMismatchError):
        go(target, source(), FakeEncoder(seed=1))
    assert go(target, source()).n_reused == 12


def test_another_dtype_re_uses_nothing_of_a_finished_store(target: Path) -> None:
    go(target, source())
    encoder = Counting()
    go(target, source(), encoder, dtype="float32")
    assert encoder.n_images == N_ITEMS - 5
    with open_store(target) as store:
        assert store.dtype == np.float32
        assert store.verify() == []


def test_another_dtype_does_not_drop_an_unfinished_run(target: Path) -> None:
    with pytest.raises(InferenceError):
        go(target, source(), Counting(stop_after=3))
    with pytest.raises(ModelMismatchError, match="Finish that run with its own options first"):
        go(target, source(), dtype="float32")
    assert go(target, source()).n_reused == 12


@pytest.mark.parametrize("options", [{}, {"dtype": "float32"}], ids=["same dtype", "other dtype"])
def test_a_store_of_other_images_is_replaced_only_by_restart(
    target: Path, options: dict[str, str]
) -> None:
    """Their keys are equal, and not one image is."""
    go(target, dataset(*(item(i) for i in range(8))))
    before = {path: path.read_bytes() for path in target.parent.rglob("*") if path.is_file()}
    other = dataset(*(item(i, seed=100 + i) for i in range(8)))
    encoder = Counting()
    with pytest.raises(StoreExistsError, match=r"vectors of 8 images, but none.*use restart"):
        go(target, other, encoder, **options)
    assert encoder.n_images == 0
    assert {p: p.read_bytes() for p in target.parent.rglob("*") if p.is_file()} == before
    go(target, other, encoder, restart=True, **options)
    assert encoder.n_images == 8


def test_one_image_in_common_is_enough(target: Path) -> None:
    go(target, dataset(*(item(i) for i in range(200))), commit_rows=50)
    other = dataset(*(item(i, seed=1000 + i) for i in range(199)), item(199, "renamed", seed=199))
    assert go(target, other, commit_rows=50).n_reused == 1


def test_restart_re_uses_nothing(target: Path, whole: dict) -> None:
    go(target, source(range(10)))
    with pytest.raises(InferenceError):
        go(target, source(), Counting(stop_after=3))
    encoder = Counting()
    go(target, source(), encoder, restart=True)
    assert encoder.n_images == N_ITEMS - 5
    with open_store(target) as store:
        assert content(store) == whole


def test_a_killed_restart_goes_on_and_takes_nothing_from_the_old_store(target: Path) -> None:
    go(target, source())
    with pytest.raises(InferenceError):
        go(target, source(), Counting(stop_after=4), restart=True)
    for options in ({"restart": True}, {}):
        with pytest.raises(InferenceError):
            go(target, source(), Counting(stop_after=1), **options)
    encoder = Counting()
    summary = go(target, source(), encoder, restart=True)
    assert summary.n_reused >= 16  # of the restarted runs, and none of the store before them
    assert summary.n_reused + encoder.n_images == N_ITEMS - 5
    assert encoder.n_images > 0


def test_damage_of_the_store_before_is_said_and_invents_no_removals(tmp_path: Path) -> None:
    target = tmp_path / "store.h5"
    go(target, source())
    with open_store(target) as store:
        vector = store.embeddings([3]).tobytes()
    data = bytearray(target.read_bytes())
    data[data.index(vector)] ^= 1
    target.write_bytes(data)
    said: list[str] = []
    summary = embed_source(
        source(), target, EmbedOptions(), encoder=FakeEncoder(), notify=said.append
    )
    assert summary.n_removed == 0
    assert any("31 damaged vectors" in line for line in said)


def test_a_second_writer_is_refused_and_a_reader_sees_whole_shards(target: Path) -> None:
    class Nosy(Counting):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            if self.n_images == 16:
                look()
            return super().embed(batch)

    seen = []

    def look() -> None:
        work = target if target.suffix == "" else Path(f"{target}.work")
        committed = [*(work / "segments").glob("*.h5")]  # the writer itself goes on beside this
        before = {path: path.stat().st_mtime_ns for path in committed}
        with pytest.raises(StoreLockedError, match="Another process is writing"):
            go(target, source())
        assert before
        assert before == {path: path.stat().st_mtime_ns for path in committed}
        with open_store(work, partial=True) as store:
            seen.append(rows(store))
            assert store.verify() == []
            assert not store.complete

    go(target, source(), Nosy())
    assert len(seen) == 1
    assert len(seen[0]) % 3 == 0
    assert 0 < len(seen[0]) < N_ITEMS
    with open_store(target) as store:
        assert seen[0].items() <= rows(store).items()


def test_a_lock_that_a_dead_process_left_does_not_block(target: Path) -> None:
    work = target if target.suffix == "" else Path(f"{target}.work")
    work.mkdir(parents=True)
    (work / "lock").write_bytes(b"")
    go(target, source(range(3)))


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "store.h5"

    class Racing(Counting):
        def embed_labels(self, names: Any) -> np.ndarray:
            target.write_bytes(b"mine")
            return super().embed_labels(names)

    with pytest.raises(StoreExistsError, match="during this run"):
        go(target, source(), Racing())
    assert target.read_bytes() == b"mine"
    target.unlink()
    assert go(target, source()).n_reused == N_ITEMS - 5


def test_a_damaged_shard_is_embedded_again(target: Path, whole: dict) -> None:
    with pytest.raises(InferenceError):
        go(target, source(), Counting(stop_after=5))
    work = target if target.suffix == "" else Path(f"{target}.work")
    shard = sorted((work / "segments").iterdir())[1]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    said: list[str] = []
    encoder = Counting()
    embed_source(source(), target, EmbedOptions(), encoder=encoder, notify=said.append)
    assert "1 damaged segment is left out" in said[0]
    with open_store(target) as store:
        assert content(store) == whole


@pytest.mark.slow
def test_rows_of_a_finished_file_are_re_used_only_where_their_block_is_sound(
    tmp_path: Path,
) -> None:
    target, n_items = tmp_path / "store.h5", 1100
    go(target, source(range(n_items)), commit_rows=500)
    data = bytearray(target.read_bytes())
    with open_store(target) as store:
        before = content(store)
        n_in_block = int((store.statuses[:1024] == 0).sum())
        place = data.find(store.embeddings([3]).tobytes())
    data[place] ^= 1
    target.write_bytes(data)
    encoder = Counting()
    go(target, source(range(n_items)), encoder, commit_rows=500)
    assert encoder.n_images == n_in_block
    with open_store(target) as store:
        assert content(store) == before


def test_no_room_is_said_before_anything_is_embedded(target: Path) -> None:
    class Full(QuickFiles):
        def free_bytes(self, directory: Path) -> int:
            return 100

    encoder = Counting()
    with pytest.raises(StoreWriteError, match=r"Disk full .* 100 are free"):
        embed_source(
            source(),
            target,
            EmbedOptions(),
            encoder=encoder,
            backend=Hdf5Stores(Full()),
        )
    assert encoder.n_images == 0
    assert list(target.parent.iterdir()) == []


def test_a_shard_is_committed_after_its_time(tmp_path: Path) -> None:
    now = iter(range(0, 10_000, 25))
    run = begin(tmp_path / "store", dim=2, clock=lambda: next(now), files=QuickFiles())
    from datumaro_embed.records import ItemKey, ItemRecord

    with run:
        for number in range(6):
            record = replace(ItemRecord(ItemKey("", str(number))))
            run.append(record, np.array([0, 1], np.float32))
        run.seal({})
    with open_store(tmp_path / "store") as store:
        assert len(store.parts) > 1
