"""Captions on the fake encoder: a store of their own, its parts, and what may go wrong."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from datumaro.components.annotation import Bbox, Caption
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from datumaro_embed import ItemKey, open_store
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import RunInterruptedError, StoreExistsError
from datumaro_embed.maintenance import merge_stores
from datumaro_embed.pipeline import EmbedOptions, captions_path, embed_source
from datumaro_embed.sharding import Parts, Shard
from store_support import row_content

OPTIONS = EmbedOptions(captions=True, workers=2)


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def captioned(texts: dict[str, list[str]]) -> SourceDataset:
    items = [
        DatasetItem(
            name,
            subset="train",
            media=Image.from_numpy(pixels(number)),
            annotations=[Caption(text) for text in captions] + [Bbox(1, 2, 3, 4, label=0)],
        )
        for number, (name, captions) in enumerate(texts.items())
    ]
    return SourceDataset(Dataset.from_iterable(items, categories=["cat"]))


@pytest.mark.parametrize("name", ["e.h5", "store"])
def test_captions_are_rows_of_a_store_beside(tmp_path: Path, name: str) -> None:
    texts = {"a": ["one", "two"], "a!": ["one"], "b": [], "c": [f"{i}" for i in range(12)]}
    encoder = FakeEncoder()

    summary = embed_source(captioned(texts), tmp_path / name, OPTIONS, encoder=encoder)

    target = tmp_path / ("e.captions.h5" if name == "e.h5" else "store.captions.h5")
    assert f"15 captions in {target}" in "\n".join(summary.lines())
    with open_store(tmp_path / name) as images, open_store(target) as store:
        assert images.n_rows == 4
        assert store.run_fingerprint == images.run_fingerprint
        assert store.verify() == []
        assert store.provenance["content"] == "captions"
        for image, captions in texts.items():
            for number in range(len(captions)):
                row = store.row(ItemKey("train", f"{image}#{number}"))
                record = store.item(row)
                assert record.attributes["image"] == image
                text = record.attributes["caption"]
                assert text in captions
                expected = encoder.embed_texts([text])[0].astype(np.float16)
                np.testing.assert_array_equal(store.embeddings([row])[0], expected)
                assert record.annotations[0].text == text
        stored = sorted(store.item(row).attributes["caption"] for row in range(15))
        assert stored == sorted(text for captions in texts.values() for text in captions)


def test_captions_of_before_are_re_used_and_none_are_no_store(tmp_path: Path) -> None:
    class Counting(FakeEncoder):
        n_texts = 0

        def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
            self.n_texts += len(texts)
            return super().embed_texts(texts)

    encoder = Counting()
    for texts, n_new in (({"a": ["x", "y", "x"]}, 2), ({"a": ["y", "z"], "b": ["x"]}, 1)):
        encoder.n_texts = 0
        embed_source(captioned(texts), tmp_path / "e.h5", OPTIONS, encoder=encoder)
        assert encoder.n_texts == n_new + 1  # the label
    summary = embed_source(captioned({"a": []}), tmp_path / "f.h5", OPTIONS, encoder=encoder)
    assert summary.captions is None
    assert not (tmp_path / "f.captions.h5").exists()


def test_captions_of_shards_are_joined_though_some_have_none(tmp_path: Path) -> None:
    texts = {f"{i}": ["the only one"] if i == 4 else [] for i in range(10)}
    embed_source(captioned(texts), tmp_path / "whole.h5", OPTIONS, encoder=FakeEncoder())
    target = tmp_path / "e.h5"
    for shard in Shard.all_of(3):
        summary = embed_source(
            captioned(texts), target, OPTIONS, encoder=FakeEncoder(), shard=shard
        )
    images, captions = summary.outlook.splitlines()
    assert "merge" in images
    assert f"merge {captions_path(target)}.parts -o {captions_path(target)}" in captions
    merge_stores([Parts.of(captions_path(target)).folder], captions_path(target))
    with open_store(captions_path(target)) as ours, open_store(tmp_path / "whole.captions.h5") as a:
        assert [str(key) for key in ours.keys()] == [str(key) for key in a.keys()]
        assert row_content(ours) == row_content(a)
        assert ours.n_rows == 1


def test_a_caption_that_no_utf8_can_say_is_embedded(tmp_path: Path) -> None:
    lone = json.loads('"a \\ud800 b"')
    embed_source(captioned({"a": [lone]}), tmp_path / "e.h5", OPTIONS, encoder=FakeEncoder())
    with open_store(tmp_path / "e.captions.h5") as store:
        assert store.item(0).attributes["caption"] == lone


def test_a_foreign_file_in_the_captions_place_is_found_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "e.captions.h5").write_text("mine")
    with pytest.raises(StoreExistsError, match=r"e\.captions\.h5"):
        embed_source(captioned({"a": ["x"]}), tmp_path / "e.h5", OPTIONS, encoder=FakeEncoder())
    assert [path.name for path in tmp_path.iterdir()] == ["e.captions.h5"]


def test_ctrl_c_while_the_images_are_published_does_not_begin_captions(tmp_path: Path) -> None:
    class Stopping(FakeEncoder):
        def embed_labels(self, names: Sequence[str]) -> np.ndarray:
            signal.raise_signal(signal.SIGINT)
            return super().embed_labels(names)

    with pytest.raises(RunInterruptedError):
        embed_source(captioned({"a": ["x"]}), tmp_path / "e.h5", OPTIONS, encoder=Stopping())
    assert not (tmp_path / "e.captions.h5").exists()
    embed_source(captioned({"a": ["x"]}), tmp_path / "e.h5", OPTIONS, encoder=FakeEncoder())
    assert (tmp_path / "e.captions.h5").exists()
