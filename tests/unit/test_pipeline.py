"""The pipeline on the fake encoder: order, failures, what is left behind."""

from __future__ import annotations

import argparse
import io
import logging
import sys
import threading
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from datumaro.components.annotation import Bbox, Caption
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from crash.runs import LookingAhead
from datumaro_embed import Status, embed_dataset, open_store
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import EmbedWarning, InferenceError, ItemFailedError, UsageError
from datumaro_embed.flags import add_embed_arguments
from datumaro_embed.images import read_image
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.pipeline.progress import EmbedSummary, talk
from datumaro_embed.tally import Tally
from datumaro_embed.testing import MemoryStores
from store_support import row_content


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def source(n_items: int, bad: Iterable[int] = ()) -> SourceDataset:
    """Items 0 … n-1 in reverse order; those in ``bad`` have no file."""
    items = [
        DatasetItem(
            f"{number:03}",
            subset="train",
            media=Image.from_file(f"/nowhere/{number:03}.png")
            if number in bad
            else Image.from_numpy(pixels(number)),
        )
        for number in reversed(range(n_items))
    ]
    return SourceDataset(Dataset.from_iterable(items, categories=["cat"]))


@pytest.mark.parametrize("n_items", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("bad", [set(), {0}, {3, 4, 5}, set(range(0, 40, 2)), set(range(40))])
def test_row_i_is_item_i_whatever_fails(tmp_path: Path, n_items: int, bad: set[int]) -> None:
    encoder = FakeEncoder(batch_size=8)

    summary = embed_source(
        source(n_items, bad), tmp_path / "e.h5", EmbedOptions(workers=3), encoder=encoder
    )

    failed = bad & set(range(n_items))
    with open_store(tmp_path / "e.h5") as store:
        assert [key.id for key in store.keys()] == [f"{number:03}" for number in range(n_items)]
        for row in range(n_items):
            expected = np.zeros(encoder.dim, np.float32)
            if row not in failed:
                bgr_as_rgb = pixels(row)[..., ::-1]
                expected = encoder.embed_images([np.ascontiguousarray(bgr_as_rgb)])[0]
            np.testing.assert_array_equal(store.embeddings([row])[0], expected.astype(np.float16))
            assert store.statuses[row] == (Status.MISSING if row in failed else Status.OK)
    assert (summary.n_items, summary.n_failed) == (n_items, len(failed))
    assert summary.failures.get(Status.MISSING, Tally()).total == len(failed)


def test_batch_size_and_workers_do_not_change_a_vector(tmp_path: Path) -> None:
    stores = []
    for batch_size, workers in ((1, 1), (4, 2), (64, 5)):
        target = tmp_path / f"{batch_size}.h5"
        embed_source(
            source(30, {11}),
            target,
            EmbedOptions(workers=workers),
            encoder=FakeEncoder(batch_size=batch_size),
        )
        with open_store(target) as store:
            stores.append(row_content(store))
    assert stores[0] == stores[1] == stores[2]


class Gone(FakeEncoder):
    """Gives two batches and then nothing ever again, as a device that was unplugged."""

    n_batches = 0

    def embed(self, batch: np.ndarray) -> np.ndarray:
        self.n_batches += 1
        if self.n_batches > 2:
            raise InferenceError("the device is gone. Plug it in.")
        return super().embed(batch)


def test_a_device_that_is_gone_ends_the_run_with_its_cause_and_keeps_what_is_embedded(
    tmp_path: Path,
) -> None:
    target, said = tmp_path / "deep" / "e.h5", []
    with pytest.raises(InferenceError, match="the device is gone"):
        embed_source(
            source(40), target, EmbedOptions(), encoder=Gone(batch_size=4), notify=said.append
        )
    assert not target.exists()
    assert said == [
        f"Created the folder '{target.parent}'.",
        f"8 rows are kept for '{target}'. Run the same command again to continue.",
    ]
    summary = embed_source(source(40), target, EmbedOptions(), encoder=FakeEncoder(batch_size=4))
    assert (summary.n_reused, summary.n_computed) == (8, 32)
    assert [path.name for path in target.parent.iterdir()] == ["e.h5"]


class Choking(LookingAhead):
    """Fails on every batch that holds one of some images, or gives NaN for these alone."""

    def __init__(self, bad: set[int], *, nan: bool = False) -> None:
        super().__init__(batch_size=4)
        self.bad = [self.preprocess(read_image(pixels(i), channel_order="bgr")[0]) for i in bad]
        self.nan = nan
        self.sizes: list[int] = []

    def embed(self, batch: np.ndarray) -> np.ndarray:
        self.sizes.append(len(batch))
        wrong = [any((row == bad).all() for bad in self.bad) for row in batch]
        if any(wrong) and not self.nan:
            raise InferenceError("it choked. Chew better.")
        vectors = super().embed(batch)
        vectors[wrong] = np.nan
        return vectors


@pytest.mark.parametrize("bad", [{0}, {39}, {5, 6, 22}, {8, 9, 10, 11}, set(range(0, 40, 4))])
@pytest.mark.parametrize("nan", [False, True])
def test_a_batch_that_fails_is_tried_item_by_item_once(
    tmp_path: Path, bad: set[int], nan: bool
) -> None:
    encoder = Choking(bad, nan=nan)
    missing = {2, 3, 30}

    embed_source(source(40, missing), tmp_path / "e.h5", EmbedOptions(), encoder=encoder)

    expected = source_vectors(40)
    with open_store(tmp_path / "e.h5") as store:
        assert [key.id for key in store.keys()] == [f"{number:03}" for number in range(40)]
        for row in range(40):
            if row in missing:
                assert store.statuses[row] == Status.MISSING
            elif row in bad:
                assert store.statuses[row] == Status.INFERENCE_FAILED
                assert ("not finite" if nan else "it choked") in store.item(row).error
                assert not store.embeddings([row]).any()
            else:
                assert store.statuses[row] == Status.OK
                np.testing.assert_array_equal(store.embeddings([row])[0], expected[row])
    # Each image at most: in its batch, and alone.
    assert encoder.sizes.count(1) <= 4 * len(bad) + 2


def source_vectors(n_items: int) -> np.ndarray:
    arrays = [np.ascontiguousarray(pixels(number)[..., ::-1]) for number in range(n_items)]
    return FakeEncoder(batch_size=8).embed_images(arrays).astype(np.float16)


def test_an_item_that_cannot_be_embedded_ends_a_run_that_shall_not_go_on(tmp_path: Path) -> None:
    with pytest.raises(ItemFailedError, match="train/005: it choked"):
        embed_source(
            source(9), tmp_path / "e.h5", EmbedOptions(on_error="fail"), encoder=Choking({5})
        )


def test_an_exception_that_is_no_inference_error_ends_the_run(tmp_path: Path) -> None:
    class Buggy(FakeEncoder):
        def preprocess(self, image: Any) -> np.ndarray:
            raise ZeroDivisionError("in a thread")

    with pytest.raises(ZeroDivisionError, match="in a thread"):
        embed_source(source(40), tmp_path / "e.h5", EmbedOptions(workers=3), encoder=Buggy())
    assert not [t for t in threading.enumerate() if t.name.startswith("datumaro-embed")]


def test_an_encoder_that_takes_no_batch_ends_the_run(tmp_path: Path) -> None:
    class Closed(FakeEncoder):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            raise InferenceError("no request can be made. Try another device.")

    with pytest.raises(InferenceError, match="no request can be made"):
        embed_source(source(9), tmp_path / "e.h5", EmbedOptions(), encoder=Closed())


@pytest.mark.parametrize("n_twins", [2, 30])
def test_equal_bytes_are_embedded_once(tmp_path: Path, n_twins: int) -> None:
    """Images a, a, …, b, b, …: in files, and a region of one beside them."""
    from datumaro.components.media import RoIImage

    def write(number: int) -> Path:
        path = tmp_path / f"{number}.png"
        PIL.Image.fromarray(pixels(number)).save(path)
        return path

    files = [write(0), write(1)]
    (tmp_path / "broken.png").write_bytes(files[0].read_bytes()[:-60])
    files.append(tmp_path / "broken.png")
    items = [
        DatasetItem(f"{kind}{i:02}", subset="train", media=Image.from_file(str(path)))
        for kind, path in enumerate(files)
        for i in range(n_twins)
    ]
    region = RoIImage.from_image(Image.from_file(str(files[0])), (0, 0, 10, 10))
    items.append(DatasetItem("3", subset="train", media=region))
    encoder = Choking(set())

    dataset = SourceDataset(Dataset.from_iterable(items, categories=["cat"]))
    embed_source(dataset, tmp_path / "e.h5", EmbedOptions(workers=4), encoder=encoder)

    assert sum(encoder.sizes) == 3
    expected = encoder.embed_images([files[0], files[1]]).astype(np.float16)
    with open_store(tmp_path / "e.h5") as store:
        for row in range(2 * n_twins):
            np.testing.assert_array_equal(store.embeddings([row])[0], expected[row // n_twins])
        broken = store.statuses[2 * n_twins : 3 * n_twins]
        assert set(broken.tolist()) == {Status.UNREADABLE}
        assert len({store.item(row).error for row in range(2 * n_twins, 3 * n_twins)}) == 1
        assert store.statuses[3 * n_twins] == Status.OK
        assert (store.embeddings([3 * n_twins])[0] != expected[0]).any()


def test_fast_decoding_is_another_setting_and_re_uses_nothing(tmp_path: Path) -> None:
    for number in range(3):
        PIL.Image.fromarray(pixels(number)).resize((320, 240)).save(tmp_path / f"{number}.jpg")
    items = [
        DatasetItem(f"{i}", subset="train", media=Image.from_file(str(tmp_path / f"{i}.jpg")))
        for i in range(3)
    ]
    dataset = SourceDataset(Dataset.from_iterable(items, categories=["cat"]))
    target, found = tmp_path / "e.h5", {}
    for decode, n_reused in (("exact", 0), ("fast", 0), ("fast", 3), ("exact", 0)):
        options = EmbedOptions(decode=decode)
        summary = embed_source(dataset, target, options, encoder=FakeEncoder())
        assert summary.n_reused == n_reused
        with open_store(target) as store:
            assert store.provenance["decode"] == decode
            assert store.widths.tolist() == [320] * 3
            vectors = store.embeddings().astype(np.float32)
        np.testing.assert_array_equal(found.setdefault(decode, vectors), vectors)
    assert (found["exact"] != found["fast"]).any()
    assert (np.sum(found["exact"] * found["fast"], axis=1) > 0.99).all()


def test_flags_have_the_defaults_of_the_options() -> None:
    parser = argparse.ArgumentParser()
    add_embed_arguments(parser)
    flags = vars(parser.parse_args(["--store", "e.h5"]))
    options = {field.name: getattr(EmbedOptions(), field.name) for field in fields(EmbedOptions)}
    assert {name: flags[name] for name in options} == options


def test_verbose_says_which_settings_were_chosen(tmp_path: Path) -> None:
    said: list[str] = []
    embed_source(
        source(3),
        tmp_path / "e.h5",
        EmbedOptions(verbose=True, workers=3, decode="fast", depth_range="0:4095"),
        encoder=FakeEncoder(batch_size=4),
        notify=said.append,
    )
    assert said == [
        "Settings: device none, precision f32, batch size 4, decoding threads 3, fast decoding, "
        "depth range 0:4095, vectors as float16."
    ]


def test_on_error_fail_names_the_item_and_leaves_nothing_where_it_was_the_first(
    tmp_path: Path,
) -> None:
    with pytest.raises(ItemFailedError, match=r"train/000: .*Fix or remove the file") as caught:
        embed_source(
            source(20, {0, 9}),
            tmp_path / "e.h5",
            EmbedOptions(on_error="fail"),
            encoder=FakeEncoder(batch_size=4),
        )
    assert caught.value.key.id == "000"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"workers": -1}, "workers must be at least 1"),
        ({"streams": 0}, "streams must be at least 1"),
        ({"decode": "quick"}, "decode must be exact or fast"),
        ({"dtype": "int8"}, "dtype must be float16 or float32"),
        ({"on_error": "skip"}, "on_error must be record or fail"),
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EmbedOptions(**wrong)


def test_summary_says_what_failed_and_why(tmp_path: Path) -> None:
    losses = Tally()
    losses.add("items that Datumaro rejects: bad name", "train/7")
    summary = embed_source(
        source(9, {1, 2, 3, 4, 5}),
        tmp_path / "e.h5",
        EmbedOptions(),
        losses=losses,
        encoder=FakeEncoder(),
    )
    text = "\n".join(summary.lines())
    assert "9 rows in" in text
    assert "4 computed, 0 reused, 5 failed in" in text
    assert "missing: 5" in text
    assert "train/001, train/002, train/003, …" in text
    assert "lost on import:\n    1 item that Datumaro rejects: bad name (train/7)" in text
    with open_store(tmp_path / "e.h5") as store:
        assert store.provenance["lost_on_import"] == losses.to_json()
        assert store.provenance["versions"]["h5py"]


def test_provenance_names_model_media_root_and_no_fingerprint_depends_on_the_path(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        embed_source(source(2), tmp_path / name / "e.h5", EmbedOptions(), encoder=FakeEncoder())
    with open_store(tmp_path / "a" / "e.h5") as a, open_store(tmp_path / "b" / "e.h5") as b:
        assert a.kind.fingerprint == b.kind.fingerprint == FakeEncoder().fingerprint
        assert row_content(a) == row_content(b)


def test_from_python_a_run_says_what_the_command_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """No terminal here, so the lines are in the log; nothing is printed."""
    pixels = np.zeros((6, 8, 3), np.uint8)
    items = [DatasetItem("a", media=Image.from_numpy(pixels)), DatasetItem("b\x1b[2J", media=None)]
    target, summaries = tmp_path / "e.h5", []
    with caplog.at_level(logging.INFO, "datumaro_embed"), pytest.warns(EmbedWarning) as warned:
        embed_dataset(
            Dataset.from_iterable(items), target, model="demo", on_summary=summaries.append
        ).close()
    (summary,) = summaries
    assert caplog.messages == summary.lines()
    assert summary.lines()[1:] == [
        "  unsupported: 1",
        r"    1 × the item has no image (default/b\x1b[2J)",
    ]
    assert [str(warning.message) for warning in warned] == [
        f"1 of 2 items failed and have no vector (1 unsupported). `datumaro-embed info {target} "
        "--failed` lists them."
    ]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_the_lines_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a terminal to tell, and `progress` is asked for."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    talk(show=True)("one\x1b[2J")
    talk(show=False)("two")
    assert terminal.getvalue() == "one\\x1b[2J\n"


def test_the_whole_pipeline_runs_on_a_backend_in_memory() -> None:
    """Through the public contract alone: captions, re-use and failures too."""
    stores, encoder = MemoryStores(), FakeEncoder()
    labels = Dataset.from_iterable(
        [
            DatasetItem(
                f"{number}",
                subset="train",
                media=Image.from_numpy(pixels(number)),
                annotations=[Caption(f"caption {number}"), Bbox(1, 2, 3, 4, label=0)],
            )
            for number in range(9)
        ],
        categories=["cat"],
    )
    for n_reused in (0, 9):
        summaries: list[EmbedSummary] = []
        with embed_dataset(
            labels,
            "e",
            encoder=encoder,
            backend=stores,
            objects=True,
            captions=True,
            min_object_px=1,
            progress=False,
            on_summary=summaries.append,
        ) as store:
            assert (store.n_rows, store.count("objects"), store.count("captions")) == (9, 9, 9)
            assert store.verify() == []
            assert store.label_embeddings is not None
        assert [summary.n_reused for summary in summaries] == [n_reused]


def test_a_folder_that_is_created_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        embed_source(
            source(2),
            tmp_path / "new" / "s.h5",
            EmbedOptions(),
            encoder=FakeEncoder(),
            notify=said.append,
        )
    assert said.count(f"Created the folder '{tmp_path / 'new'}'.") == 1
