"""Every kind of OpenCLIP's checkpoints at its true configuration, random weights.

RN50 (OpenAI's), ConvNeXt (LAION's), EVA02, quick GELU (MetaCLIP 1, DFN), DFN's stretched images,
PE-Core and MobileCLIP, whose image towers are timm's.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import cosines, mixed_images
from strings import strings

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.exporting import export_model
from datumaro_embed.models import CATALOGUE, load_manifest
from datumaro_embed.models.tokenizers import TextTokenizer
from hub_server import HubServer, clients_of

pytestmark = pytest.mark.slow
TEXTS = [*strings(31, seed=3), "a text that is far longer than the context " * 20]
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


def write(folder: Path, name: str, preprocess: dict[str, Any]) -> Path:
    """Write a checkpoint as timm and LAION publish theirs."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = open_clip.create_model(name, load_weights=False)
    own = {key: model.visual.preprocess_cfg[key] for key in ("mean", "std", "interpolation")}
    own |= {"resize_mode": "shortest", **preprocess}
    body = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": own}
    (folder / "open_clip_config.json").write_text(json.dumps(body))
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_and_tokens_are_open_clips(kind: str, tmp_path: Path) -> None:
    from reference import TorchOpenClip

    checkpoint = write(tmp_path / kind, kind, KINDS[kind])
    model = export_model(checkpoint, tmp_path / "model")
    encoder, theirs = ClipEncoder.load(model, precision="f32"), TorchOpenClip(checkpoint)
    images, texts = mixed_images(16), strings(500)
    lowest = [
        float(cosines(pair).min())
        for pair in (
            (encoder.embed_images(images), theirs.images(images)),
            (encoder.embed_texts(TEXTS), theirs.texts(TEXTS)),
        )
    ]
    print(kind, "lowest cosines, images and texts:", *lowest)
    assert min(lowest) >= 0.99999
    found = TextTokenizer(model / "tokenizer.json", load_manifest(model).text)(texts)[0]
    np.testing.assert_array_equal(found, theirs.tokens(texts).numpy())


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
