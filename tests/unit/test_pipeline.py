"""The pipeline on the fake encoder: order, failures, what is left behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from datumaro_embed import Status, open_store
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import InferenceError, ItemFailedError, UsageError
from datumaro_embed.pipeline import EmbedOptions, embed_source


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
    assert len(summary.failures.get(Status.MISSING, ())) == len(failed)


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
            stores.append(store.row_crc32.tolist())
    assert stores[0] == stores[1] == stores[2]


class Failing(FakeEncoder):
    """Gives two batches and then breaks, as a device that goes away would."""

    def embed_pixels(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for number, vectors in enumerate(super().embed_pixels(batches)):
            if number == 2:
                raise InferenceError("the device is gone. Plug it in.")
            yield vectors


def test_an_inference_error_ends_the_run_with_its_cause_and_keeps_what_is_embedded(
    tmp_path: Path,
) -> None:
    target, said = tmp_path / "deep" / "e.h5", []
    with pytest.raises(InferenceError, match="the device is gone"):
        embed_source(
            source(40), target, EmbedOptions(), encoder=Failing(batch_size=4), notify=said.append
        )
    assert not target.exists()
    assert said == [f"8 rows are kept in '{target}.work'; the same command goes on from there."]
    summary = embed_source(source(40), target, EmbedOptions(), encoder=FakeEncoder(batch_size=4))
    assert (summary.n_reused, summary.n_added) == (8, 32)
    assert [path.name for path in target.parent.iterdir()] == ["e.h5"]


def test_on_error_fail_names_the_item_and_leaves_nothing_where_it_was_the_first(
    tmp_path: Path,
) -> None:
    with pytest.raises(ItemFailedError, match=r"train/000: .*Mend or remove it") as caught:
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
        ({"batch_size": 0}, "--batch-size must be at least 1, not 0"),
        ({"workers": -1}, "--workers must be at least 1"),
        ({"dtype": "int8"}, "--dtype must be float16 or float32"),
        ({"on_error": "skip"}, "--on-error must be record or fail"),
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EmbedOptions(**wrong)


def test_summary_says_what_failed_and_why(tmp_path: Path) -> None:
    summary = embed_source(
        source(9, {1, 2, 3, 4, 5}),
        tmp_path / "e.h5",
        EmbedOptions(),
        dropped=("item 7 of train: bad name",),
        encoder=FakeEncoder(),
    )
    text = "\n".join(summary.lines())
    assert "9 rows in" in text
    assert "4 embedded, 5 failed" in text
    assert "missing: 5" in text
    assert "train/001" in text
    assert "… and 2 more" in text
    assert "dropped by Datumaro's importer, no row: 1" in text
    with open_store(tmp_path / "e.h5") as store:
        assert store.provenance["dropped_by_importer"] == ["item 7 of train: bad name"]
        assert store.provenance["versions"]["h5py"]


def test_provenance_names_model_media_root_and_no_fingerprint_depends_on_the_path(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        embed_source(source(2), tmp_path / name / "e.h5", EmbedOptions(), encoder=FakeEncoder())
    with open_store(tmp_path / "a" / "e.h5") as a, open_store(tmp_path / "b" / "e.h5") as b:
        assert a.run_fingerprint == b.run_fingerprint == FakeEncoder().fingerprint
        assert a.row_crc32.tolist() == b.row_crc32.tolist()
