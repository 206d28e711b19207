"""`pull` of optimum-intel's own layout gives the vectors that `export_model` gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_clip, write_siglip
from test_parity import TEXTS, drawn_images

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.exporting import export_model
from datumaro_embed.exporting.traced import quiet
from datumaro_embed.models import load_manifest
from hub_server import HubServer
from support import run


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_optimum_intels_layout(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = {"clip": write_clip, "siglip": write_siglip}[family]
    checkpoint = write(tmp_path / "checkpoint")
    exported = export_model(checkpoint, tmp_path / "exported")
    repository = write_optimum(checkpoint, exported, tmp_path / "repository")
    with HubServer({"org/model": repository}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        done = run("datumaro-embed", "pull", "org/model", "-o", tmp_path / "pulled")
    assert done.returncode == 0, done.stderr
    manifests = load_manifest(tmp_path / "pulled"), load_manifest(exported)
    assert (manifests[0].image, manifests[0].text) == (manifests[1].image, manifests[1].text)
    images = drawn_images(12)
    ours, theirs = (ClipEncoder.load(d) for d in (tmp_path / "pulled", exported))
    np.testing.assert_allclose(ours.embed_images(images), theirs.embed_images(images), atol=1e-6)
    np.testing.assert_allclose(ours.embed_texts(TEXTS), theirs.embed_texts(TEXTS), atol=1e-6)


def write_optimum(checkpoint: Path, exported: Path, repository: Path) -> Path:
    """Write what `optimum-cli export openvino` writes of a checkpoint."""
    from optimum.exporters.openvino.convert import export_from_model
    from optimum.intel import OVConfig
    from transformers import AutoModelForZeroShotImageClassification

    with quiet():
        export_from_model(
            AutoModelForZeroShotImageClassification.from_pretrained(checkpoint).eval(),
            repository,
            task="zero-shot-image-classification",
            ov_config=OVConfig(dtype="fp32"),
            stateful=False,
        )
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        shutil.copyfile(checkpoint / name, repository / name)
    shutil.copyfile(exported / "tokenizer.json", repository / "tokenizer.json")
    return repository
