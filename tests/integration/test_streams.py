"""A stream that gives other vectors is found: in the first batch, and before rows become a store.

OpenVINO computes everything here. `Faulty` stands between it and the engine, and changes one row
of what one request gives.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from datumaro_embed import open_store
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.encoders.engine import Engine
from datumaro_embed.errors import InferenceError, StreamDisagreementError
from datumaro_embed.models import resolve_model
from datumaro_embed.pipeline import EmbedOptions, embed_source
from model_support import largest_constant

pytestmark = pytest.mark.slow

BATCH = 4
ROW = 2

Change = Callable[[Any], Any]


def one_bit(row: Any) -> Any:
    return (row.view(np.uint32) ^ 1).view(np.float32)


CHANGES: dict[str, Change] = {
    "one bit": one_bit,
    "zeros": np.zeros_like,
    "not finite": lambda row: np.full_like(row, np.nan),
    "another direction": lambda row: np.roll(row, 1),
    "twice as long": lambda row: 2 * row,
}


class Faulty:
    """A request that changes one row of its output."""

    def __init__(self, real: Any, change: Change, *, row: int = ROW) -> None:
        self._real, self._change, self._row = real, change, row
        self.set_tensor, self.start_async = real.set_tensor, real.start_async
        self.wait = real.wait

    def get_output_tensor(self, index: int) -> ov.Tensor:
        found = self._real.get_output_tensor(index).data.copy()
        found[self._row] = self._change(found[self._row])
        return ov.Tensor(found)


class Requests:
    """Counts the requests of an engine, and what they run; the n-th of each graph may be faulty."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.faulty: dict[int, Callable[[Any], Any]] = {}
        self.n_made = self.n_runs = self.n_compiled = 0
        make, compile_graph = Engine._new_request, Engine._compile

        def compile_again(engine: Engine) -> None:
            self.n_made = 0
            self.n_compiled += 1
            compile_graph(engine)

        def new_request(engine: Engine) -> Any:
            real = make(engine)
            wrap = self.faulty.get(self.n_made, lambda real: real)
            self.n_made += 1
            return Counted(wrap(real), self)

        monkeypatch.setattr(Engine, "_new_request", new_request)
        monkeypatch.setattr(Engine, "_compile", compile_again)


class Counted:
    def __init__(self, real: Any, requests: Requests) -> None:
        self._real, self._requests = real, requests
        self.set_tensor, self.wait = real.set_tensor, real.wait
        self.get_output_tensor = real.get_output_tensor

    def start_async(self) -> None:
        self._requests.n_runs += 1
        self._real.start_async()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(monkeypatch)


def load(**options: Any) -> ClipEncoder:
    return ClipEncoder.load("demo", batch_size=BATCH, streams=2, **options)


def batches(encoder: ClipEncoder, n_batches: int, *, first: int = BATCH, last: int = BATCH) -> Any:
    """Full batches, but for the sizes of the first and the last."""
    side = encoder.image_size_px
    for seed, size in enumerate([first, *[BATCH] * (n_batches - 2), last][:n_batches]):
        yield np.random.default_rng(seed).integers(0, 256, (size, side, side, 3), dtype=np.uint8)


def source(n_items: int) -> SourceDataset:
    items = [
        DatasetItem(
            f"{number:03}",
            media=Image.from_numpy(
                np.random.default_rng(number).integers(0, 256, (70, 70, 3), dtype=np.uint8)
            ),
        )
        for number in range(n_items)
    ]
    return SourceDataset(Dataset.from_iterable(items, categories=["cat"]))


# ------------------------------------------------------------------------------------ first batch


@pytest.mark.parametrize(
    ("change", "first"),
    [*((name, BATCH) for name in CHANGES), ("one bit", BATCH - 1)],
)
def test_a_wrong_row_on_one_stream_is_an_error_in_the_first_batch(
    change: str, first: int, requests: Requests
) -> None:
    encoder = load(precision="f32")
    requests.faulty[1] = lambda real: Faulty(real, CHANGES[change])
    with pytest.raises(
        StreamDisagreementError, match=r"row 2.*OpenVINO 20\d\d.*2 streams"
    ) as caught:
        next(iter(encoder.embed_pixels(batches(encoder, 3, first=first))))
    assert caught.value.rows == [ROW]
    assert caught.value.openvino in str(caught.value)
    assert caught.value.device_name in str(caught.value)
    assert not isinstance(caught.value, InferenceError)
    assert pickle.loads(pickle.dumps(caught.value)).rows == [ROW]


@pytest.fixture(scope="module")
def sound_rows() -> list[Any]:
    """Return what five batches are, without a fault."""
    sound = load(precision="f32")
    return list(sound.embed_pixels(batches(sound, 5)))


@pytest.mark.parametrize(("change", "number"), [("one bit", 0), ("one bit", 1), ("not finite", 1)])
def test_a_graph_that_was_compiled_wrongly_is_compiled_again(
    change: str,
    number: int,
    sound_rows: list[Any],
    requests: Requests,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """All requests of the first graph's stream are faulty; none of the next one is."""

    def once(real: Any) -> Any:
        return Faulty(real, CHANGES[change]) if requests.n_compiled == 1 else real

    encoder = load(precision="f32")
    requests.faulty[number] = once
    found = list(encoder.embed_pixels(batches(encoder, 5)))
    assert requests.n_compiled == 2
    assert "image encoder incorrectly" in caplog.text
    for rows, expected in zip(found, sound_rows, strict=True):
        np.testing.assert_array_equal(rows, expected)


def test_a_wrong_row_of_the_text_encoder(requests: Requests) -> None:
    encoder = load()
    requests.faulty[1] = lambda real: Faulty(real, one_bit, row=0)
    with pytest.raises(StreamDisagreementError, match="text encoder"):
        encoder.embed_texts(["a cat"])


@pytest.mark.parametrize("number", range(4))
def test_no_wrong_request_goes_unnoticed(requests: Requests, number: int) -> None:
    requests.faulty[number] = lambda real: Faulty(real, one_bit)

    def embed() -> None:
        encoder = load()
        list(encoder.embed_pixels(batches(encoder, 9)))
        encoder.confirm()

    with pytest.raises(StreamDisagreementError):
        embed()


@pytest.mark.parametrize(
    ("sizes", "n_more"),
    [
        ({"first": BATCH - 1, "last": BATCH - 2}, 1),  # as a run gives them
        ({"first": BATCH - 1, "last": BATCH - 1}, 1 + 2),  # two streams, but one row to spare
        ({}, 1 + 1 + 2),  # golden vector, first batch on another stream, again on both
    ],
)
def test_what_it_costs(requests: Requests, sizes: dict[str, int], n_more: int) -> None:
    """Batches beyond those of the images, with two streams."""
    encoder = load()
    given = list(batches(encoder, 9, **sizes))
    found = list(encoder.embed_pixels(given))
    for _ in range(2):  # nothing is computed between
        encoder.confirm()
        assert requests.n_runs == 9 + n_more
    for rows, batch in zip(found, given, strict=True):
        np.testing.assert_array_equal(rows, *encoder.embed_pixels([batch]))


@pytest.mark.parametrize("number", [2, 3])
def test_rows_of_the_first_batch_are_compared_in_the_last_ones(
    requests: Requests, number: int
) -> None:
    """Also on requests that did not exist when the first batch was computed."""
    requests.faulty[number] = lambda real: Faulty(real, one_bit, row=BATCH - 1)
    encoder = load()
    with pytest.raises(StreamDisagreementError, match=r"than at first.*with restart"):
        list(encoder.embed_pixels(batches(encoder, 9, last=1)))


def test_weights_that_change_in_memory_are_found() -> None:
    """No seam: OpenVINO computes with other weights."""
    encoder = load(precision="f32")
    texts = ["a cat", "two dogs in a garden"]
    before = encoder.embed_texts(texts)
    encoder.confirm()
    assert encoder._text_engine is not None
    table = largest_constant(resolve_model("demo") / "text_encoder.xml")
    encoder._text_engine._weights[table] ^= 0x10
    assert np.abs(encoder.embed_texts(texts) - before).max() > 0.001
    with pytest.raises(StreamDisagreementError, match=r"text encoder.*than at first.*with restart"):
        encoder.confirm()


# ------------------------------------------------------------------------------------ in a run


def test_a_run_ends_at_its_first_batch_and_nothing_is_tried_again(
    tmp_path: Path, requests: Requests
) -> None:
    requests.faulty[1] = lambda real: Faulty(real, one_bit)
    with pytest.raises(StreamDisagreementError):
        embed_source(source(30), tmp_path / "e.h5", EmbedOptions(), encoder=load())
    assert requests.n_runs == 2 * 2  # compiled twice; the golden vector is a row of the batch
    assert not (tmp_path / "e.h5").exists()


@pytest.mark.parametrize(("n_items", "n_kept"), [(29, 16), (30, 24)])  # in the last batches; after
def test_a_fault_before_sealing_leaves_what_was_committed_and_no_more(
    tmp_path: Path, requests: Requests, n_items: int, n_kept: int
) -> None:
    options = EmbedOptions(commit_rows=8)
    encoder = load()
    requests.faulty = {number: lambda real: Faulty(real, one_bit, row=3) for number in (2, 3)}
    with pytest.raises(StreamDisagreementError, match="with restart"):
        embed_source(source(n_items), tmp_path / "e.h5", options, encoder=encoder)
    requests.faulty = {}
    assert not (tmp_path / "e.h5").exists()

    said: list[str] = []
    sound = load()
    embed_source(source(n_items), tmp_path / "e.h5", options, encoder=sound, notify=said.append)
    assert said[0].startswith(f"{n_kept} rows are kept from an earlier run")


def test_a_fault_in_the_first_batch_leaves_what_an_earlier_run_committed(
    tmp_path: Path, requests: Requests
) -> None:
    """And the same command goes on from there, to the store of a run that was never stopped."""
    options = EmbedOptions(commit_rows=8)
    sound = load()
    embed_source(source(30), tmp_path / "whole.h5", options, encoder=sound)
    embed_source(source(16), tmp_path / "e/", options, encoder=sound)
    requests.faulty[0] = lambda real: Faulty(real, one_bit)
    with pytest.raises(StreamDisagreementError):
        embed_source(source(30), tmp_path / "e/", options, encoder=load())
    with open_store(tmp_path / "e") as kept:
        assert kept.verify() == []

    summary = embed_source(source(30), tmp_path / "e/", options, encoder=sound)

    assert (summary.n_reused, summary.n_computed) == (16, 14)
    with open_store(tmp_path / "e") as store, open_store(tmp_path / "whole.h5") as whole:
        np.testing.assert_array_equal(store.embeddings(), whole.embeddings())


def test_other_threads_wait_for_the_first_batch() -> None:
    encoder = load()
    expected = np.concatenate(list(encoder.embed_pixels(batches(encoder, 3))))
    other = load()
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(
                lambda _: np.concatenate(list(other.embed_pixels(batches(other, 3)))), range(4)
            )
        )
    for rows in found:
        np.testing.assert_array_equal(rows, expected)
