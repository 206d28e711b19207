"""ClipEncoder on the packaged model: real IR, real OpenVINO (the contract is in tests/contract)."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from PIL import Image

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.encoders.engine import Engine
from datumaro_embed.encoders.runtime import Runtime
from datumaro_embed.errors import (
    DeviceNotFoundError,
    InferenceError,
    ModelInvalidError,
    ModelNotFoundError,
    UsageError,
)
from datumaro_embed.models import openvino_core, resolve_model
from datumaro_embed.models.manifest import load_manifest
from datumaro_embed.models.tokenizers import TextTokenizer
from model_support import sign
from support import run


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Give a copy of the demo model to damage."""
    return Path(shutil.copytree(resolve_model("demo"), tmp_path / "copy"))


def random_pixels(encoder: ClipEncoder, n_images: int) -> Any:
    side = encoder.image_size_px
    return np.random.default_rng(0).integers(0, 256, (n_images, side, side, 3), dtype=np.uint8)


# ----------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_bits_do_not_depend_on_batches_streams_or_order(precision: str) -> None:
    encoder = ClipEncoder.load("demo", batch_size=8, precision=precision)
    pixels = random_pixels(encoder, 50)
    expected = np.concatenate(list(encoder.embed_pixels(np.array_split(pixels, 7))))
    order = np.random.default_rng(1).permutation(50)
    for n_parts in (7, 17, 50):
        parts = np.array_split(pixels[order], n_parts)
        found = np.concatenate(list(encoder.embed_pixels(parts)))
        assert found.tobytes() == expected[order].tobytes()
    one_stream = ClipEncoder.load("demo", batch_size=8, precision=precision, streams=1)
    found = np.concatenate(list(one_stream.embed_pixels(np.array_split(pixels, 7))))
    assert np.abs(found - expected).max() <= (1e-6 if precision == "f32" else 0.02)


def test_the_graph_does_what_the_manifest_says() -> None:
    """Scaling, mean, std and layout in the compiled graph against NumPy and the bare IR."""
    encoder = ClipEncoder.load("demo", batch_size=4, precision="f32")
    spec = encoder.manifest.image
    pixels = random_pixels(encoder, 4)
    values = (pixels.astype(np.float64) * spec.scale - spec.mean) / spec.std
    bare = openvino_core().compile_model(
        resolve_model("demo") / "image_encoder.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    rows = bare(np.ascontiguousarray(values.transpose(0, 3, 1, 2).astype(np.float32)))[0]
    (found,) = encoder.embed_pixels([pixels])
    np.testing.assert_allclose(found, rows / np.linalg.norm(rows, axis=1)[:, None], atol=1e-5)


def test_texts_do_not_depend_on_padding() -> None:
    """The bare IR on a text alone, unpadded, gives the vector of the padded batch."""
    encoder = ClipEncoder.load("demo", precision="f32")
    spec = encoder.manifest.text
    tokenize = TextTokenizer(resolve_model("demo") / "tokenizer.json", spec)
    core = openvino_core()
    model = core.read_model(resolve_model("demo") / "text_encoder.xml")
    ids, mask = tokenize(["a photo of a cat"])
    n_tokens = int(mask.sum())
    model.reshape({name: [1, n_tokens] for name in spec.inputs})
    arrays = {"input_ids": ids[:, :n_tokens], "attention_mask": mask[:, :n_tokens]}
    bare = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    row = bare({name: arrays[name] for name in spec.inputs})[0][0]
    found = encoder.embed_texts(["a photo of a cat"])[0]
    np.testing.assert_allclose(found, row / np.linalg.norm(row), atol=1e-5)


@pytest.mark.slow
def test_a_text_compiles_no_image_encoder() -> None:
    eager, lazy = ClipEncoder.load("demo"), ClipEncoder.load("demo", lazily=True)
    pixels = np.zeros((1, lazy.image_size_px, lazy.image_size_px, 3), np.uint8)
    assert np.array_equal(lazy.embed_texts(["a cat"]), eager.embed_texts(["a cat"]))
    assert [engine.name for engine in lazy.engines()] == ["text encoder"]
    assert np.array_equal(lazy.embed(pixels), eager.embed(pixels))
    assert [engine.name for engine in lazy.engines()] == ["image encoder", "text encoder"]


@pytest.mark.slow
@pytest.mark.parametrize("order", ["first, second", "second, first"])
def test_an_interrupt_after_encoders_are_gone_is_only_that(order: str) -> None:
    """OpenVINO moves the stack of signal handlers, and frees it with its last plugin."""
    code = (
        "import signal\n"
        "from datumaro_embed import ClipEncoder\n"
        "first, second = ClipEncoder.load('demo'), ClipEncoder.load('demo')\n"
        f"for encoder in ({order}): encoder.embed_texts(['x'])\n"
        f"{''.join(f'del {name}; ' for name in order.split(', '))}del encoder\n"
        "try: signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    done = run(sys.executable, "-c", code)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_labels_go_through_the_prompt_template(copied: Path) -> None:
    body = json.loads((copied / "model.json").read_text(encoding="utf-8"))
    body["prompt_template"] = "a drawing of a {}, a {}"
    (copied / "model.json").write_text(json.dumps(body), encoding="utf-8")
    encoder = ClipEncoder.load(copied)
    assert encoder.label_prompt("traffic_light") == (
        "a drawing of a traffic light, a traffic light"
    )


def test_exif_orientation_counts(tmp_path: Path) -> None:
    encoder = ClipEncoder.load("demo")
    rng = np.random.default_rng(0)
    upright = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    rows = encoder.embed_images([tmp_path / "upright.png", tmp_path / "turned.png"])
    assert rows[0].tobytes() == rows[1].tobytes()


# -------------------------------------------------------------------------------------- provenance


@pytest.mark.parametrize("precision", ["f32", "auto"])
def test_provenance_says_what_runs(precision: str) -> None:
    encoder = ClipEncoder.load("demo", precision=precision, batch_size=3, streams=1)
    facts = encoder.provenance()
    manifest = load_manifest(resolve_model("demo"))
    assert facts["model"]["files"] == manifest.files
    assert facts["model"]["fingerprint"] == encoder.fingerprint == manifest.fingerprint
    assert facts["requested_precision"] == precision
    assert facts["precision"] in {"f32", "bf16", "f16"}
    if precision == "f32":
        assert facts["precision"] == "f32"
    assert (facts["device"], facts["batch_size"], facts["streams"]) == ("CPU", 3, 1)
    assert facts["device_name"]
    assert facts["openvino"].startswith(ov.__version__.split("-")[0])
    assert facts["preprocessing"]["resample"] == manifest.image.resample


# ------------------------------------------------------------------------------------------ errors


def test_unknown_model() -> None:
    with pytest.raises(ModelNotFoundError, match="--model demo"):
        ClipEncoder.load("no-such-model")


@pytest.mark.parametrize("device", ["GPU.7", "FPGA", "CPU.1", "", "AUTO:FPGA", "HETERO", "cpu"])
def test_absent_devices_list_those_present(device: str) -> None:
    with pytest.raises(DeviceNotFoundError, match="CPU") as caught:
        ClipEncoder.load("demo", device=device)
    assert "CPU" in caught.value.present


@pytest.mark.slow
@pytest.mark.parametrize("device", ["AUTO", "AUTO:CPU", "MULTI:CPU", "HETERO:CPU", "BATCH:CPU"])
def test_devices_that_stand_for_others(device: str, demo_encoder: ClipEncoder) -> None:
    texts = ["a cat", "two dogs and a red ball"]
    usual, encoder = demo_encoder, ClipEncoder.load("demo", device=device, precision="f32")
    facts = encoder.provenance()
    assert (facts["device"], facts["precision"]) == ("CPU", "f32")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    for found, expected in (
        (encoder.embed_images([pixels]), usual.embed_images([pixels])),
        (encoder.embed_texts(texts), usual.embed_texts(texts)),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("options", [{"precision": "f8"}, {"streams": 0}, {"batch_size": 0}])
def test_options_that_mean_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ClipEncoder.load("demo", **options)


def test_a_changed_weight_is_refused(copied: Path) -> None:
    data = bytearray((copied / "image_encoder.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (copied / "image_encoder.bin").write_bytes(data)
    with pytest.raises(ModelInvalidError, match=r"image_encoder\.bin"):
        ClipEncoder.load(copied)


@pytest.mark.parametrize("name", ["image_encoder.xml", "image_encoder.bin", "text_encoder.xml"])
def test_damaged_encoders_with_true_hashes(copied: Path, name: str) -> None:
    (copied / name).write_bytes((copied / name).read_bytes()[:100])
    sign(copied)
    with pytest.raises(ModelInvalidError, match="OpenVINO cannot read the model file"):
        ClipEncoder.load(copied).embed_texts(["x"])


def test_a_dim_that_is_not_the_models(copied: Path) -> None:
    seven = "ADwAPAA8ADwAPAA8ADw="
    sign(copied, dim=7, golden={"text": "a", "image_vector": seven, "text_vector": seven})
    with pytest.raises(ModelInvalidError, match=r"model\.json says 7"):
        ClipEncoder.load(copied)


def test_openvinos_errors_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ClipEncoder.load("demo", batch_size=2)
    pixels = random_pixels(encoder, 2)

    def broken() -> None:
        raise RuntimeError("Exception from src/x.cpp:1:\nout of luck\n")

    class Request:
        def __init__(self, real: Any) -> None:
            self.set_tensor = real.set_tensor
            self.start_async = lambda: None
            self.wait = broken

    make = Engine._new_request
    monkeypatch.setattr(Engine, "_new_request", lambda self: Request(make(self)))
    with pytest.raises(InferenceError, match="running a batch: out of luck") as caught:
        list(encoder.embed_pixels([pixels]))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_values_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    x = ov.opset8.parameter([-1, 3, 2, 2], np.float32, name="pixel_values")
    x.output(0).tensor.set_names({"pixel_values"})
    rows = ov.opset8.reduce_sum(ov.opset8.log(x), [2, 3])
    ov.save_model(ov.Model([rows], [x]), tmp_path / "m.xml")
    spec = load_manifest(resolve_model("demo")).image
    graph = Engine(
        tmp_path / "m.xml",
        Runtime("CPU", "f32", None),
        {"pixel_values": (1, 2, 2, 3)},
        dim=3,
        image=spec,
    )
    with pytest.raises(InferenceError, match="not finite"):
        list(graph.run([{"pixel_values": np.zeros((1, 2, 2, 3), np.uint8)}]))


def test_short_texts_are_computed_short_and_their_vectors_are_those_of_the_whole_context() -> None:
    encoder = ClipEncoder.load("demo", precision="f32")
    texts = ["", "cat", *("a photo of a cat" + " and a dog" * n for n in range(30)), "é" * 400]
    encoder.embed_texts(["x"])
    ids, mask = encoder._tokenize(texts)
    assert len(set((-(-mask.sum(axis=1) // encoder._length_step)).tolist())) > 2
    whole = encoder.manifest.text.context_length
    graph = Engine(
        resolve_model("demo") / "text_encoder.xml",
        Runtime("CPU", "f32", None),
        dict.fromkeys(encoder.manifest.text.inputs, (len(texts), whole)),
        dim=encoder.dim,
    )
    arrays = {"input_ids": ids, "attention_mask": mask}
    (rows,) = graph.run([{name: arrays[name] for name in encoder.manifest.text.inputs}])
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    found = encoder.embed_texts(texts)

    assert np.abs(found - expected).max() < 1e-6
    order = np.random.default_rng(0).permutation(len(texts))
    np.testing.assert_array_equal(encoder.embed_texts([texts[i] for i in order]), found[order])
    for i in (0, 5, 32):
        np.testing.assert_array_equal(encoder.embed_texts([texts[i]])[0], found[i])
