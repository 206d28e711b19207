"""Runs of shards and their merge: the store of one machine, whatever happened on the way."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crash.runs import N_ITEMS, Counting, QuickFiles, content, embed, rows, source
from datumaro_embed import open_store
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import (
    InferenceError,
    ModelMismatchError,
    StoreExistsError,
    StoreLockedError,
    StoreNotFoundError,
    UsageError,
)
from datumaro_embed.maintenance import merge_stores
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.pipeline.progress import EmbedSummary
from datumaro_embed.sharding import Parts, Shard
from datumaro_embed.store import Hdf5Stores

N_FAILED = 5
"""Items of `source` without an image: tried again each time."""


def part(
    target: Path | str,
    shard: str,
    numbers: Iterable[int] = range(N_ITEMS),
    encoder: FakeEncoder | None = None,
    **options: Any,
) -> EmbedSummary:
    return embed_source(
        source(numbers),
        target,
        EmbedOptions(workers=1, commit_rows=3, **options),
        shard=Shard.parse(shard),
        progress=False,
        notify=lambda line: None,
        encoder=encoder or FakeEncoder(),
        backend=Hdf5Stores(QuickFiles()),
    )


def all_parts(target: Path | str, count: int, **options: bool) -> list[EmbedSummary]:
    return [part(target, f"{number}/{count}", **options) for number in range(1, count + 1)]


def parts_of(target: Path) -> Path:
    return Parts.of(target).folder


@pytest.mark.parametrize("count", [1, 3, 37])
def test_merged_parts_are_the_store_of_one_run(target: Path, count: int, whole: dict) -> None:
    summaries = all_parts(target, count)
    assert sum(summary.n_items for summary in summaries) == N_ITEMS
    assert not target.exists()
    merge_stores([parts_of(target)], target)
    with open_store(target) as merged:
        assert content(merged) == whole
        assert merged.verify() == []
        assert merged.categories.labels == ("cat",)
        np.testing.assert_array_equal(merged.label_embeddings, FakeEncoder().embed_labels(["cat"]))


def test_the_last_part_says_how_to_join_them(target: Path) -> None:
    first, _, last = all_parts(target, 3)
    assert first.lines()[-1] == "2 of 3 shards are not finished yet: 2/3, 3/3"
    command = f"datumaro-embed merge {parts_of(target)} -o {target}"
    assert last.lines()[-1] == f"All shards are finished. Join them: {command}"
    merge_stores([parts_of(target)], target)
    assert part(target, "2/3").lines()[-1].endswith(f"{command} --replace")


def test_a_part_that_does_not_fit_the_others_says_so(target: Path) -> None:
    lines = [
        part(target, shard, objects=objects, **options).lines()[-1]
        for shard, objects, options in (
            ("1/3", True, {}),
            ("2/3", None, {}),
            ("2/3", True, {"object_margin": 0.5}),
            ("2/3", True, {"object_margin": 0.1}),
            ("3/3", True, {}),
        )
    ]
    assert lines[1].startswith("`merge` will refuse these shards. The stores do not have the same")
    assert lines[2].startswith("`merge` will refuse these shards. The objects of the stores are c")
    assert "not finished yet: 3/3" in lines[3]
    assert "Join them" in lines[4]


def test_a_directory_with_the_name_of_a_file_is_merged_to_one(tmp_path: Path) -> None:
    (summary,) = all_parts(f"{tmp_path}/e.h5/", 1)
    assert summary.outlook.endswith(f"merge {tmp_path}/e.h5.parts -o {tmp_path}/e.h5/")


def test_what_a_merged_store_says_of_its_parts(tmp_path: Path) -> None:
    all_parts(tmp_path / "e.h5", 2)
    embed(tmp_path / "single.h5", source(), QuickFiles())
    merge_stores([parts_of(tmp_path / "e.h5")], tmp_path / "e.h5")
    with open_store(tmp_path / "e.h5") as merged, open_store(tmp_path / "single.h5") as single:
        found, expected = dict(merged.provenance), dict(single.provenance)
        entries = found.pop("merged")
        assert found | {"created": ""} == expected | {"created": ""}
    assert [entry["shard"]["number"] for entry in entries] == [1, 2]
    assert [entry["shard"]["dataset_n_items"] for entry in entries] == [N_ITEMS] * 2
    assert sum(entry["n_rows"] for entry in entries) == N_ITEMS


def test_parts_that_were_made_otherwise_say_so_in_the_merged_store(tmp_path: Path) -> None:
    class Elsewhere(FakeEncoder):
        def provenance(self) -> dict:
            return super().provenance() | {"openvino": "another"}

    part(tmp_path / "e.h5", "1/2")
    part(tmp_path / "e.h5", "2/2", encoder=Elsewhere())
    merge_stores([parts_of(tmp_path / "e.h5")], tmp_path / "e.h5")
    with open_store(tmp_path / "e.h5") as merged:
        one, two = merged.provenance["merged"]
    assert "openvino" not in one
    assert two["openvino"] == "another"


def test_parts_of_another_precision_are_refused(tmp_path: Path) -> None:
    class Elsewhere(FakeEncoder):
        def provenance(self) -> dict:
            return super().provenance() | {"precision": "bf16"}

    part(tmp_path / "e.h5", "1/2")
    part(tmp_path / "e.h5", "2/2", encoder=Elsewhere())
    with pytest.raises(ModelMismatchError, match="bf16"):
        merge_stores([parts_of(tmp_path / "e.h5")], tmp_path / "e.h5")


# Going on -----------------------------------------------------------------------------------------


def test_a_part_that_broke_goes_on_by_itself(target: Path, whole: dict) -> None:
    with pytest.raises(InferenceError):
        part(target, "1/2", encoder=Counting(stop_after=2))
    encoder = Counting()
    assert part(target, "1/2", encoder=encoder).n_reused == 8
    assert part(target, "2/2", encoder=encoder).n_reused == 0
    assert encoder.n_images == N_ITEMS - N_FAILED - 8
    merge_stores([parts_of(target)], target)
    with open_store(target) as store:
        assert content(store) == whole


def test_parts_are_written_at_the_same_time_but_one_part_by_one_writer(target: Path) -> None:
    class Nosy(Counting):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            if self.n_images == 8:
                with pytest.raises(StoreLockedError):
                    part(target, "1/2")
                part(target, "2/2")
            return super().embed(batch)

    part(target, "1/2", encoder=Nosy())
    assert merge_stores([parts_of(target)], target).n_items == N_ITEMS


def test_vectors_of_the_whole_are_re_used(target: Path, tmp_path: Path) -> None:
    """The parts of last month are gone, the dataset has grown: only what is new is embedded."""
    embed(target, source(range(20)), QuickFiles())
    encoder = Counting()
    summaries = [part(target, f"{n}/3", range(2, N_ITEMS), encoder) for n in (1, 2, 3)]
    assert encoder.n_images == sum(number % 7 != 6 for number in range(20, N_ITEMS))
    assert sum(summary.n_reused for summary in summaries) == sum(
        number % 7 != 6 for number in range(2, 20)
    )
    assert sum(summary.n_removed for summary in summaries) == 2
    with pytest.raises(StoreExistsError, match="use replace to replace it"):
        merge_stores([parts_of(target)], target)
    merge_stores([parts_of(target)], target, replace=True)
    embed(tmp_path / "anew.h5", source(range(2, N_ITEMS)), QuickFiles())
    with open_store(target) as store, open_store(tmp_path / "anew.h5") as anew:
        assert content(store) == content(anew)
        assert store.verify() == []


def test_vectors_of_an_unfinished_run_without_shards_are_re_used(target: Path, whole: dict) -> None:
    with pytest.raises(InferenceError):
        embed_source(
            source(),
            target,
            EmbedOptions(workers=1, commit_rows=3),
            notify=lambda line: None,
            encoder=Counting(stop_after=3),
        )
    encoder = Counting()
    for number in (1, 2):
        part(target, f"{number}/2", encoder=encoder)
    assert encoder.n_images == N_ITEMS - N_FAILED - 12
    merge_stores([parts_of(target)], target, replace=True)
    with open_store(target) as store:
        assert content(store) == whole


def test_restart_takes_nothing_of_the_whole(target: Path) -> None:
    embed(target, source(), QuickFiles())
    encoder = Counting()
    part(target, "1/1", encoder=encoder, restart=True)
    assert encoder.n_images == N_ITEMS - N_FAILED


def test_another_model_than_that_of_the_whole_is_refused_at_once(target: Path) -> None:
    embed(target, source(), QuickFiles())
    with pytest.raises(ModelMismatchError):
        part(target, "1/2", encoder=FakeEncoder(seed=1))
    assert not parts_of(target).exists()


# Refusals -----------------------------------------------------------------------------------------


def test_missing_parts_are_named(target: Path) -> None:
    part(target, "1/4")
    part(target, "3/4")
    with pytest.raises(InferenceError):
        part(target, "4/4", encoder=Counting(stop_after=1))
    with pytest.raises(StoreNotFoundError, match=r"lacks the shards 2/4, 4/4\. Run") as caught:
        merge_stores([parts_of(target)], target)
    assert caught.value.missing == ["2/4", "4/4"]
    named = list(Parts.of(target).finished().values())
    with pytest.raises(StoreNotFoundError, match=r"lacks the shards 2/4, 4/4\. Run"):
        merge_stores(named, target)
    assert not target.exists()


def test_parts_of_a_dataset_that_changed_meanwhile_are_refused(target: Path) -> None:
    part(target, "1/2")
    part(target, "2/2", range(N_ITEMS - 1))
    with pytest.raises(UsageError, match=r"dataset changed .*36 items.*35.* Run the shards"):
        merge_stores([parts_of(target)], target)
    part(target, "1/2", range(N_ITEMS - 1))
    assert merge_stores([parts_of(target)], target).n_items == N_ITEMS - 1


def test_parts_of_two_divisions_are_refused(tmp_path: Path) -> None:
    all_parts(tmp_path / "a.h5", 2)
    all_parts(tmp_path / "b.h5", 3)
    paths = [*parts_of(tmp_path / "a.h5").iterdir(), *parts_of(tmp_path / "b.h5").iterdir()]
    with pytest.raises(UsageError, match=r"so they have items in common"):
        merge_stores(sorted(paths), tmp_path / "c.h5")


def test_a_part_is_a_store_that_can_be_read(target: Path) -> None:
    summary = part(target, "2/3")
    with open_store(summary.store) as store, open_store(_single(target)) as single:
        assert store.verify() == []
        assert rows(store).items() < rows(single).items()
        assert all(Shard(3, 2).holds(store.key(row)) for row in range(len(store)))


def _single(target: Path) -> Path:
    embed(target.with_name("single.h5"), source(), QuickFiles())
    return target.with_name("single.h5")
