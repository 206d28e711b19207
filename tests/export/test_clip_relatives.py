"""CLIP's relatives in transformers' layout, at their true width: vectors and tokens.

Chinese-CLIP and MetaCLIP 2 at their true depth; AltCLIP 4 of 24 layers deep.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import check_f32_parity

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.errors import ModelInvalidError
from datumaro_embed.exporting import export_model
from datumaro_embed.models import load_manifest

CHINESE = ["一张猫的照片", "两只狗在雪地里", "Ａ 红色的球 and a ball"]
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "chinese_clip": ({}, 52),
    "altclip": ({"layers": 4}, 77),
    "metaclip2": ({}, 77),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_and_tokens_are_transformers(kind: str, tmp_path: Path) -> None:
    import relatives

    shape, context = KINDS[kind]
    checkpoint = getattr(relatives, f"write_{kind}")(tmp_path / kind, **shape)
    model = export_model(checkpoint, tmp_path / "model")
    check_f32_parity(kind, model, relatives.Reference(checkpoint, context), CHINESE)


def test_chinese_clip_is_read_not_assumed(tmp_path: Path) -> None:
    from relatives import write_chinese_clip

    checkpoint = write_chinese_clip(tmp_path / "chinese-clip", layers=1)
    manifest = load_manifest(export_model(checkpoint, tmp_path / "model"))
    assert (manifest.family, manifest.dim, manifest.image.resize) == (
        "chinese_clip",
        512,
        "stretch",
    )
    text = manifest.text
    assert (text.context_length, text.pad_id, text.eos_id, text.lower_case) == (52, 0, 102, False)
    assert text.inputs == ("input_ids", "attention_mask")
    encoder = ClipEncoder.load(tmp_path / "model", precision="f32")
    alone = encoder.embed_texts(CHINESE[:1])  # without the padding that a longer text brings
    together = encoder.embed_texts([CHINESE[0], "word " * 100])[:1]
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_jina_clip_cannot_be_exported(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "jina_clip"}', encoding="utf-8")
    with pytest.raises(ModelInvalidError, match="transformers lacks its code; use `pull`"):
        export_model(tmp_path, tmp_path / "model")
