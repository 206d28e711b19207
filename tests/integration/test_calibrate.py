"""`calibrate`: a threshold for duplicates of each model, measured on the user's images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from datumaro.components.dataset import Dataset
from openvino import opset13 as ops
from PIL import Image, ImageEnhance

from datumaro_embed import find_duplicates, open_store
from datumaro_embed.auditing import calibrate, find_copies
from datumaro_embed.cli import main
from datumaro_embed.errors import (
    CalibrationError,
    ModelInvalidError,
    ModelMismatchError,
    UsageError,
)
from datumaro_embed.exporting import import_model
from datumaro_embed.models import Calibration, load_manifest, resolve_model, save_calibration
from support import SAMPLE, run

pytestmark = pytest.mark.slow

N_PLANTED = 12


def halves() -> Iterator[Image.Image]:
    """Yield both halves of each scene of the sample data, but for those that show little."""
    for file in sorted((SAMPLE / "coco" / "images").rglob("scene_*.jpg")):
        picture = Image.open(file).convert("RGB")
        w, h = picture.size
        x, y = (w // 2, 0) if w >= h else (0, h // 2)
        parts = [picture.crop((0, 0, x or w, y or h)), picture.crop((x, y, w, h))]
        if all(np.asarray(part.convert("L")).std() > 20 for part in parts):
            yield from parts


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of pictures; some have a darker, smaller copy, as calibration makes none."""
    folder = tmp_path_factory.mktemp("images")
    for number, part in enumerate(halves()):
        part.save(folder / f"{number:03}.png")
        if number < N_PLANTED:
            smaller = part.resize((part.width * 2 // 3, part.height * 2 // 3))
            ImageEnhance.Brightness(smaller).enhance(0.9).save(folder / f"{number:03}_copy.png")
    return folder


def embedded(images: Path, model: Path, store: Path) -> Path:
    done = run("datumaro-embed", "embed", f"{images}:image_dir", "--store", store, "--model", model)
    assert done.returncode == 0, done.stderr
    return store


def biased(bias: float, folder: Path) -> Path:
    """Make an image encoder of which all vectors are nearly parallel: the demo's, and a constant.

    `bias`: length of the constant, by that of the image's own vector.
    """
    demo = resolve_model("demo")
    model = openvino.Core().read_model(demo / "image_encoder.xml")
    rows = model.output(0).get_node().input_value(0)
    unit = ops.normalize_l2(rows, np.array([1], np.int64), 1e-12, "add")
    dim = load_manifest(demo).dim
    moved = ops.add(unit, np.full((1, dim), bias / dim**0.5, np.float32))
    folder.mkdir()
    openvino.save_model(openvino.Model([moved], model.get_parameters()), folder / "biased.xml")
    spec = load_manifest(demo).image
    return import_model(
        folder / "biased.xml",
        folder / "biased",
        size=spec.size_px,
        mean=spec.mean,
        std=spec.std,
        resize_px=spec.resize_px,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the packaged model without a calibration."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    shutil.copytree(resolve_model("demo"), folder)
    body = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    body |= {"name": "mine", "duplicates": None}
    (folder / "model.json").write_text(json.dumps(body), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def store(images: Path, demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedded(images, demo, tmp_path_factory.mktemp("store") / "e.h5")


@pytest.fixture(scope="module")
def calibrated(store: Path, demo: Path) -> Calibration:
    return calibrate(store, model=str(demo))


@pytest.fixture
def model(demo: Path, tmp_path: Path) -> Path:
    """Return a model that a test may change."""
    return Path(shutil.copytree(demo, tmp_path / "own"))


def planted(store: Path, **options: Any) -> tuple[int, int]:
    """Count the planted pairs that are found, and pairs that no group of proven copies has."""
    with open_store(store) as opened:
        keys = opened.keys()
        groups = [{keys[row] for row in group.rows} for group in find_copies(opened).groups]
    pairs = [{p.first, p.second} for p in find_duplicates(store, **options).pairs]
    right = sum(f"{min(pair).id}_copy" == max(pair).id for pair in pairs)
    return right, sum(not any(pair <= group for group in groups) for pair in pairs)


def test_the_threshold_tells_copies_from_different_images(store: Path, model: Path) -> None:
    assert main(["calibrate", str(store), "--model", str(model)]) == 0
    found = load_manifest(model).duplicates
    assert found is not None
    with open_store(store) as opened:
        assert found.n_images == opened.n_rows
    assert found.different <= 0.01
    assert min(found.copies["recompressed"], found.copies["resized"]) > 0.9
    right, wrong = planted(store, model=str(model))
    assert (right, wrong <= 1) == (N_PLANTED, True)


def test_only_the_calibration_is_written(
    store: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((model / "model.json").read_text(encoding="utf-8"))
    names = sorted(path.name for path in model.iterdir())
    words = ["calibrate", str(store), "--model", str(model)]
    assert main([*words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert json.loads((model / "model.json").read_text(encoding="utf-8")) == before
    assert main(words) == 0
    assert capsys.readouterr().out == f"{told}written to {model / 'model.json'}\n"
    after = json.loads((model / "model.json").read_text(encoding="utf-8"))
    found = after.pop("duplicates")
    assert after == {name: value for name, value in before.items() if name != "duplicates"}
    assert f"threshold for duplicates {found['threshold']:g}" in told
    assert sorted(path.name for path in model.iterdir()) == names
    load_manifest(model)


def test_two_calibrations_are_equal(store: Path, model: Path, calibrated: Calibration) -> None:
    assert calibrate(store, model=str(model)) == calibrated


def test_the_flag_wins_over_the_model_and_the_model_over_the_default(
    store: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATUMARO_EMBED_MODELS", str(model.parent))
    named = model.rename(model.parent / "mine")  # as the store has it
    assert main(["duplicates", str(store)]) == 0
    assert "threshold 0.95 (default):" in capsys.readouterr().out
    assert main(["calibrate", str(store)]) == 0
    found = load_manifest(named).duplicates
    assert found is not None
    capsys.readouterr()
    assert main(["duplicates", str(store)]) == 0
    told = f"threshold {found.threshold:g} (calibrated for mine on e.h5):"
    assert told in capsys.readouterr().out
    assert main(["duplicates", str(store), "--threshold", "0.9123"]) == 0
    assert "threshold 0.9123:" in capsys.readouterr().out
    assert find_duplicates(store, threshold=0.9123).threshold_of == "caller"
    named.rename(model.parent / "gone")
    assert find_duplicates(store).threshold_of == "default"


def test_the_transform_uses_it_and_tells(
    store: Path,
    images: Path,
    model: Path,
    calibrated: Calibration,
    caplog: pytest.LogCaptureFixture,
) -> None:
    save_calibration(model, calibrated)
    dataset = Dataset.import_from(str(images), "image_dir")
    options = {"store": store, "model": str(model), "action": "drop"}
    with caplog.at_level("INFO", "datumaro_embed"):
        kept = sum(1 for _ in dataset.transform("clip_duplicates", **options))
    report = find_duplicates(store, model=str(model))
    assert f"threshold {report.threshold:g} (calibrated for mine on e.h5)" in caplog.text
    with open_store(store) as opened:
        assert kept == len(opened) - sum(len(group.keys) - 1 for group in report.groups)


def test_another_model_has_another_threshold(images: Path, tmp_path: Path) -> None:
    model = biased(2.0, tmp_path / "made")
    store = embedded(images, model, tmp_path / "e.h5")
    assert main(["calibrate", str(store), "--model", str(model)]) == 0
    found = load_manifest(model).duplicates
    assert found is not None
    assert found.threshold > 0.97
    by_default = planted(store, threshold=0.95)
    calibrated = planted(store, model=str(model))
    assert (by_default[0], calibrated[0]) == (N_PLANTED, N_PLANTED)
    assert calibrated[1] <= 1 < by_default[1]


def test_a_model_that_tells_nothing_apart_is_not_calibrated(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = biased(60.0, tmp_path / "made")
    store = embedded(images, model, tmp_path / "e.h5")
    before = (model / "model.json").read_bytes()
    assert main(["calibrate", str(store), "--model", str(model)]) == 1
    told = capsys.readouterr().err
    assert "No threshold tells copies of these images from different ones" in told
    assert "Traceback" not in told
    assert (model / "model.json").read_bytes() == before
    with pytest.raises(CalibrationError) as caught:
        calibrate(store, model=str(model))
    assert sum(caught.value.calibration.copies.values()) < 1.5


def test_a_damaged_calibration_is_named(
    store: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model / "model.json"
    body = json.loads(path.read_text(encoding="utf-8"))
    body["duplicates"] = {
        "threshold": 1.5,
        "store": "e.h5",
        "n_images": 9,
        "copies": {},
        "different": 0,
    }
    path.write_text(json.dumps(body), encoding="utf-8")
    words = ["duplicates", str(store), "--model", str(model)]
    assert main(words) == 1
    assert f"{path} cannot be used: duplicates.threshold is 1.5" in capsys.readouterr().err
    assert main([*words, "--threshold", "0.9"]) == 0
    with pytest.raises(ModelInvalidError, match=r"duplicates\.threshold"):
        calibrate(store, model=str(model))


def test_what_cannot_be_calibrated(
    store: Path,
    images: Path,
    demo: Path,
    calibrated: Calibration,
    coco_store: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match=r"Only 69 images .* calibration needs 100"):
        calibrate(coco_store)
    with pytest.raises(UsageError, match=r"Only 0 images .* give their folder with media_root"):
        calibrate(store, model=str(demo), media_root=tmp_path)
    with open_store(store) as opened, pytest.raises(ModelMismatchError):
        find_duplicates(opened, model=str(biased(1.0, tmp_path / "made")))
    moved = Path(shutil.copytree(images, tmp_path / "moved"))
    assert calibrate(store, model=str(demo), media_root=moved) == calibrated


def test_captions_have_the_default(objects_store: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(resolve_model("demo"), tmp_path / "demo"))
    path = model / "model.json"
    body = json.loads(path.read_text(encoding="utf-8"))
    body["duplicates"] = {
        "threshold": 0.7,
        "store": "e.h5",
        "n_images": 900,
        "copies": {},
        "different": 0,
    }
    path.write_text(json.dumps(body), encoding="utf-8")
    found = {
        of: find_duplicates(objects_store, of=of, model=str(model))
        for of in ("items", "objects", "captions")
    }
    chosen = {of: (report.threshold, report.threshold_of) for of, report in found.items()}
    assert chosen == {
        "items": (0.7, "calibrated for demo on e.h5"),
        "objects": (0.7, "calibrated for demo on e.h5"),
        "captions": (0.95, "default"),
    }
