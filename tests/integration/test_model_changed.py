"""Model files that change after they were loaded: never a vector of another model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from datumaro_embed import open_store
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.encoders.engine import Engine
from datumaro_embed.encoders.runtime import Runtime, compile_graph, prepare_graph
from datumaro_embed.errors import ModelChangedError, ModelInvalidError
from datumaro_embed.models import load_manifest, openvino_core, resolve_model
from datumaro_embed.pipeline import EmbedOptions, embed_source
from model_support import other_weights, sign

pytestmark = pytest.mark.slow

GRAPHS = ("image_encoder.bin", "text_encoder.bin")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(resolve_model("demo"), tmp_path / "model"))


def another_model(model: Path) -> None:
    """Replace the directory by a sound one of another model, as `pull --overwrite` does."""
    model.rename(model.with_name("old"))
    shutil.copytree(model.with_name("old"), model)
    tokens = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    (model / "tokenizer.json").write_text(json.dumps(tokens), encoding="utf-8")
    sign(model)


def gone(model: Path) -> None:
    shutil.rmtree(model)


def overwritten(name: str) -> Callable[[Path], None]:
    return lambda model: other_weights(model / name)


def longer(model: Path) -> None:
    with (model / "text_encoder.xml").open("ab") as file:
        file.write(b"\n")


CHANGES: dict[str, Callable[[Path], None]] = {
    "another model": another_model,
    "another model, texts compiled": another_model,
    "gone": gone,
    "image weights overwritten": overwritten("image_encoder.bin"),
    "text weights overwritten": overwritten("text_encoder.bin"),
    "one byte more": longer,
    "tokenizer gone": lambda model: (model / "tokenizer.json").unlink(),
}


def pixels(encoder: ClipEncoder) -> Any:
    side = encoder.image_size_px
    return np.random.default_rng(0).integers(0, 256, (4, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("number", range(len(CHANGES)), ids=CHANGES)
def test_neither_tower_goes_on(model: Path, number: int) -> None:
    encoder = ClipEncoder.load(model, batch_size=4)
    if number % 2:  # whether its text encoder is compiled by then or not
        encoder.embed_texts(["a cat"])
    [*CHANGES.values()][number](model)
    with pytest.raises(ModelChangedError, match=r"no longer the one.*Put the model"):
        encoder.embed_texts(["a cat"])
    with pytest.raises(ModelChangedError):
        encoder.embed_images([np.zeros((9, 9, 3), np.uint8)])
    with pytest.raises(ModelChangedError):
        list(encoder.embed_pixels([pixels(encoder)]))
    with pytest.raises(ModelChangedError):
        encoder.confirm()


@pytest.mark.parametrize("name", ["text_encoder.bin", "text_encoder.xml", "tokenizer.json"])
def test_texts_are_of_the_model_that_was_loaded_whatever_the_clock_says(
    model: Path, name: str
) -> None:
    """In place, of the same size and time: only what is compiled tells."""
    encoder = ClipEncoder.load(model, batch_size=4)
    expected = ClipEncoder.load("demo", batch_size=4).embed_texts(["a cat", "two dogs"])
    before = (model / name).stat()
    data = (model / name).read_bytes()
    (model / name).write_bytes(data[:-40] + data[-40:].swapcase())
    if name == "text_encoder.bin":
        other_weights(model / name)
    os.utime(model / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    if name == "tokenizer.json":  # it was read at the beginning
        np.testing.assert_array_equal(encoder.embed_texts(["a cat", "two dogs"]), expected)
    else:
        with pytest.raises(ModelChangedError, match=name):
            encoder.embed_texts(["a cat", "two dogs"])


def test_no_vector_changes_with_the_files_under_it(model: Path) -> None:
    """Overwritten in place, with the old time: what runs does not depend on the disk any more."""
    encoder = ClipEncoder.load(model, batch_size=4, precision="f32")
    expected = [*encoder.embed_pixels([pixels(encoder)]), encoder.embed_texts(["a cat", ""])]
    for name in GRAPHS:
        before = (model / name).stat()
        other_weights(model / name)
        os.utime(model / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = [*encoder.embed_pixels([pixels(encoder)]), encoder.embed_texts(["a cat", ""])]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    encoder.confirm()


def test_files_may_be_touched_and_replaced_by_equal_ones(model: Path) -> None:
    encoder = ClipEncoder.load(model, batch_size=4)
    for number, path in enumerate(model.iterdir()):
        os.utime(path, (number, number))
    encoder.embed_texts(["a cat"])
    shutil.copytree(model, model.with_name("copy"))
    shutil.rmtree(model)
    model.with_name("copy").rename(model)
    encoder.confirm()
    list(encoder.embed_pixels([pixels(encoder)]))
    os.utime(model / "text_encoder.bin")
    other_weights(model / "text_encoder.bin")
    with pytest.raises(ModelChangedError):
        encoder.confirm()


@pytest.mark.parametrize("name", ["image_encoder.bin", "text_encoder.bin", "tokenizer.json"])
def test_without_hashes_a_replaced_file_is_an_error_too(model: Path, name: str) -> None:
    encoder = ClipEncoder.load(model, batch_size=4, verify_hashes=False)
    list(encoder.embed_pixels([pixels(encoder)]))
    (model / name).with_suffix(".new").write_bytes((model / name).read_bytes())
    (model / name).with_suffix(".new").replace(model / name)
    with pytest.raises(ModelChangedError, match=name):
        encoder.embed_texts(["a cat"])


@pytest.mark.parametrize("name", ["image_encoder.bin", "image_encoder.xml", "text_encoder.bin"])
def test_a_file_that_is_damaged_when_it_is_loaded_is_invalid(model: Path, name: str) -> None:
    (model / name).write_bytes((model / name).read_bytes()[:-1] + b"\0")
    with pytest.raises(ModelInvalidError, match=rf"{name} cannot be used: its sha256"):
        ClipEncoder.load(model)


def test_weights_in_memory_give_the_bits_of_mapped_ones() -> None:
    demo = resolve_model("demo")
    manifest = load_manifest(demo)
    shapes = {"pixel_values": (4, manifest.image.size_px, manifest.image.size_px, 3)}
    for precision in ("f32", "bf16"):
        runtime = Runtime("CPU", precision, None)
        engine = Engine(
            demo / "image_encoder.xml", runtime, shapes, dim=manifest.dim, image=manifest.image
        )
        model = openvino_core().read_model(demo / "image_encoder.xml")
        graph = prepare_graph(model, shapes, manifest.image)
        mapped = compile_graph(graph, runtime, {"model": ""})
        drawn = np.random.default_rng(0).integers(0, 256, shapes["pixel_values"], dtype=np.uint8)
        ours = engine.run_alone({"pixel_values": drawn})
        np.testing.assert_array_equal(ours, mapped({"pixel_values": drawn})[0])


# ------------------------------------------------------------------------------------ in a run


def source(n_items: int, after: Callable[[], None] | None = None) -> SourceDataset:
    """Images; once all but ten are read, `after` is called."""

    def data(number: int) -> Any:
        if after is not None and number == n_items - 10:
            after()
        return np.random.default_rng(number).integers(0, 256, (70, 70, 3), dtype=np.uint8)

    items: Iterator[DatasetItem] = (
        DatasetItem(
            f"{number:03}",
            media=Image.from_numpy(lambda number=number: data(number), size=(70, 70)),
        )
        for number in range(n_items)
    )
    return SourceDataset(Dataset.from_iterable(list(items), categories=["cat"]))


def test_a_model_that_is_replaced_in_a_run_costs_nothing(tmp_path: Path, model: Path) -> None:
    target = tmp_path / "e.h5"
    encoder = ClipEncoder.load(model, batch_size=4)
    with pytest.raises(ModelChangedError):
        embed_source(
            source(40, lambda: another_model(model)), target, EmbedOptions(), encoder=encoder
        )
    assert not target.exists()

    said: list[str] = []
    with pytest.raises(ModelChangedError):  # when the next run begins
        embed_source(source(40), target, EmbedOptions(), encoder=encoder, notify=said.append)
    assert said == []

    shutil.rmtree(model)
    model.with_name("old").rename(model)
    embed_source(source(40), target, EmbedOptions(model=str(model)), notify=said.append)
    assert said[0].startswith("40 rows are kept from an earlier run")
    with open_store(target) as store:
        assert store.n_rows == 40
