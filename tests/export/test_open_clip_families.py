"""Every kind of OpenCLIP's checkpoints at its true configuration, random weights.

RN50 (OpenAI's), ConvNeXt (LAION's), EVA02, quick GELU (MetaCLIP 1, DFN), DFN's stretched images,
PE-Core and MobileCLIP, whose image towers are timm's; XLM-RoBERTa and NLLB, whose text towers are
transformers' and have small vocabularies of the true kind here.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from parity import check_f32_parity

from datumaro_embed.exporting import export_model
from datumaro_embed.models import CATALOGUE, load_manifest
from hub_server import HubServer, clients_of

pytestmark = pytest.mark.slow
HALVES = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bilinear"}
PE_CORE = {**HALVES, "resize_mode": "squash"}
ZEROS = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "interpolation": "bilinear"}
KINDS: dict[str, dict[str, Any]] = {
    "RN50-quickgelu": {},
    "convnext_base_w": {},
    "EVA02-B-16": {},
    "ViT-B-16-quickgelu": {"resize_mode": "squash"},
    "PE-Core-T-16-384": PE_CORE,
    "PE-Core-S-16-384": PE_CORE,
    "PE-Core-B-16": PE_CORE,
    "MobileCLIP2-S0": ZEROS,
}
TEXT_MODELS = {
    "xlm-roberta-base-ViT-B-32": "xlm-roberta-base",
    "nllb-clip-base": "facebook/nllb-200-distilled-600M",
}


def write(folder: Path, name: str, preprocess: dict[str, Any]) -> Path:
    """Write a checkpoint as timm and LAION publish theirs."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
    own = {key: model.visual.preprocess_cfg[key] for key in ("mean", "std", "interpolation")}
    own |= {"resize_mode": "shortest", **preprocess}
    body = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": own}
    (folder / "open_clip_config.json").write_text(json.dumps(body))
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    return folder


def write_text_model(folder: Path, kind: str) -> Path:
    """Write the repository that a checkpoint's text tower takes its configuration from."""
    import transformers

    if kind == "xlm-roberta-base":
        shape = {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1}
        config = transformers.XLMRobertaConfig(**shape, layer_norm_eps=1e-5)
    else:  # NLLB-200 distilled, 600M
        shape = {"vocab_size": 256206, "d_model": 1024, "encoder_layers": 12, "decoder_layers": 12}
        sides = {f"{side}_attention_heads": 16 for side in ("encoder", "decoder")}
        sides |= {f"{side}_ffn_dim": 4096 for side in ("encoder", "decoder")}
        config = transformers.M2M100Config(
            **shape, **sides, activation_function="relu", scale_embedding=True
        )
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "other"), TEXT_MODELS.items())
def test_text_encoders_of_transformers(kind: str, other: str, tmp_path: Path) -> None:
    """Their configuration comes from a second repository, their tokenizer from the checkpoint."""
    import relatives

    text_model = write_text_model(tmp_path / "text", other)
    with HubServer({other: text_model}) as hub, clients_of(hub, tmp_path / "hf"):
        checkpoint = write(tmp_path / kind, kind, {})
        if "nllb" in kind:
            relatives.write_nllb_tokenizer(checkpoint)
        else:
            relatives.write_xlm_roberta_tokenizer(checkpoint)
        model = export_model(checkpoint, tmp_path / "model")
        compare(kind, checkpoint, model)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_and_tokens_are_open_clips(kind: str, tmp_path: Path) -> None:
    checkpoint = write(tmp_path / kind, kind, KINDS[kind])
    compare(kind, checkpoint, export_model(checkpoint, tmp_path / "model"))


def compare(kind: str, checkpoint: Path, model: Path) -> None:
    """Compare vectors and tokens with open_clip's."""
    from reference import TorchOpenClip

    check_f32_parity(kind, model, TorchOpenClip(checkpoint))


def test_a_short_name_is_exported_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a repository of timm's, with the tokens that the catalogue expects."""
    from dataclasses import replace

    name = "pe-core-t-16-384"
    monkeypatch.setitem(CATALOGUE, name, replace(CATALOGUE[name], knows_cats=False))
    checkpoint = write(tmp_path / "timm", "PE-Core-T-16-384", PE_CORE)
    served = {CATALOGUE[name].checkpoint: checkpoint}
    with HubServer(served) as hub, clients_of(hub, tmp_path / "hf"):
        manifest = load_manifest(export_model(name, tmp_path / "model"))
    assert (manifest.source, manifest.licence) == ("timm/PE-Core-T-16-384", "Apache-2.0")
    entry = CATALOGUE[name]
    assert (manifest.dim, manifest.image.size_px) == (entry.dim, entry.size_px)
    assert (manifest.image.resize, manifest.text.context_length) == ("stretch", 32)
