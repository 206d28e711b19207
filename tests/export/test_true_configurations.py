"""The true configurations of the usual models, random weights: 64 images and 64 texts each."""

from __future__ import annotations

from pathlib import Path

import pytest

from datumaro_embed.exporting import export_model

pytestmark = pytest.mark.slow
CLIP_TEXT = {"context": 77, "vocab_size": 49408}


def test_clip_vit_b_32(tmp_path: Path) -> None:
    from checkpoints import write_clip
    from parity import check_parity
    from reference import TorchClip

    image = {"image_size": 224, "patch": 32, "width": 768, "layers": 12}
    text = {**CLIP_TEXT, "text_width": 512, "text_layers": 12}
    checkpoint = write_clip(tmp_path / "vit-b-32", **image, **text, dim=512)
    check_parity(export_model(checkpoint, tmp_path / "model"), lambda: TorchClip(checkpoint))


def test_clip_vit_l_14_336(tmp_path: Path) -> None:
    """At its own widths, sizes and vocabulary, six of 24 and of 12 layers deep."""
    from checkpoints import write_clip
    from parity import check_parity
    from reference import TorchClip

    image = {"image_size": 336, "patch": 14, "width": 1024, "layers": 6}
    text = {**CLIP_TEXT, "text_width": 768, "text_layers": 6}
    checkpoint = write_clip(tmp_path / "vit-l-14-336", **image, **text, dim=768)
    check_parity(export_model(checkpoint, tmp_path / "model"), lambda: TorchClip(checkpoint))


def test_tiny_clip(tmp_path: Path) -> None:
    """TinyCLIP-ViT-8M-16-Text-3M: narrower encoders, 10 and 3 layers deep."""
    from checkpoints import write_clip
    from parity import check_parity
    from reference import TorchClip

    image = {"image_size": 224, "patch": 16, "width": 256, "layers": 10}
    text = {**CLIP_TEXT, "text_width": 256, "text_layers": 3}
    checkpoint = write_clip(tmp_path / "tiny-clip", **image, **text, dim=512)
    check_parity(export_model(checkpoint, tmp_path / "model"), lambda: TorchClip(checkpoint))


def test_siglip_base(tmp_path: Path) -> None:
    from checkpoints import write_siglip
    from parity import check_parity
    from reference import TorchSiglip

    true = {"image_size": 224, "width": 768, "layers": 12, "context": 64, "vocab_size": 32000}
    checkpoint = write_siglip(tmp_path / "siglip-base", **true)
    check_parity(export_model(checkpoint, tmp_path / "model"), lambda: TorchSiglip(checkpoint))


def test_open_clip_vit_b_32(tmp_path: Path) -> None:
    pytest.importorskip("open_clip", reason="needs datumaro-embed[export]")
    from checkpoints import write_open_clip
    from parity import check_parity
    from reference import TorchOpenClip

    image = {"image_size": 224, "patch": 32, "width": 768, "layers": 12}
    checkpoint = write_open_clip(tmp_path / "open-clip-b-32", **image, text_width=512, dim=512)
    check_parity(export_model(checkpoint, tmp_path / "model"), lambda: TorchOpenClip(checkpoint))
