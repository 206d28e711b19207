"""Items that need no pixels (known, the same as another, broken): bounded, stopped, in order."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from crash.runs import LookingAhead, QuickFiles
from datumaro_embed import Status, open_store
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import InferenceError, RunInterruptedError
from datumaro_embed.pipeline import EmbedOptions, embed, embed_source, ordering
from datumaro_embed.pipeline.contents import Contents
from datumaro_embed.pipeline.ordering import ReadItem, rows_in_order
from datumaro_embed.records import ItemKey, ItemRecord
from datumaro_embed.store import Hdf5Stores
from support import picture

FEW = 16
OPTIONS = EmbedOptions(workers=2)
go = partial(embed_source, progress=False, backend=Hdf5Stores(QuickFiles()))


@pytest.fixture
def few_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "MAX_WAITING_ROWS", FEW)
    monkeypatch.setattr(ordering, "MAX_WAITING_ROWS", FEW)
    monkeypatch.setattr(embed, "_CONTENTS_KEPT", 0)


def dataset(media: list[Image]) -> SourceDataset:
    items = [DatasetItem(f"{i:05}", media=medium) for i, medium in enumerate(media)]
    return SourceDataset(Dataset.from_iterable(items))


def png(seed: int) -> bytes:
    stream = BytesIO()
    picture(seed).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.usefixtures("few_may_wait")
def test_rows_do_not_pile_up_behind_a_batch_without_an_answer() -> None:
    encoder = LookingAhead(batch_size=4)
    side = encoder.image_size_px
    with_pixels = {0, 200, 201, 202, 203, 204, 299}
    items = [
        ReadItem(
            ItemRecord(ItemKey("", str(i))),
            i,
            pixels=np.full((side, side, 3), i % 256, np.uint8) if i in with_pixels else None,
        )
        for i in range(300)
    ]
    written: list[str] = []
    n_taken = most = 0

    def taken() -> Iterator[ReadItem]:
        nonlocal n_taken
        for item in items:
            n_taken += 1
            yield item

    def watched() -> bool:
        nonlocal most
        most = max(most, n_taken - len(written))
        return False

    for record, _, _ in rows_in_order(taken(), encoder, Contents(8, "float16"), stop=watched):
        written.append(record.key.id)
    assert written == [str(i) for i in range(300)]
    assert most <= FEW


@pytest.mark.usefixtures("few_may_wait")
def test_a_first_item_is_not_forgotten_before_its_twin_is_written(tmp_path: Path) -> None:
    broken = [Image.from_bytes(data=png(i)[:-40]) for i in range(1, 100)]
    same = Image.from_bytes(data=png(0))
    encoder = LookingAhead()
    go(dataset([same, same, *broken]), tmp_path / "e.h5", OPTIONS, encoder=encoder)
    with open_store(tmp_path / "e.h5") as store:
        assert store.statuses.tolist()[:2] == [Status.OK, Status.OK]
        assert Status.OK not in store.statuses[2:]
        np.testing.assert_array_equal(store.embeddings([0]), store.embeddings([1]))


@pytest.mark.usefixtures("few_may_wait")
@pytest.mark.parametrize("objects", [False, True])
def test_a_first_item_is_not_forgotten_while_a_slow_encoder_lets_threads_read_ahead(
    tmp_path: Path, objects: bool
) -> None:
    class Slow(FakeEncoder):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            time.sleep(0.5)
            return super().embed(batch)

    first = [Image.from_bytes(data=png(i)) for i in range(1, 5)]
    same = Image.from_bytes(data=png(0))
    others = [Image.from_bytes(data=png(i)[:-40]) for i in range(5, 300)]
    options = EmbedOptions(workers=2, objects=objects)  # with objects, more items are read ahead
    encoder = Slow(batch_size=4)
    go(dataset([*first, same, same, *others]), tmp_path / "e.h5", options, encoder=encoder)
    with open_store(tmp_path / "e.h5") as store:
        np.testing.assert_array_equal(store.embeddings([4]), store.embeddings([5]))
        assert store.statuses[:6].tolist() == [Status.OK] * 6


@pytest.mark.parametrize("readable", [True, False])
def test_a_signal_ends_a_run_that_has_nothing_to_embed(tmp_path: Path, readable: bool) -> None:
    n_read = 0

    def read(number: int, *, stop_at: int = -1) -> np.ndarray:
        nonlocal n_read
        n_read += 1
        if n_read == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if not readable:
            raise OSError("no such picture")
        return np.full((8, 8, 3), number % 256, np.uint8)

    def items(stop_at: int) -> SourceDataset:
        return dataset([Image.from_numpy(partial(read, i, stop_at=stop_at)) for i in range(2000)])

    go(items(-1), tmp_path / "e.h5", OPTIONS, encoder=FakeEncoder())
    n_read = 0
    with pytest.raises(RunInterruptedError, match="SIGTERM"):
        go(items(10), tmp_path / "e.h5", OPTIONS, encoder=FakeEncoder())
    assert n_read < 500


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.empty((0, 16), np.float32), r"an array of shape \(0, 16\) for 1 images"),
        ([[1.0, 0.0]], "a list for 1 images"),
        (None, "a NoneType for 1 images"),
    ],
)
def test_an_encoder_that_answers_with_no_vectors_ends_the_run(
    tmp_path: Path, answer: Any, message: str
) -> None:
    class Deaf(FakeEncoder):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            return answer

    with pytest.raises(InferenceError, match=message + r"\. Check it .*ImageEncoderContract"):
        go(dataset([Image.from_bytes(data=png(0))]), tmp_path / "e.h5", OPTIONS, encoder=Deaf())
