"""A sealed file made of segments takes the memory of a few blocks."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from crash.runs import QuickFiles
from datumaro_embed.records import AnnotationRecord, ItemKey, ItemRecord
from datumaro_embed.store import hdf5, open_store
from datumaro_embed.vectors import VectorKind
from store_support import begin


@pytest.mark.slow
def test_publishing_is_bounded_in_memory(tmp_path: Path) -> None:
    vector = np.zeros(2048, np.float32)
    vector[0] = 1
    boxes = tuple(AnnotationRecord("bbox", coords=(1.0, 2.0, 3.0, 4.0)) for _ in range(5))
    with begin(
        tmp_path / "store.h5", dim=2048, dtype="float32", commit_rows=500, files=QuickFiles()
    ) as run:
        for number in range(12_000):
            run.append(ItemRecord(ItemKey("", f"{number:05}"), annotations=boxes), vector)
        run.suspend()
        tracemalloc.start()
        run.seal({})
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    size = (tmp_path / "store.h5").stat().st_size
    assert size > 100e6
    assert peak < 30e6, f"{peak / 1e6:.0f} MB for a file of {size / 1e6:.0f} MB"
    with open_store(tmp_path / "store.h5") as store:
        assert (store.n_rows, store.count("annotations")) == (12_000, 60_000)


def test_a_skeleton_does_not_grow_with_the_store() -> None:
    small, large = (
        hdf5._lay_out({"items/vector": ("<f2", (n, 512))}, VectorKind(512), "0" * 32)[0]
        for n in (1, 10_000_000_000)
    )
    assert large.size_bytes > 10**13
    assert sum(len(data) for data in large.blocks.values()) <= 40_000
    assert abs(len(large.blocks) - len(small.blocks)) <= 2
