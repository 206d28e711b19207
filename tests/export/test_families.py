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
from datumaro_embed.exporting import export_model
from datumaro_embed.models import load_manifest
from datumaro_embed.models.tokenizers import TextTokenizer
from hub_server import HubServer, clients_of


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


MIXED_CASE = [
    *("A Photo of a CAT", "a photo of a cat", "Cat, CAT & cat!", "ΑΣΣΟΣ ΑΣ İstanbul", "ＡＢＣ Ⅳ"),
    *("DON'T [Stop] {Now} #1", "  Two\tBLANKS \n", "STRASSE straße ǅ", "", "X" * 300, "猫 CAT 🐈"),
]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tokenizer_class": "GemmaTokenizerFast", "do_lower_case": False},
        {"tokenizer_class": "Siglip2Tokenizer"},
        {"tokenizer_class": "TokenizersBackend"},
    ],
    ids=str,
)
def test_texts_of_siglip2_are_siglip2s(tmp_path: Path, settings: dict[str, Any]) -> None:
    """From the hub: pulled by export-model, whichever class its files name."""
    from checkpoints import write_siglip2
    from transformers import Siglip2Tokenizer

    checkpoint = write_siglip2(tmp_path / "siglip2", settings=settings)
    with HubServer({"org/siglip2": checkpoint}) as hub, clients_of(hub, tmp_path / "hf"):
        model_dir = export_model("org/siglip2", tmp_path / "model")
    spec = load_manifest(model_dir).text
    texts = [*MIXED_CASE, *strings(500)]
    options = {"padding": "max_length", "truncation": True, "max_length": spec.context_length}
    expected = Siglip2Tokenizer.from_pretrained(checkpoint)(texts, **options)["input_ids"]
    found = TextTokenizer(model_dir / "tokenizer.json", spec)(texts)[0]
    np.testing.assert_array_equal(found, np.array(expected))
    assert found[0].tolist() == found[1].tolist()


@pytest.mark.parametrize("settings", [{"padding_side": "left"}, {"padding_side": None}], ids=str)
def test_siglip2_that_pads_on_the_left(tmp_path: Path, settings: dict[str, Any]) -> None:
    from checkpoints import write_siglip2

    checkpoint = write_siglip2(tmp_path / "siglip2", settings=settings)
    with pytest.raises(ModelInvalidError, match="pads on the left"):
        export_model(checkpoint, tmp_path / "model")


@pytest.mark.parametrize(
    "settings",
    [{}, {"do_lower_case": None}, {"do_lower_case": False}, {"pad_token": "<unk>"}],
    ids=str,
)
def test_texts_of_siglip_are_siglips(
    siglip: tuple[Path, Path], tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Without ``do_lower_case`` it is true; a tokenizer.json beside spiece.model cuts no text."""
    checkpoint = Path(shutil.copytree(siglip[0], tmp_path / "siglip"))
    plain = json.loads((siglip[1] / "tokenizer.json").read_text(encoding="utf-8"))
    (checkpoint / "tokenizer.json").write_text(json.dumps({**plain, "normalizer": None}))
    config = json.loads((checkpoint / "tokenizer_config.json").read_text())
    del config["do_lower_case"]
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({**config, **settings}))
    model_dir = export_model(checkpoint, tmp_path / "model")
    texts = [*MIXED_CASE, *strings(200)]
    expected = reference_of("TorchSiglip", checkpoint).tokens(texts).numpy()
    found = TextTokenizer(model_dir / "tokenizer.json", load_manifest(model_dir).text)(texts)[0]
    np.testing.assert_array_equal(found, expected)


def test_pieces_that_sentencepiece_splits_otherwise(
    siglip: tuple[Path, Path], tmp_path: Path
) -> None:
    """Byte pairs in spiece.model: our tokenizer would be another, and is not published."""
    import sentencepiece

    checkpoint = Path(shutil.copytree(siglip[0], tmp_path / "siglip"))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text.lower() for text in strings(4000, seed=9)[20:]]),
        model_prefix=str(checkpoint / "spiece"),
        vocab_size=400,
        model_type="bpe",
        character_coverage=0.98,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    with pytest.raises(ModelInvalidError, match="gives other input_ids for"):
        export_model(checkpoint, tmp_path / "model")


def beside(checkpoint: Path, tmp_path: Path, **files: bytes) -> Path:
    """Copy an OpenCLIP checkpoint and lay other files beside its own."""
    folder = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


@pytest.mark.parametrize("from_hub", [True, False])
def test_open_clip_takes_its_own_weights(
    open_clip: tuple[Path, Path], tmp_path: Path, from_hub: bool
) -> None:
    """As timm uploads them: beside it, weights and a configuration of timm's image tower."""
    from safetensors.torch import save
    from torch import zeros

    folder = beside(
        open_clip[0],
        tmp_path,
        model__safetensors=save({"patch_embed.weight": zeros(3, 3)}),
        pytorch_model__bin=b"another",
        config__json=b'{"architecture": "vit_base_patch16", "num_classes": 0}',
    )
    with HubServer({"org/timm": folder}) as hub, clients_of(hub, tmp_path / "hf"):
        out = export_model("org/timm" if from_hub else folder, tmp_path / "model")
        asked = [name for name in hub.requests if "model" in name.rpartition("/")[2]]
    assert {name.rpartition("/")[2] for name in asked} <= {"open_clip_model.safetensors", "timm"}
    manifest, expected = load_manifest(out), load_manifest(open_clip[1])
    assert manifest.family == "open_clip"
    assert manifest.fingerprint == expected.fingerprint


def test_transformers_weights_go_first_where_they_are(
    open_clip: tuple[Path, Path], tmp_path: Path
) -> None:
    """A repository of both kinds: config.json and weights of transformers, and OpenCLIP's."""
    from checkpoints import write_clip

    folder = write_clip(tmp_path / "checkpoint", image_size=64)
    shutil.copyfile(open_clip[0] / "open_clip_config.json", folder / "open_clip_config.json")
    weights = "open_clip_model.safetensors"
    shutil.copyfile(open_clip[0] / weights, folder / weights)
    with HubServer({"org/both": folder}) as hub, clients_of(hub, tmp_path / "hf"):
        assert load_manifest(export_model("org/both", tmp_path / "model")).family == "clip"
        assert not [name for name in hub.requests if name.endswith(weights)]
    (folder / "model.safetensors").unlink()  # what is left is OpenCLIP's
    (folder / "preprocessor_config.json").unlink()
    assert load_manifest(export_model(folder, tmp_path / "other")).family == "open_clip"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size": {"height": 64, "width": 64}, "do_center_crop": False}, "resize is"),
        ({"resample": 2}, "resample is"),
        ({"size": 72}, "resize_px is 64 in one and 72 in the other"),
    ],
    ids=str,
)
def test_open_clip_and_another_file_that_disagree(
    open_clip: tuple[Path, Path], tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    from checkpoints import preprocessor_config

    body = json.dumps({**preprocessor_config(64), **change}).encode()
    folder = beside(open_clip[0], tmp_path, preprocessor_config__json=body)
    with pytest.raises(ModelInvalidError, match=f"preprocessor_config.json disagree: {why}"):
        export_model(folder, tmp_path / "model")
    body = json.dumps(preprocessor_config(64)).encode()
    (folder / "preprocessor_config.json").write_bytes(body)
    fingerprint = load_manifest(export_model(folder, tmp_path / "model")).fingerprint
    assert fingerprint == load_manifest(open_clip[1]).fingerprint


def test_open_clips_convolutions(tmp_path: Path) -> None:
    """RN50's tower says its size as one number, not as height and width."""
    import open_clip as library
    import torch
    from checkpoints import CLIP_MEAN, CLIP_STD
    from safetensors.torch import save_file

    tower = {"layers": [1, 1, 1, 1], "width": 16, "image_size": 64, "patch_size": None}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    model_cfg = {"embed_dim": 32, "vision_cfg": {**tower, "head_width": 16}, "text_cfg": text}
    preprocess = {"mean": CLIP_MEAN, "std": CLIP_STD}
    folder = tmp_path / "rn"
    folder.mkdir()
    body = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(body))
    torch.manual_seed(0)
    weights = library.model.CLIP(**model_cfg).state_dict()
    whole = {name: value.contiguous() for name, value in weights.items()}
    save_file(whole, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    model_dir = export_model(folder, tmp_path / "model")
    assert load_manifest(model_dir).image.size_px == 64
    images = drawn_images(8, seed=7)
    theirs = reference_of("TorchOpenClip", folder).images(images)
    found = ClipEncoder.load(model_dir, precision="f32").embed_images(images)
    unit = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(found, unit, atol=1e-5)


@pytest.mark.parametrize("from_hub", [True, False])
def test_a_folder_of_sentence_transformers(
    checkpoint: Path, model_dir: Path, tmp_path: Path, from_hub: bool
) -> None:
    """As sentence-transformers/clip-ViT-B-32: modules.json names the subfolder with the CLIP."""
    folder = tmp_path / "sbert"
    shutil.copytree(checkpoint, folder / "0_CLIPModel")
    kind = "sentence_transformers.models.CLIPModel"
    modules = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": kind}]
    (folder / "modules.json").write_text(json.dumps(modules))
    with HubServer({"org/sbert": folder}) as hub, clients_of(hub, tmp_path / "hf"):
        manifest = load_manifest(export_model("org/sbert" if from_hub else folder, tmp_path / "m"))
    assert manifest.fingerprint == load_manifest(model_dir).fingerprint
    assert manifest.source == ("org/sbert" if from_hub else "sbert")


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
    texts += ["\ufeffa cat", "a\x00 b\x1f c\x7f d\u206a", "\x1b[31mred\x1b[0m ball"]
    texts += [
        "it\x92s a \x93cat\x94",
        "a\x85b",
        "one\u2028two\x0cthree\x1cfour",
        "\x81 \x9d",
        "\ufffc photo",
    ]
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
