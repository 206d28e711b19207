"""SigLIP and OpenCLIP: vectors and tokens against transformers and open_clip, same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from strings import strings
from test_parity import cosines, drawn_images

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.encoders.tokenizer import TextTokenizer
from datumaro_embed.errors import ModelInvalidError
from datumaro_embed.models import export_model, load_manifest

MODES = ("RGB", "L", "RGBA", "P", "LA", "CMYK", "1", "YCbCr")
TEXTS = [*strings(63, seed=3), "a text that is far longer than the context " * 20]


def mixed_images(n_images: int) -> list[Image.Image]:
    """Images of mixed modes and sizes."""
    drawn = drawn_images(n_images, seed=4)
    return [image.convert(MODES[i % len(MODES)]) for i, image in enumerate(drawn)]


class TorchSiglip:
    """SiglipModel in float32 with transformers' own image processor and tokenizer."""

    def __init__(self, checkpoint: Path) -> None:
        import torch
        from transformers import SiglipModel
        from transformers.models.siglip import image_processing_pil_siglip as processing
        from transformers.models.siglip.tokenization_siglip import SiglipTokenizer

        self.torch = torch
        self.model = SiglipModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.processor = processing.SiglipImageProcessorPil.from_pretrained(checkpoint)
        self.tokenizer = SiglipTokenizer.from_pretrained(checkpoint)
        self.context = self.model.config.text_config.max_position_embeddings

    def tokens(self, texts: list[str]) -> Any:
        options = {"padding": "max_length", "truncation": True, "max_length": self.context}
        return self.tokenizer(texts, **options, return_tensors="pt")["input_ids"]

    def images(self, images: list[Image.Image]) -> Any:
        colour = [image.convert("RGB") for image in images]
        pixels = self.processor(colour, return_tensors="pt")["pixel_values"]
        with self.torch.no_grad():
            return self.model.get_image_features(pixel_values=pixels).pooler_output.numpy()

    def texts(self, texts: list[str]) -> Any:
        with self.torch.no_grad():
            return self.model.get_text_features(input_ids=self.tokens(texts)).pooler_output.numpy()


class TorchOpenClip:
    """open_clip's model, transforms and tokenizer."""

    def __init__(self, checkpoint: Path) -> None:
        import open_clip
        import torch

        self.torch = torch
        name = f"local-dir:{checkpoint}"
        self.model, self.transform = open_clip.create_model_from_pretrained(name)
        self.model.eval()
        self.tokens = open_clip.get_tokenizer(name)

    def images(self, images: list[Image.Image]) -> Any:
        # open_clip resizes before it converts; the modes are compared elsewhere.
        pixels = self.torch.stack([self.transform(image.convert("RGB")) for image in images])
        with self.torch.no_grad():
            return self.model.encode_image(pixels).numpy()

    def texts(self, texts: list[str]) -> Any:
        with self.torch.no_grad():
            return self.model.encode_text(self.tokens(texts)).numpy()


def check_parity(model_dir: Path, reference: Any) -> None:
    """Cosines of 64 images and 64 texts with the reference, in f32 and in bf16."""
    images, texts = mixed_images(64), TEXTS
    expected = reference.images(images), reference.texts(texts)
    for precision, limit in (("f32", 0.99999), ("bf16", 0.999)):
        encoder = ClipEncoder.load(model_dir, precision=precision)
        found = encoder.embed_images(images), encoder.embed_texts(texts)
        lowest = [float(cosines(pair).min()) for pair in zip(found, expected, strict=True)]
        print(model_dir.name, precision, "lowest cosine, images and texts:", lowest)
        assert min(lowest) >= limit


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


def test_siglip_vectors(siglip: tuple[Path, Path]) -> None:
    check_parity(siglip[1], TorchSiglip(siglip[0]))


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
    expected = TorchSiglip(siglip[0]).tokens(texts).numpy()
    assert len(texts) == 2000
    np.testing.assert_array_equal(tokenize(texts)[0], expected)


def test_open_clip_vectors(open_clip: tuple[Path, Path]) -> None:
    check_parity(open_clip[1], TorchOpenClip(open_clip[0]))


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
    expected = TorchOpenClip(checkpoint).images(images)
    assert cosines((ClipEncoder.load(model_dir).embed_images(images), expected)).min() >= 0.99999


def test_open_clip_tokens_with_clips_real_merges(open_clip: tuple[Path, Path]) -> None:
    texts = strings()
    tokenize = TextTokenizer(open_clip[1] / "tokenizer.json", load_manifest(open_clip[1]).text)
    expected = TorchOpenClip(open_clip[0]).tokens(texts).numpy()
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


# ------------------------------------------------------------------------------ true configurations


@pytest.mark.slow
def test_siglip_base(tmp_path: Path) -> None:
    """SigLIP base/16-224's own configuration, random weights, the vocabulary at its own size."""
    from checkpoints import write_siglip

    true = {"image_size": 224, "width": 768, "layers": 12, "context": 64, "vocab_size": 32000}
    checkpoint = write_siglip(tmp_path / "siglip-base", **true)
    check_parity(export_model(checkpoint, tmp_path / "model"), TorchSiglip(checkpoint))


@pytest.mark.slow
def test_vit_l_14_336(tmp_path: Path) -> None:
    """ViT-L/14-336 at its own widths, sizes and vocabulary, two layers deep."""
    from checkpoints import write_clip
    from test_parity import differences

    checkpoint = write_clip(
        tmp_path / "vit-l-14-336",
        image_size=336,
        patch=14,
        width=1024,
        layers=2,
        dim=768,
        text_width=768,
        text_layers=2,
        context=77,
        vocab_size=49408,
    )
    model_dir = export_model(checkpoint, tmp_path / "model")
    for precision, limit in (("f32", 0.99999), ("bf16", 0.999)):
        for pair in differences(model_dir, checkpoint, precision):
            print("ViT-L/14-336", precision, "lowest cosine", cosines(pair).min())
            assert cosines(pair).min() >= limit


@pytest.mark.slow
def test_open_clip_vit_b_32(tmp_path: Path) -> None:
    """OpenCLIP's ViT-B-32 at its own widths and sizes, six layers deep."""
    from checkpoints import write_open_clip

    true = {"image_size": 224, "patch": 32, "width": 768, "layers": 6, "dim": 512}
    checkpoint = write_open_clip(tmp_path / "open-clip-b-32", **true)
    check_parity(export_model(checkpoint, tmp_path / "model"), TorchOpenClip(checkpoint))
