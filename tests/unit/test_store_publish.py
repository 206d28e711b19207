"""A sealed file made of shards takes the memory of a few blocks."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np

from crash.runs import QuickFiles
from datumaro_embed.records import AnnotationRecord, ItemKey, ItemRecord
from datumaro_embed.store import ShardRun, open_store
from datumaro_embed.store.skeleton import make_skeleton, shapes_of
from datumaro_embed.store.writer import new_info


def test_publishing_is_bounded_in_memory(tmp_path: Path) -> None:
    vector = np.zeros(2048, np.float32)
    vector[0] = 1
    boxes = tuple(AnnotationRecord("bbox", coords=(1.0, 2.0, 3.0, 4.0)) for _ in range(5))
    run = ShardRun(
        tmp_path / "store.h5.work", dim=2048, dtype="float32", shard_rows=500, files=QuickFiles()
    )
    with run:
        for number in range(12_000):
            run.append(ItemRecord(ItemKey("", f"{number:05}"), annotations=boxes), vector)
        run.suspend()
        tracemalloc.start()
        run.publish(tmp_path / "store.h5", {})
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    size = (tmp_path / "store.h5").stat().st_size
    assert size > 100e6
    assert peak < 30e6, f"{peak / 1e6:.0f} MB for a file of {size / 1e6:.0f} MB"
    with open_store(tmp_path / "store.h5") as store:
        assert (store.n_rows, store.n_annotations) == (12_000, 60_000)


def test_a_skeleton_does_not_grow_with_the_store() -> None:
    from datumaro_embed.store.columns import ColumnBuilder

    arrays = ColumnBuilder(512).finish({})
    info = new_info("x", arrays, "")
    shapes = dict(shapes_of(arrays))
    small = make_skeleton(shapes, info)
    shapes["items/embedding"] = ("<f2", (10_000_000_000, 512))
    large = make_skeleton(shapes, info)
    assert large.size_bytes > 10**13
    assert sum(len(data) for _, data in large.headers) <= 40_000
    assert abs(len(large.headers) - len(small.headers)) <= 2
