"""How vectors were computed: vectors of two ways never stand in one store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crash.runs import N_ITEMS, QuickFiles, content, source
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import ModelMismatchError, RunInterruptedError
from datumaro_embed.maintenance import compact_store, merge_stores, repair_store
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.pipeline.progress import EmbedSummary
from datumaro_embed.store import Hdf5Stores, open_store
from datumaro_embed.vectors import VectorKind
from store_support import create_store

WITH_IMAGE = N_ITEMS - 5


class Precise(FakeEncoder):
    """Says of itself how it computes; can stop after some batches."""

    def __init__(self, precision: str = "f32", *, stop_after: int = -1) -> None:
        super().__init__()
        self._precision, self._n_left = precision, stop_after

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), "precision": self._precision, "device": "CPU"}

    def embed(self, batch: np.ndarray) -> np.ndarray:
        if self._n_left == 0:
            raise RunInterruptedError("stop. Go on.", exit_status=130)
        self._n_left -= 1
        return super().embed(batch)


def go(
    target: Path | str, encoder: FakeEncoder | None = None, **options: Any
) -> tuple[EmbedSummary, list[str]]:
    said: list[str] = []
    summary = embed_source(
        source(),
        target,
        EmbedOptions(workers=1, commit_rows=3, **options),
        progress=False,
        notify=said.append,
        encoder=encoder or Precise(),
        backend=Hdf5Stores(QuickFiles()),
    )
    return summary, said


@pytest.fixture(params=["store.h5", "store"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


@pytest.mark.parametrize(
    ("provenance", "settings"),
    [
        ({}, ""),
        ({"precision": "bf16"}, ""),
        ({"precision": "f32", "device": "CPU"}, "f32 on CPU"),
        ({"precision": "f16", "device": "GPU.1,GPU.0"}, "f16 on GPU"),
        ({"precision": "f32", "device": "(CPU)"}, "f32 on CPU"),
        ({"precision": "f32", "device": "CPU", "decode": "exact"}, "f32 on CPU"),
        ({"precision": "f32", "device": "CPU", "decode": "fast"}, "f32 on CPU, fast decoding"),
        ({"precision": "f32", "device": "CPU", "depth_range": "auto"}, "f32 on CPU"),
        (
            {"precision": "f32", "device": "CPU", "depth_range": "full"},
            "f32 on CPU, depth range full",
        ),
        ({"precision": 32, "device": None}, ""),
    ],
)
def test_settings_of_a_provenance(provenance: Mapping[str, Any], settings: str) -> None:
    assert VectorKind.settings_of(provenance) == settings


@pytest.mark.parametrize(
    ("settings", "depth_range"),
    [
        ("", "auto"),
        ("f32 on CPU, fast decoding", "auto"),
        ("f32 on CPU, fast decoding, depth range -5:0.25", "-5:0.25"),
    ],
)
def test_settings_tell_the_depth_range(settings: str, depth_range: str) -> None:
    assert VectorKind(2, settings=settings).depth_range == depth_range


def test_unknown_settings_fit_any_and_others_only_themselves() -> None:
    unknown, f32, bf16 = (VectorKind(2, settings=s) for s in ("", "f32 on CPU", "bf16 on CPU"))
    assert unknown.fits(f32)
    assert f32.fits(unknown)
    assert f32.fits(f32)
    assert not f32.fits(bf16)
    assert not f32.fits(replace(f32, dtype="float32"))
    assert not f32.fits(replace(f32, fingerprint="other"))
    assert f32.same_model(bf16)


def test_a_store_and_its_segments_say_how_they_were_computed(target: Path) -> None:
    go(target, Precise("bf16"))
    with open_store(target) as store:
        assert store.kind.settings == "bf16 on CPU"
        assert {part.kind for part in store.parts} == {store.kind}


def test_other_settings_re_use_nothing_of_a_finished_store(target: Path) -> None:
    go(target)
    summary, said = go(target, Precise("bf16"))
    assert (summary.n_reused, summary.n_computed) == (0, WITH_IMAGE)
    assert "f32 on CPU, but this run makes" in said[0]
    assert "bf16 on CPU, so every image is embedded again" in said[0]
    with open_store(target) as store:
        assert store.kind.settings == "bf16 on CPU"
        assert store.verify() == []
    assert go(target, Precise("bf16"))[0].n_reused == WITH_IMAGE


def test_an_unfinished_run_of_other_settings_is_refused_and_stays(target: Path) -> None:
    with pytest.raises(RunInterruptedError):
        go(target, Precise(stop_after=4))
    work = target if target.suffix == "" else Path(f"{target}.work")
    with open_store(work, partial=True) as store:
        assert store.kind.settings == "f32 on CPU"
    with pytest.raises(ModelMismatchError, match=r"unfinished run.*f32 on CPU, but .*use restart"):
        go(target, Precise("bf16"))
    assert go(target)[0].n_reused > 0
    go(target, Precise("bf16"), restart=True)
    with open_store(target) as store:
        assert store.kind.settings == "bf16 on CPU"


def test_vectors_of_unknown_settings_are_trusted(target: Path, tmp_path: Path) -> None:
    encoder = Precise()
    go(tmp_path / "new.h5", encoder)
    with (
        open_store(tmp_path / "new.h5") as new,
        create_store(target, dim=encoder.dim, run_fingerprint=encoder.fingerprint) as old,
    ):
        for row in range(len(new)):
            record = new.item(row)
            old.append(record, None if record.status else new.embeddings([row])[0])
        old.seal({})
    assert go(target, encoder)[0].n_reused == WITH_IMAGE


def test_compacting_keeps_the_settings(tmp_path: Path) -> None:
    go(tmp_path / "store")
    compact_store(tmp_path / "store", commit_rows=10)
    with open_store(tmp_path / "store") as store:
        assert {part.kind.settings for part in store.parts} == {"f32 on CPU"}
    assert go(tmp_path / "store", Precise("bf16"))[0].n_reused == 0


def test_stores_of_other_settings_are_not_merged(tmp_path: Path) -> None:
    for name in ("f32", "bf16"):
        go(tmp_path / f"{name}.h5", Precise(name))
    one, two = tmp_path / "f32.h5", tmp_path / "bf16.h5"
    with pytest.raises(
        ModelMismatchError, match=r"bf16\.h5.*bf16 on CPU, but .*f32 on CPU is required"
    ):
        merge_stores([one, two], tmp_path / "c.h5", on_duplicate="first")
    merge_stores([one, one], tmp_path / "c.h5", on_duplicate="first")
    with open_store(tmp_path / "c.h5") as merged:
        assert merged.kind.settings == "f32 on CPU"


def test_repair_takes_no_shard_of_other_settings(tmp_path: Path) -> None:
    """A finished store in f32, and in its directory a run in bf16 that did not end."""
    target = tmp_path / "store"
    go(target)
    with open_store(target) as store:
        before = content(store)
    with pytest.raises(RunInterruptedError):
        go(target, Precise("bf16", stop_after=4))
    summary = repair_store(target, tmp_path / "new.h5")
    assert list(summary.left_out) == []  # the manifest of the finished store names none of them
    with open_store(tmp_path / "new.h5") as repaired:
        assert repaired.kind.settings == "f32 on CPU"
        assert content(repaired) == before
