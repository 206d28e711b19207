"""export_model: what it writes, what it refuses, and that a failure leaves nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.errors import (
    ModelDownloadError,
    ModelInvalidError,
    ModelNotFoundError,
    StoreExistsError,
    UsageError,
)
from datumaro_embed.exporting import export_model
from datumaro_embed.models import load_manifest
from datumaro_embed.models.manifest import MANIFEST_NAME, MODEL_FILES
from hub_server import COMMIT, HubServer, clients_of


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    """Give a copy of the tiny checkpoint to change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    body = json.loads(path.read_text(encoding="utf-8"))
    change(body)
    path.write_text(json.dumps(body), encoding="utf-8")


def test_a_model_directory_is_whole(model_dir: Path, checkpoint: Path) -> None:
    assert {p.name for p in model_dir.iterdir()} == {MANIFEST_NAME, *MODEL_FILES}
    manifest = load_manifest(model_dir)
    assert (manifest.name, manifest.source, manifest.family) == ("tiny", "tiny-clip", "clip")
    assert (manifest.dim, manifest.precision, manifest.licence) == (64, "fp32", "unknown")
    assert (manifest.image.size_px, manifest.image.resample) == (80, "bicubic")
    assert manifest.text.context_length == 32
    assert manifest.text.eos_id == manifest.text.pad_id != 2
    assert manifest.text.inputs == ("input_ids", "attention_mask")
    assert manifest.logit_scale == pytest.approx(np.exp(2.6592), rel=1e-6)


def test_no_file_names_this_machine(model_dir: Path, checkpoint: Path) -> None:
    for path in model_dir.iterdir():
        data = path.read_bytes()
        for folder in (checkpoint, model_dir, Path.home()):
            assert str(folder).encode() not in data, path.name


def test_exporting_twice_gives_one_fingerprint(
    model_dir: Path, checkpoint: Path, tmp_path: Path
) -> None:
    again = export_model(checkpoint, tmp_path / "again", licence="MIT", source_name="elsewhere")
    manifest = load_manifest(again)
    assert manifest.fingerprint == load_manifest(model_dir).fingerprint
    assert (manifest.licence, manifest.source) == ("MIT", "elsewhere")


def test_half_precision_halves_the_weights(
    model_dir: Path, checkpoint: Path, tmp_path: Path
) -> None:
    half = export_model(checkpoint, tmp_path / "half", precision="fp16")
    assert load_manifest(half).precision == "fp16"
    for name in ("image_encoder.bin", "text_encoder.bin"):
        ratio = (half / name).stat().st_size / (model_dir / name).stat().st_size
        assert ratio < 0.6, name
    texts = ["a cat", "a dog", ""]
    full, small = (
        ClipEncoder.load(d, precision="f32").embed_texts(texts) for d in (model_dir, half)
    )
    assert np.abs(full - small).max() < 2e-3


def test_weights_stored_in_half_precision_are_computed_in_full(
    checkpoint: Path, tmp_path: Path
) -> None:
    from checkpoints import write_clip

    stored = write_clip(tmp_path / "fp16", dtype="float16")
    assert stored.joinpath("model.safetensors").stat().st_size < (
        0.6 * checkpoint.joinpath("model.safetensors").stat().st_size
    )
    sizes = {}
    vectors = {}
    for precision in ("fp32", "fp16"):
        out = export_model(stored, tmp_path / f"out-{precision}", precision=precision)
        sizes[precision] = (out / "image_encoder.bin").stat().st_size
        encoder = ClipEncoder.load(out, precision="f32")
        vectors[precision] = encoder.embed_texts(["a cat", "a red ball"])
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    np.testing.assert_allclose(vectors["fp16"], vectors["fp32"], atol=1e-4)


def test_the_old_end_token_pools_where_transformers_does(copied: Path, tmp_path: Path) -> None:
    """``eos_token_id`` 2 makes HF CLIP pool at the largest id: traced as it is."""
    from reference import TorchClip

    edit(copied / "config.json", lambda c: c["text_config"].update(eos_token_id=2))
    out = export_model(copied, tmp_path / "out")
    texts = ["", "a photo of a cat", "dog " * 40]
    theirs = TorchClip(copied).texts(texts)
    ours = ClipEncoder.load(out, precision="f32").embed_texts(texts)
    assert np.abs(ours - theirs).max() <= 1e-5


def test_an_old_checkpoint_without_tokenizer_json(copied: Path, tmp_path: Path) -> None:
    expected = ClipEncoder.load(export_model(copied, tmp_path / "new")).embed_texts(["A cat!"])
    model = json.loads((copied / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (copied / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    (copied / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8"
    )
    (copied / "tokenizer.json").unlink()
    found = ClipEncoder.load(export_model(copied, tmp_path / "old")).embed_texts(["A cat!"])
    np.testing.assert_array_equal(found, expected)


def test_preprocessing_is_the_checkpoints_own(copied: Path, tmp_path: Path) -> None:
    edit(
        copied / "preprocessor_config.json",
        lambda c: c.update(size=90, resample=2, image_mean=[0.5, 0.4, 0.3]),
    )
    image = load_manifest(export_model(copied, tmp_path / "out")).image
    assert (image.resize_px, image.size_px, image.resample) == (90, 80, "bilinear")
    assert image.mean == (0.5, 0.4, 0.3)


def test_the_model_card_gives_the_licence(copied: Path, tmp_path: Path) -> None:
    (copied / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    assert load_manifest(export_model(copied, tmp_path / "out")).licence == "apache-2.0"


def test_a_hub_id_is_downloaded_at_its_revision(copied: Path, tmp_path: Path) -> None:
    (copied / "onnx").mkdir()
    (copied / "onnx" / "model.onnx").write_bytes(b"not wanted")
    (copied / "pytorch_model.bin").write_bytes(b"not wanted: safetensors go first")
    (copied / "NOTICE.txt").write_text("of its authors")
    with HubServer({"org/model": copied}) as hub, clients_of(hub, tmp_path / "hf"):
        out = export_model("org/model", tmp_path / "out", revision="main")
        manifest = load_manifest(out)
        assert (manifest.source, manifest.revision) == ("org/model", COMMIT)
        assert (out / "NOTICE.txt").read_text() == "of its authors"
        assert not [r for r in hub.requests if "onnx" in r or "pytorch_model" in r]


@pytest.mark.parametrize(
    ("name", "error", "why"),
    [
        ("org/none", ModelNotFoundError, "Check the name"),
        ("org/model", ModelDownloadError, "Check the connection"),
        ("org/readme", ModelInvalidError, "neither config.json nor open_clip_config.json"),
        ("org/bare", ModelInvalidError, "no weights with these names: model.safetensors"),
    ],
)
def test_a_failed_download_is_one_error(
    copied: Path, tmp_path: Path, name: str, error: type[Exception], why: str
) -> None:
    (tmp_path / "models").mkdir()
    for other in ("readme", "bare"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "README.md").write_text("# A model")
    shutil.copyfile(copied / "config.json", tmp_path / "bare" / "config.json")
    repositories = {"org/model": copied}
    repositories |= {f"org/{other}": tmp_path / other for other in ("readme", "bare")}
    with (
        HubServer(repositories, {"model.safetensors": "500"}) as hub,
        clients_of(hub, tmp_path / "hf"),
        pytest.raises(error, match=why),
    ):
        export_model(name, tmp_path / "models" / "out")
    assert list((tmp_path / "models").iterdir()) == []


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def other_family(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def lose_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_preprocessor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def other_image_size(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", lambda c: c.update(size=96, crop_size=96))


def null_setting(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", lambda c: c.update(do_center_crop=None))


def null_sections(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c.update(vision_config=None, text_config=None))


def text_for_a_section(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c.update(text_config="none"))


def text_for_a_number(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c["text_config"].update(hidden_size="wide"))


def another_processor(folder: Path) -> None:
    edit(
        folder / "preprocessor_config.json",
        lambda c: c.update(image_processor_type="ViTImageProcessor"),
    )


def unknown_pad_token(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", lambda c: c.update(pad_token="[PAD]"))


def another_pattern(folder: Path) -> None:
    """Split texts at white space alone: transformers has CLIP's own pattern in its code."""
    edit(folder / "tokenizer.json", lambda c: c["pre_tokenizer"]["pretokenizers"].pop(0))


def squash_beside(folder: Path) -> None:
    body = {"model_cfg": {"vision_cfg": {"image_size": 80}}, "preprocess_cfg": {}}
    body["preprocess_cfg"]["resize_mode"] = "squash"
    (folder / "open_clip_config.json").write_text(json.dumps(body), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (break_config, "config.json"),
        (other_family, "bert"),
        (cut_weights, "checkpoint"),
        (lose_a_weight, "lack visual_projection"),
        (no_weights, "checkpoint"),
        (no_preprocessor, "preprocessor_config"),
        (no_tokenizer, "tokenizer"),
        (other_image_size, "96 px"),
        (null_setting, "keeps the aspect ratio and does not crop"),
        (null_sections, "80 px for an encoder of 224 px"),
        (text_for_a_section, "text_config is 'none', not a JSON object"),
        (text_for_a_number, "config.json"),
        (another_processor, "prepared by ViTImageProcessor"),
        (unknown_pad_token, "is not in its tokenizer"),
        (another_pattern, "gives other input_ids for"),
        (squash_beside, "open_clip_config.json disagree: resize is"),
    ],
)
def test_damaged_checkpoints(
    copied: Path, tmp_path: Path, damage: Callable[[Path], None], why: str
) -> None:
    damage(copied)
    with pytest.raises(ModelInvalidError, match=why):
        export_model(copied, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_a_trace_with_other_weights_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracer that goes wrong says nothing; its graphs are compared with torch."""
    from checkpoints import write_clip

    from datumaro_embed.exporting import from_transformers

    other, _ = from_transformers._load(write_clip(tmp_path / "other", seed=1))
    export = from_transformers._export
    monkeypatch.setattr(from_transformers, "_export", lambda model, to: export(other, to))
    with pytest.raises(ModelInvalidError, match="other vectors than torch"):
        export_model(checkpoint, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["other"]


def test_what_transformers_reads_is_read(copied: Path, model_dir: Path, tmp_path: Path) -> None:
    """Defaults, a padding token of the plain vocabulary, lower-casing that is not in the file."""
    images = {"size": 80, "crop_size": 80, "do_pad": None}
    (copied / "preprocessor_config.json").write_text(json.dumps(images))
    edit(copied / "tokenizer_config.json", lambda c: c.update(pad_token="!"))
    edit(copied / "tokenizer.json", lambda c: c["normalizer"]["normalizers"].pop())
    out = export_model(copied, tmp_path / "out")
    manifest, usual = load_manifest(out), load_manifest(model_dir)
    assert manifest.image == usual.image
    assert (manifest.text.pad_id, usual.text.pad_id != 0) == (0, True)
    texts = ["A Photo of a CAT.", "two DOGS"]
    expected = ClipEncoder.load(model_dir, precision="f32").embed_texts(texts)
    found = ClipEncoder.load(out, precision="f32").embed_texts(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("resize_px", [81, 83, 87])
def test_crops_that_transformers_cuts_one_pixel_elsewhere(
    copied: Path, tmp_path: Path, resize_px: int
) -> None:
    """(87 - 80) / 2 is 3 for transformers and 4 for torchvision, whose rule is ours."""
    edit(copied / "preprocessor_config.json", lambda c: c.update(size=resize_px))
    assert load_manifest(export_model(copied, tmp_path / "out")).image.resize_px == resize_px


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"resample": "bilinear"}, "prepared differently from its library"),
        ({"resize": "stretch"}, "prepared differently from its library"),
        ({"mean": (0.5, 0.5, 0.5)}, "prepared differently from its library"),
        ({"resize_px": 90}, "prepared differently from its library"),
        ({"scale": 1.0}, "prepared differently from its library"),
    ],
    ids=str,
)
def test_images_prepared_otherwise_are_refused(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    why: str,
) -> None:
    """A misreading of the settings would show only in vectors: pixels are compared first."""
    from datumaro_embed.exporting import from_transformers

    read = from_transformers.read_images

    def misread(folder: Path, family: str) -> Any:
        settings, spec = read(folder, family)
        return settings, replace(spec, **change)

    monkeypatch.setattr(from_transformers, "read_images", misread)
    with pytest.raises(ModelInvalidError, match=why):
        export_model(checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"pad_id": 7}, "other input_ids for ''"),
        ({"context_length": 24}, "other input_ids for ''"),
    ],
    ids=str,
)
def test_texts_prepared_otherwise_are_refused(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    why: str,
) -> None:
    from datumaro_embed.exporting import from_transformers

    complete = from_transformers.complete_tokenizer
    monkeypatch.setattr(
        from_transformers, "complete_tokenizer", lambda *a: replace(complete(*a), **change)
    )
    with pytest.raises(ModelInvalidError, match=why):
        export_model(checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_short_name_without_torch_weights_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Download it: `datumaro-embed pull dinov2-small`\.$"):
        export_model("dinov2-small", tmp_path / "m")


def test_no_such_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalidError, match="neither a directory nor"):
        export_model(tmp_path / "none", tmp_path / "out")


def test_an_existing_directory_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(StoreExistsError, match="exists"):
        export_model(checkpoint, tmp_path / "out")
    with pytest.raises(StoreExistsError, match=r"do not belong to a model \(mine\)"):
        export_model(checkpoint, tmp_path / "out", overwrite=True)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]
    (tmp_path / "out" / "mine").unlink()
    for _ in range(2):  # an empty folder, then a model
        export_model(checkpoint, tmp_path / "out", overwrite=True)
        assert load_manifest(tmp_path / "out").dim == 64
