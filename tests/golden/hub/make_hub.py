"""Write the tiny repositories in the layout of transformers.js that the tests of `pull` serve.

    PYTHONPATH=src:tests/export python tests/golden/hub/make_hub.py [clip|dinov2|weights]

Needs the export extra, and onnx, onnxscript and onnxruntime. Random weights: no vector here means
anything, but `expected*.json` hold those that transformers gives for the same checkpoints.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from checkpoints import write_clip
from PIL import Image
from reference import TorchClip
from transformers import CLIPModel, Dinov2Config, Dinov2Model
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

HERE = Path(__file__).parent
TARGET = HERE / "tiny-clip"
# Both transformers and torchvision crop these at the same pixel.
SIZES = ((48, 50), (48, 54), (62, 48), (90, 48), (70, 70), (96, 120))
TEXTS = ["", "a photo of a cat", "A Photo of a CAT, a dog and a red ball", "word " * 60, "猫 🐈"]


def drawn(n_images: int) -> list[Image.Image]:
    """Return smooth images, the same from the same NumPy everywhere."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (n_images, 5, 7, 3), dtype=np.uint8)
    return [Image.fromarray(c).resize((50 + 9 * i, 70)) for i, c in enumerate(coarse)]


class _Images(torch.nn.Module):
    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        pooled = self.model.vision_model(pixel_values=pixel_values).pooler_output
        return self.model.visual_projection(pooled)


class _Texts(torch.nn.Module):
    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model.text_projection(self.model.text_model(input_ids=input_ids).pooler_output)


class _Hidden(torch.nn.Module):
    def __init__(self, model: Dinov2Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values).last_hidden_state


def make_clip() -> None:
    """Write the CLIP repository and what transformers says."""
    shutil.rmtree(TARGET, ignore_errors=True)
    (TARGET / "onnx").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = write_clip(
            Path(scratch) / "tiny", image_size=32, width=32, layers=1, dim=16, text_width=32,
            text_layers=1, context=24,
        )  # fmt: skip
        for name in ("config.json", "preprocessor_config.json", "tokenizer.json"):
            shutil.copyfile(checkpoint / name, TARGET / name)
        shutil.copyfile(checkpoint / "tokenizer_config.json", TARGET / "tokenizer_config.json")
        reference = TorchClip(checkpoint)
        expected = {
            "images": reference.images(drawn(6)).tolist(),
            "texts": reference.texts(TEXTS).tolist(),
        }
    (TARGET / "README.md").write_text("---\nlicense: mit\n---\nRandom weights.\n")
    (HERE / "expected.json").write_text(json.dumps(expected) + "\n")
    export(reference.model)


def export(model: CLIPModel) -> None:
    """Write both encoders as ONNX, named as transformers.js names them."""
    parts = (
        ("vision", _Images(model), "pixel_values", torch.zeros(2, 3, 32, 32), "image_embeds"),
        ("text", _Texts(model), "input_ids", torch.zeros(2, 24, dtype=torch.int64), "text_embeds"),
    )
    for name, module, given, example, output in parts:
        save_onnx(TARGET / "onnx" / f"{name}_model.onnx", module, given, example, output)


def save_onnx(
    path: Path, module: torch.nn.Module, given: str, example: torch.Tensor, output: str
) -> None:
    """Write a module as ONNX, for any batch and, of images, any size."""
    sizes = {2: "height", 3: "width"} if example.ndim == 4 and output == "last_hidden_state" else {}
    dynamic = {0: torch.export.Dim("batch", min=1, max=64)}
    dynamic |= dict.fromkeys(sizes, torch.export.Dim.DYNAMIC)
    torch.onnx.export(
        module.eval(),
        (example,),
        path,
        input_names=[given],
        output_names=[output],
        dynamic_shapes={given: dynamic},
        opset_version=18,
        external_data=False,
        dynamo=True,
    )
    written = onnx.load(path)
    for part in (written, written.graph, *written.graph.node, *written.graph.value_info):
        part.ClearField("metadata_props")  # stack traces, with the paths of this machine
        if isinstance(part, onnx.NodeProto):
            part.ClearField("doc_string")
    onnx.save(written, path)


def make_dinov2() -> None:
    """Write the DINOv2 repository, trained at another size than it is used at, as all are."""
    target = HERE / "tiny-dinov2"
    shutil.rmtree(target, ignore_errors=True)
    (target / "onnx").mkdir(parents=True)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = Dinov2Model(Dinov2Config(**shape, image_size=70, patch_size=14)).eval()
    model.config.save_pretrained(target)
    images = {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": 48},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 42, "width": 42},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (target / "preprocessor_config.json").write_text(json.dumps(images, indent=2) + "\n")
    (target / "README.md").write_text("---\nlicense: apache-2.0\n---\nRandom weights.\n")
    path = target / "onnx" / "model.onnx"
    save_onnx(path, _Hidden(model), "pixel_values", torch.zeros(2, 3, 42, 42), "last_hidden_state")
    rows = []
    for image, size in zip(drawn(6), SIZES, strict=True):
        image = image.resize(size)
        pixels = BitImageProcessorPil.from_pretrained(target)(image, return_tensors="pt")
        with torch.no_grad():
            row = model(**pixels).pooler_output[0]
        rows.append((row / row.norm()).tolist())
    (HERE / "expected-dinov2.json").write_text(json.dumps({"images": rows}) + "\n")


def make_weights() -> None:
    """Write the fp16 and int8 files of the CLIP repository as transformers.js makes them."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.float16 import convert_float_to_float16

    for name in ("vision_model", "text_model"):
        path = TARGET / "onnx" / f"{name}.onnx"
        half = convert_float_to_float16(onnx.load(path), keep_io_types=True)
        onnx.save(half, path.with_stem(f"{name}_fp16"))
        quantize_dynamic(path, path.with_stem(f"{name}_quantized"), weight_type=QuantType.QUInt8)


if __name__ == "__main__":
    for made in sys.argv[1:] or ["clip", "dinov2", "weights"]:
        {"clip": make_clip, "dinov2": make_dinov2, "weights": make_weights}[made]()
