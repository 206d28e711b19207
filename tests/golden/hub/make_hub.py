"""Write the tiny repository in the layout of transformers.js that the tests of `pull` serve.

    PYTHONPATH=src:tests/export python tests/golden/hub/make_hub.py

Needs the export extra, and onnx and onnxscript. Random weights: no vector here means anything, but
`expected.json` holds those that transformers gives for the same checkpoint.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from checkpoints import write_clip
from PIL import Image
from reference import TorchClip
from transformers import CLIPModel

HERE = Path(__file__).parent
TARGET = HERE / "tiny-clip"
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


def main() -> None:
    """Write the repository and what transformers says."""
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
        path = TARGET / "onnx" / f"{name}_model.onnx"
        torch.onnx.export(
            module.eval(),
            (example,),
            path,
            input_names=[given],
            output_names=[output],
            dynamic_shapes={given: {0: torch.export.Dim("batch", min=1, max=64)}},
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


if __name__ == "__main__":
    main()
