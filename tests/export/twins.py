"""Random-weight twins of published models: the true configuration, files and names of files.

Each function writes a repository as transformers.js (or its author) publishes it, and returns
functions that give the vectors and tokens of the library that the model comes from.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from checkpoints import (
    preprocessor_config,
    write_clip,
    write_real_clip_tokenizer,
    write_siglip,
    write_siglip2,
)
from PIL import Image
from reference import TorchClip, TorchSiglip
from torchvision import transforms
from transformers import AutoTokenizer

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@dataclass
class Reference:
    """The library's own vectors, and its tokens; None for an image-only model."""

    images: Callable[[list[Image.Image]], Any]
    texts: Callable[[list[str]], Any] | None = None
    tokens: Callable[[list[str]], Any] | None = None


class _Part(torch.nn.Module):
    """One function of a model, to be traced."""

    def __init__(self, model: torch.nn.Module, run: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.model, self.run = model, run

    def forward(self, given: torch.Tensor) -> Any:
        return self.run(self.model, given)


def save_onnx(
    path: Path,
    model: Any,
    run: Callable[[Any, Any], Any],
    example: torch.Tensor,
    *outputs: str,
) -> None:
    """Write a part of a model: tokens for any batch, pixels also for any size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    given = "pixel_values" if example.ndim == 4 else "input_ids"
    # TorchScript made the published files, but does not trace transformers' masks of texts today.
    traces = example.ndim == 4
    axes: dict[int, Any] = {0: "batch", 2: "height", 3: "width"} if traces else {}
    shapes = {"given": {0: torch.export.Dim("batch", min=1, max=64)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Part(model, run).eval(),
            (example,),
            str(path),
            input_names=[given],
            output_names=list(outputs),
            opset_version=17 if traces else 18,
            dynamo=not traces,
            external_data=False,
            **({"dynamic_axes": {given: axes}} if traces else {"dynamic_shapes": shapes}),
        )


def clip(folder: Path, size_px: int, patch: int, width: int, layers: int, dim: int) -> Reference:
    """Write OpenAI's CLIP, with its real tokenizer."""
    texts = {"text_width": 512 if dim == 512 else 768, "text_layers": 12, "vocab_size": 49408}
    shape = {"image_size": size_px, "patch": patch, "width": width, "layers": layers, "dim": dim}
    write_clip(folder, **shape, **texts, context=77)
    write_real_clip_tokenizer(folder)
    theirs = TorchClip(folder)
    example = torch.zeros(2, 3, size_px, size_px)

    def image_part(model: Any, pixels: Any) -> Any:
        return model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)

    def text_part(model: Any, ids: Any) -> Any:
        return model.text_projection(model.text_model(input_ids=ids).pooler_output)

    ids = torch.full((2, 77), 49407)
    onnx = folder / "onnx"
    save_onnx(onnx / "vision_model.onnx", theirs.model, image_part, example, "image_embeds")
    save_onnx(onnx / "text_model.onnx", theirs.model, text_part, ids, "text_embeds")
    options = {"padding": "max_length", "truncation": True, "max_length": 77}
    return Reference(
        theirs.images, theirs.texts, lambda t: theirs.tokenizer(t, **options)["input_ids"]
    )


def siglip(
    folder: Path, size_px: int, patch: int, width: int, layers: int, vocab: int
) -> Reference:
    """Write SigLIP, or with a vocabulary of 256,000 SigLIP 2, with small tokenizers."""
    write = write_siglip2 if vocab == 256000 else write_siglip
    true = {"image_size": size_px, "patch": patch, "width": width, "layers": layers}
    write(folder, **true, context=64, vocab_size=vocab)
    if vocab == 32000:
        from datumaro_embed.exporting.from_transformers import _write_tokenizer

        _write_tokenizer(folder, folder / "tokenizer.json")
    theirs = TorchSiglip(folder)
    names = "last_hidden_state", "pooler_output"

    def image_part(model: Any, pixels: Any) -> Any:
        found = model.vision_model(pixel_values=pixels)
        return found.last_hidden_state, found.pooler_output

    def text_part(model: Any, ids: Any) -> Any:
        found = model.text_model(input_ids=ids)
        return found.last_hidden_state, found.pooler_output

    onnx, example = folder / "onnx", torch.zeros(2, 3, size_px, size_px)
    save_onnx(onnx / "vision_model.onnx", theirs.model, image_part, example, *names)
    ids = torch.ones((2, 64), dtype=torch.int64)
    save_onnx(onnx / "text_model.onnx", theirs.model, text_part, ids, *names)
    return Reference(theirs.images, theirs.texts, theirs.tokens)


def mobileclip(folder: Path, name: str, below: str) -> Reference:
    """Write MobileCLIP by OpenCLIP's name; `below` is the folder of its graphs."""
    import open_clip

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = open_clip.create_model(name, load_weights=False).eval()
    write_real_clip_tokenizer(folder)
    bodies = {
        "config.json": {"model_type": "clip"},
        "preprocessor_config.json": preprocessor_config(256, resample=2, do_normalize=False),
    }
    for file, body in bodies.items():
        (folder / below).mkdir(parents=True, exist_ok=True)
        (folder / ("" if below == "onnx" else below) / file).write_text(json.dumps(body))
    example, ids = torch.zeros(2, 3, 256, 256), torch.zeros((2, 77), dtype=torch.int64)
    ids[:, 5] = 49407
    onnx = folder / below
    save_onnx(
        onnx / "vision_model.onnx", model, lambda m, x: m.encode_image(x), example, "image_embeds"
    )
    save_onnx(onnx / "text_model.onnx", model, lambda m, x: m.encode_text(x), ids, "text_embeds")
    transform = open_clip.image_transform(
        256, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear"
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    options = {"padding": "max_length", "truncation": True, "max_length": 77}

    def tokenize(given: list[str]) -> Any:
        found = tokenizer(given, **options, return_tensors="pt")
        return found["input_ids"] * found["attention_mask"]  # OpenCLIP pads with zeros

    def images(pictures: list[Image.Image]) -> Any:
        with torch.no_grad():
            return model.encode_image(
                torch.stack([transform(picture.convert("RGB")) for picture in pictures])
            ).numpy()

    def texts(given: list[str]) -> Any:
        with torch.no_grad():
            return model.encode_text(tokenize(given)).numpy()

    return Reference(images, texts, lambda given: tokenize(given).numpy())


def dino(folder: Path, kind: str, width: int, heads: int) -> Reference:
    """Write DINOv2 or DINOv3, 12 layers deep."""
    import transformers

    folder.mkdir(parents=True)
    shape = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": 12}
    square = {"height": 224, "width": 224}
    torch.manual_seed(0)
    if kind == "DINOv3ViT":
        config = transformers.DINOv3ViTConfig(
            **shape, intermediate_size=4 * width, patch_size=16, num_register_tokens=4
        )
        images = {"image_processor_type": "DINOv3ViTImageProcessorFast", "resample": 2}
        images |= {"size": square, "do_resize": True, "do_rescale": True, "do_normalize": True}
    else:
        config = getattr(transformers, f"{kind}Config")(**shape, image_size=518, patch_size=14)
        images = preprocessor_config(224, image_processor_type="BitImageProcessor")
        images["size"] = {"shortest_edge": 256}
    model = getattr(transformers, f"{kind}Model")(config).eval()
    config.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**images, **IMAGENET}))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    example = torch.zeros(2, 3, 224, 224)
    save_onnx(
        folder / "onnx" / "model.onnx",
        model,
        lambda m, x: m(pixel_values=x).last_hidden_state,
        example,
        "last_hidden_state",
    )

    # The authors' pipeline is torchvision's; transformers crops some images one pixel elsewhere.
    prepare = transforms.Compose(
        [
            transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET["image_mean"], IMAGENET["image_std"]),
        ]
    )
    if kind == "DINOv3ViT":
        processor = transformers.AutoImageProcessor.from_pretrained(folder)

        def prepare(picture: Image.Image) -> Any:
            return processor(picture, return_tensors="pt")["pixel_values"][0]

    def vectors(pictures: list[Image.Image]) -> Any:
        pixels = torch.stack([prepare(picture.convert("RGB")) for picture in pictures])
        with torch.no_grad():
            return model(pixel_values=pixels).pooler_output.numpy()

    return Reference(vectors)
