"""SigLIP and OpenCLIP: vectors and tokens against transformers and open_clip, same weights."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import check_parity, cosines, drawn_images
from strings import strings

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.errors import ModelInvalidError
from datumaro_embed.models import export_model, load_manifest
from datumaro_embed.models.texts import TextTokenizer


def reference_of(kind: str, checkpoint: Path) -> Any:
    """One of reference.py, which needs torch to be imported."""
    return getattr(import_module("reference"), kind)(checkpoint)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from checkpoints import write_siglip

    checkpoint = write_siglip(tmp_path_factory.mktemp("siglip") / "tiny-siglip")
    return checkpoint, export_model(checkpoint, checkpoint.parent / "model")


@pytest.fixture(scope="module")
def open_clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    pytest.importorskip("open_clip", reason="needs datumaro-embed[export]")
    from checkpoints import write_open_clip

    checkpoint = write_open_clip(tmp_path_factory.mktemp("open_clip") / "tiny-open-clip")
    return checkpoint, export_model(checkpoint, checkpoint.parent / "model")


def test_a_vector_that_is_wrong_once_leaves_everything_to_find_out_why(
    siglip: tuple[Path, Path],
) -> None:
    """As one SigLIP vector was, of an image, in one run of many."""

    wrong = [17]

    class WrongOnce:
        def __init__(self) -> None:
            self.real = reference_of("TorchSiglip", siglip[0])
            self.texts = self.real.texts

        def images(self, images: Any) -> Any:
            rows = self.real.images(images).copy()
            while wrong:
                rows[wrong.pop()] *= -1
            return rows

    with pytest.raises(AssertionError, match="all is kept in") as caught:
        check_parity(siglip[1], WrongOnce)
    folder = Path(str(caught.value).partition("kept in ")[2])
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        cosines = facts["lowest cosine with expected, and its row"]
        for name in ("found", "found again", "loaded again", "one stream", "a fresh reference"):
            assert cosines[f"{name}, images"][0] < -0.99
            assert cosines[f"{name}, images"][1] == 17
            assert cosines[f"{name}, texts"][0] > 0.9999
        assert load_manifest(folder / "model").fingerprint == load_manifest(siglip[1]).fingerprint
        assert len(np.load(folder / "vectors.npz").files) == 12
        assert len(list(folder.glob("*, compiled.xml"))) == 2
    finally:
        shutil.rmtree(folder)


def test_siglip_vectors(siglip: tuple[Path, Path]) -> None:
    check_parity(siglip[1], lambda: reference_of("TorchSiglip", siglip[0]))


def test_siglip_is_read_not_assumed(siglip: tuple[Path, Path]) -> None:
    manifest = load_manifest(siglip[1])
    assert manifest.family == "siglip"
    assert (manifest.image.resize, manifest.image.mean) == ("stretch", (0.5, 0.5, 0.5))
    assert (manifest.text.context_length, manifest.text.inputs) == (16, ("input_ids",))
    assert (manifest.text.pad_id, manifest.text.eos_id, manifest.text.lower_case) == (1, 1, True)
    assert manifest.logit_scale == pytest.approx(np.exp(4.0), rel=1e-6)
    assert manifest.logit_bias == -10.0


def test_siglip_tokens(siglip: tuple[Path, Path]) -> None:
    texts = strings()
    tokenize = TextTokenizer(siglip[1] / "tokenizer.json", load_manifest(siglip[1]).text)
    expected = reference_of("TorchSiglip", siglip[0]).tokens(texts).numpy()
    assert len(texts) == 2000
    np.testing.assert_array_equal(tokenize(texts)[0], expected)


def test_open_clip_vectors(open_clip: tuple[Path, Path]) -> None:
    check_parity(open_clip[1], lambda: reference_of("TorchOpenClip", open_clip[0]))


def test_open_clip_is_read_not_assumed(open_clip: tuple[Path, Path]) -> None:
    manifest = load_manifest(open_clip[1])
    assert (manifest.family, manifest.dim, manifest.image.resize) == (
        "open_clip",
        48,
        "shortest_side",
    )
    assert (manifest.text.context_length, manifest.text.pad_id, manifest.text.eos_id) == (
        77,
        0,
        49407,
    )
    assert manifest.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)


def test_open_clip_that_stretches(tmp_path: Path) -> None:
    pytest.importorskip("open_clip", reason="needs datumaro-embed[export]")
    from checkpoints import write_open_clip

    checkpoint = write_open_clip(tmp_path / "squash", resize_mode="squash")
    model_dir = export_model(checkpoint, tmp_path / "model")
    assert load_manifest(model_dir).image.resize == "stretch"
    images = drawn_images(12, seed=6)
    expected = reference_of("TorchOpenClip", checkpoint).images(images)
    found = ClipEncoder.load(model_dir, precision="f32").embed_images(images)
    assert cosines((found, expected)).min() >= 0.99999


def test_open_clip_tokens_with_clips_real_merges(open_clip: tuple[Path, Path]) -> None:
    texts = strings()
    tokenize = TextTokenizer(open_clip[1] / "tokenizer.json", load_manifest(open_clip[1]).text)
    expected = reference_of("TorchOpenClip", open_clip[0]).tokens(texts).numpy()
    np.testing.assert_array_equal(tokenize(texts)[0], expected)


def test_clip_tokens_with_clips_real_merges(tmp_path: Path) -> None:
    pytest.importorskip("open_clip", reason="needs datumaro-embed[export]")
    from checkpoints import write_clip, write_real_clip_tokenizer
    from transformers import AutoTokenizer

    checkpoint = write_clip(
        tmp_path / "clip", layers=1, text_layers=1, vocab_size=49408, context=77
    )
    write_real_clip_tokenizer(checkpoint)
    model_dir = export_model(checkpoint, tmp_path / "model")
    texts = strings()
    tokenize = TextTokenizer(model_dir / "tokenizer.json", load_manifest(model_dir).text)
    options = {"padding": "max_length", "truncation": True, "max_length": 77}
    expected = AutoTokenizer.from_pretrained(checkpoint)(texts, **options)["input_ids"]
    np.testing.assert_array_equal(tokenize(texts)[0], np.array(expected))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"text_cfg": {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP"}}, "the tokenizer of timm"),
        ({"multimodal_cfg": {}}, "captioning"),
    ],
    ids=["tokenizer", "coca"],
)
def test_open_clip_of_other_kinds(
    open_clip: tuple[Path, Path], tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    body = json.loads((open_clip[0] / "open_clip_config.json").read_text())
    body["model_cfg"].update(change)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "open_clip_config.json").write_text(json.dumps(body))
    with pytest.raises(ModelInvalidError, match=why):
        export_model(tmp_path / "checkpoint", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]
