"""A model without a text encoder: everything works but texts, and these are one sentence."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from datumaro_embed import embed_dataset
from datumaro_embed.encoders import ClipEncoder, ImageEncoder, TextEncoder, load_encoder
from datumaro_embed.errors import ModelInvalidError, UsageError
from datumaro_embed.models import load_manifest, resolve_model
from datumaro_embed.models.manifest import write_manifest
from datumaro_embed.store import open_store
from datumaro_embed.testing import ImageEncoderContract
from support import SAMPLE, run

pytestmark = pytest.mark.slow


def image_only(folder: Path) -> Path:
    """The demo model without its text encoder."""
    demo = resolve_model("demo")
    whole = load_manifest(demo)
    files = {
        name: digest
        for name, digest in whole.files.items()
        if not name.startswith(("text_encoder", "tokenizer"))
    }
    folder.mkdir(parents=True)
    for name in files:
        shutil.copy(demo / name, folder / name)
    golden = replace(whole.golden, text="", text_vector="")
    write_manifest(folder, replace(whole, family="image", text=None, files=files, golden=golden))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_only(tmp_path_factory.mktemp("models") / "images-only")


@pytest.fixture(scope="module")
def store(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "e.h5"
    done = run("datumaro-embed", "embed", SAMPLE / "coco", "--store", path, "--model", model)
    assert done.returncode == 0, done.stderr
    return path


class TestImageOnly(ImageEncoderContract):
    @pytest.fixture(autouse=True)
    def _model(self, model: Path) -> None:
        type(self).model = model

    def make(self, batch_size: int) -> ImageEncoder:
        encoder = load_encoder(type(self).model, batch_size=batch_size)
        assert not isinstance(encoder, TextEncoder)
        return encoder


def test_images_have_the_vectors_of_the_whole_model(store: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.h5"
    run("datumaro-embed", "embed", SAMPLE / "coco", "--store", whole, "--model", "demo")
    with open_store(store) as ours, open_store(whole) as theirs:
        assert ours.embeddings().tobytes() == theirs.embeddings().tobytes()
        assert ours.label_embeddings is None
        assert ours.categories == theirs.categories
        assert ours.verify() == []


def test_items_and_duplicates_are_found(store: Path) -> None:
    found = run("datumaro-embed", "search", store, "--item", "train/scene_009", "-k", "2")
    assert (found.returncode, "train/scene_009" in found.stdout) == (0, True)
    found = run("datumaro-embed", "duplicates", store, "--across-splits")
    assert found.returncode == 0
    assert "LEAKAGE: 2 pairs" in found.stdout


def test_a_text_is_one_sentence(store: Path, model: Path, tmp_path: Path) -> None:
    asked = run("datumaro-embed", "search", store, "a cat", "--model", model)
    assert asked.returncode == 1
    assert "has no text encoder" in asked.stderr
    assert len(asked.stderr.splitlines()) == 1
    captions = ["--store", tmp_path / "c.h5", "--model", model, "--captions"]
    embedded = run("datumaro-embed", "embed", SAMPLE / "coco", *captions)
    assert embedded.returncode == 1
    assert "has no text encoder" in embedded.stderr
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ModelInvalidError, match="load_encoder"):
        ClipEncoder.load(model)


def test_from_python(model: Path, tmp_path: Path) -> None:
    from datumaro.components.dataset import Dataset

    from datumaro_embed import search

    dataset = Dataset.import_from(str(SAMPLE / "coco"), "coco")
    with embed_dataset(dataset, tmp_path / "e.h5", model=str(model), progress=False) as store:
        with pytest.raises(UsageError, match="no text encoder"):
            search(store, "a cat", model=str(model))
        assert search(store, store.key(0), k=1)[0].key == store.key(0)
