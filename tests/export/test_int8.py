"""INT8 of the packaged model, calibrated on the sample data: real NNCF, real OpenVINO."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datumaro_embed.adapter import SourceDataset, import_dataset
from datumaro_embed.encoders import ClipEncoder, load_encoder
from datumaro_embed.errors import ModelFidelityError, UsageError
from datumaro_embed.exporting import import_model
from datumaro_embed.models import load_manifest, resolve_model
from datumaro_embed.quantising import Fidelity, export_int8, quantise_model
from support import SAMPLE, run

COCO = str(SAMPLE / "coco")


@pytest.fixture(scope="module", autouse=True)
def _needs_nncf() -> None:
    pytest.importorskip("nncf", reason="needs datumaro-embed[quantise]")


@pytest.fixture(scope="module")
def source() -> SourceDataset:
    return import_dataset(COCO).source


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory, source: SourceDataset) -> tuple[Path, Fidelity]:
    out = tmp_path_factory.mktemp("int8") / "demo-int8"
    return out, quantise_model("demo", source, out, calibration_items=40, force=True)


def test_only_the_image_encoder_changes(int8: tuple[Path, Fidelity]) -> None:
    full, small = load_manifest(resolve_model("demo")), load_manifest(int8[0])
    changed = {name for name in full.files if full.files[name] != small.files[name]}
    assert changed == {"image_encoder.xml", "image_encoder.bin"}
    assert (small.precision, small.name, small.image, small.text) == (
        "int8",
        "demo-int8",
        full.image,
        full.text,
    )
    assert small.fingerprint != full.fingerprint
    assert small.golden.text_vector == full.golden.text_vector
    assert small.golden.image_vector != full.golden.image_vector
    sizes = [(d / "image_encoder.bin").stat().st_size for d in (int8[0], resolve_model("demo"))]
    assert sizes[0] < sizes[1]
    assert "FakeQuantize" in (int8[0] / "image_encoder.xml").read_text()


def test_the_table_is_in_the_manifest_and_true(
    int8: tuple[Path, Fidelity], source: SourceDataset
) -> None:
    body = json.loads((int8[0] / "model.json").read_text())
    fidelity = Fidelity(**body["fidelity"])
    assert fidelity == int8[1]
    assert fidelity.n_calibration + fidelity.n_held_out == sum(1 for _ in source)
    assert 0.9 < fidelity.cosine_min <= fidelity.cosine_mean <= 1
    assert 0 < fidelity.recall_at_10 <= 1
    assert fidelity.zero_shot_agreement is not None


def test_a_model_without_texts(tmp_path: Path, source: SourceDataset) -> None:
    spec = load_manifest(resolve_model("demo")).image
    full = import_model(
        resolve_model("demo") / "image_encoder.xml",
        tmp_path / "full",
        size=spec.size_px,
        mean=spec.mean,
        std=spec.std,
        resize_px=spec.resize_px,
    )
    fidelity = quantise_model(full, source, tmp_path / "m", calibration_items=40, force=True)
    assert fidelity.zero_shot_agreement is None
    manifest = load_manifest(tmp_path / "m")
    assert (manifest.precision, manifest.text) == ("int8", None)
    images = [Image.new("RGB", (80, 60), color) for color in ("red", "blue")]
    ours, theirs = (load_encoder(m).embed_images(images) for m in (tmp_path / "m", full))
    assert np.einsum("ij,ij->i", ours, theirs).min() > 0.9


def test_int8_vectors_do_not_depend_on_batches(int8: tuple[Path, Fidelity]) -> None:
    encoder = ClipEncoder.load(int8[0], batch_size=8)
    side = encoder.image_size_px
    pixels = np.random.default_rng(0).integers(0, 256, (30, side, side, 3), dtype=np.uint8)
    expected = np.concatenate(list(encoder.embed_pixels(np.array_split(pixels, 4))))
    order = np.random.default_rng(1).permutation(30)
    found = np.concatenate(list(encoder.embed_pixels(np.array_split(pixels[order], 11))))
    assert found.tobytes() == expected[order].tobytes()


def test_equal_calibrations_give_equal_files(
    int8: tuple[Path, Fidelity], source: SourceDataset, tmp_path: Path
) -> None:
    quantise_model("demo", source, tmp_path / "again", calibration_items=40, force=True)
    assert load_manifest(tmp_path / "again").fingerprint == load_manifest(int8[0]).fingerprint


def test_too_far_is_refused_and_nothing_is_written(source: SourceDataset, tmp_path: Path) -> None:
    with pytest.raises(ModelFidelityError, match="nothing was written") as caught:
        quantise_model("demo", source, tmp_path / "out", calibration_items=20, min_recall=1.0)
    assert caught.value.fidelity["recall_at_10"] < 1
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_quantised(
    int8: tuple[Path, Fidelity], source: SourceDataset, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="already an INT8 model"):
        quantise_model(int8[0], source, tmp_path / "out")
    few = source.only(set(list(source.keys())[:10]).__contains__)
    with pytest.raises(UsageError, match="preferably hundreds"):
        quantise_model("demo", few, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "m"
    arguments = ["--precision", "int8", "--calibrate", COCO, "--force", "--calibration-items", "30"]
    done = run("datumaro-embed", "export-model", "demo", "-o", out, *arguments)
    assert done.returncode == 0, done.stderr
    assert "recall@10" in done.stdout
    done = run(
        "datumaro-embed", "embed", SAMPLE / "coco", "--store", tmp_path / "x.h5", "--model", out
    )
    assert done.returncode == 0, done.stderr


def test_a_checkpoint_becomes_int8_at_once(checkpoint: Path, tmp_path: Path) -> None:
    fidelity = export_int8(str(checkpoint), tmp_path / "m", calibrate=COCO, force=True)
    manifest = load_manifest(tmp_path / "m")
    assert (manifest.precision, manifest.source) == ("int8", "tiny-clip")
    assert manifest.fidelity is not None
    assert fidelity.n_held_out > 20


def test_parity_of_the_texts(int8: tuple[Path, Fidelity]) -> None:
    texts = ["a cat", "", "a photo of a dog"]
    full, small = (ClipEncoder.load(d).embed_texts(texts) for d in ("demo", int8[0]))
    assert full.tobytes() == small.tobytes()
