"""Captions on the fake encoder: a table of the store of their images."""

from __future__ import annotations

import json
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
from datumaro_embed.encoders import FakeEncoder, ImageEncoder
from datumaro_embed.errors import UsageError
from datumaro_embed.maintenance import merge_stores
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.sharding import Parts, Shard

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


class Counting(FakeEncoder):
    n_texts = 0

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.n_texts += len(texts)
        return super().embed_texts(texts)


@pytest.mark.parametrize("name", ["e.h5", "store"])
def test_captions_are_rows_of_the_same_store(tmp_path: Path, name: str) -> None:
    texts = {"a": ["one", "two"], "a!": ["one"], "b": [], "c": [f"{i}" for i in range(12)]}
    encoder = FakeEncoder()

    summary = embed_source(captioned(texts), tmp_path / name, OPTIONS, encoder=encoder)

    assert "15 captions: 15 computed, 0 reused" in "\n".join(summary.lines())
    with open_store(tmp_path / name) as store:
        assert (store.n_rows, store.count("captions")) == (4, 15)
        assert store.verify() == []
        for image, captions in texts.items():
            record = store[ItemKey("train", image)]
            assert record.captions is not None
            stored = [record.annotations[caption.annotation].text for caption in record.captions]
            assert sorted(stored) == sorted(captions)
            for text, caption in zip(stored, record.captions, strict=True):
                expected = encoder.embed_texts([text])[0].astype(np.float16)
                np.testing.assert_array_equal(caption.vector, expected)


def test_captions_of_the_same_text_are_reused(tmp_path: Path) -> None:
    encoder = Counting()
    for texts, n_new, counts in (
        ({"a": ["x", "y", "x"]}, 2, (3, 0)),
        ({"a": ["y", "z"], "b": ["x"]}, 1, (1, 2)),
        ({"a": ["y", "z"], "b": ["x"]}, 0, (0, 3)),
        ({"a": [], "new image": ["y", "x"]}, 0, (0, 2)),
    ):
        encoder.n_texts = 0
        summary = embed_source(captioned(texts), tmp_path / "e.h5", OPTIONS, encoder=encoder)
        assert encoder.n_texts == n_new + 1  # the label
        assert (summary.captions.n_computed, summary.captions.n_reused) == counts


def test_blocks_of_many_rows_come_out_in_order(tmp_path: Path) -> None:
    texts = {f"{i:04}": [f"text {i * k % 700}" for k in range(i % 4)] for i in range(1500)}
    encoder = Counting()
    embed_source(captioned(texts), tmp_path / "e.h5", OPTIONS, encoder=encoder)
    with open_store(tmp_path / "e.h5") as store:
        assert store.verify() == []
        for row in (3, 999, 1023, 1024, 1499):
            record = store.item(row)
            stored = [record.annotations[one.annotation].text for one in record.captions or ()]
            assert sorted(stored) == sorted(texts[record.key.id])
            for text, one in zip(stored, record.captions or (), strict=True):
                expected = encoder.embed_texts([text])[0].astype(np.float16)
                np.testing.assert_array_equal(one.vector, expected)


def test_captions_of_shards_are_joined_though_some_have_none(tmp_path: Path) -> None:
    texts = {f"{i}": ["the only one"] if i == 4 else [] for i in range(10)}
    embed_source(captioned(texts), tmp_path / "whole.h5", OPTIONS, encoder=FakeEncoder())
    target = tmp_path / "e.h5"
    for shard in Shard.all_of(3):
        embed_source(captioned(texts), target, OPTIONS, encoder=FakeEncoder(), shard=shard)
    merge_stores([Parts.of(target).folder], target)
    with open_store(target) as ours, open_store(tmp_path / "whole.h5") as whole:
        assert ours.count("captions") == 1
        for path in ("captions/vector", "captions/annotation", "items/captions_offsets"):
            assert ours.column(path).tobytes() == whole.column(path).tobytes()


def test_a_caption_that_no_utf8_can_say_is_embedded(tmp_path: Path) -> None:
    lone = json.loads('"a \\ud800 b"')
    embed_source(captioned({"a": [lone]}), tmp_path / "e.h5", OPTIONS, encoder=FakeEncoder())
    with open_store(tmp_path / "e.h5") as store:
        record = store.item(0)
        assert record.annotations[record.captions[0].annotation].text == lone


def test_a_store_keeps_its_captions_unless_they_are_dropped(tmp_path: Path) -> None:
    embed_source(captioned({"a": ["x"]}), tmp_path / "e.h5", OPTIONS, encoder=FakeEncoder())
    for captions, n_captions in ((None, 1), (False, 0)):
        options = EmbedOptions(captions=captions)
        embed_source(captioned({"a": ["x"]}), tmp_path / "e.h5", options, encoder=FakeEncoder())
        with open_store(tmp_path / "e.h5") as store:
            assert store.count("captions") == n_captions


def test_an_encoder_without_texts_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    class Only(ImageEncoder):
        name, dim, image_size_px, batch_size, fingerprint = "only", 16, 8, 4, "0" * 64
        preprocess, embed = FakeEncoder.preprocess, FakeEncoder.embed
        provenance = FakeEncoder.provenance

    with pytest.raises(UsageError, match="no text encoder"):
        embed_source(captioned({"a": ["x"]}), tmp_path / "e.h5", OPTIONS, encoder=Only())
    assert list(tmp_path.iterdir()) == []
