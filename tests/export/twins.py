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

import pytest
import torch
from checkpoints import (
    CLIP_MEAN,
    CLIP_STD,
    preprocessor_config,
    write_clip,
    write_real_clip_tokenizer,
    write_siglip,
    write_siglip2,
)
from PIL import Image
from reference import TorchClip, TorchSiglip, openai_pixels
from relatives import Reference as Relative
from relatives import word_pieces, write_chinese_clip, write_xlm_roberta_tokenizer
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


class _Both(torch.nn.Module):
    """Both encoders as one network, as some repositories have them."""

    def __init__(self, model: torch.nn.Module, run: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.run = model, run

    def forward(self, input_ids: Any, pixel_values: Any, attention_mask: Any = None) -> Any:
        mask = () if attention_mask is None else (attention_mask,)
        return self.run(self.model, input_ids, pixel_values, *mask)


def save_both(
    path: Path, model: Any, run: Callable[..., Any], inputs: dict[str, torch.Tensor], *outputs: str
) -> None:
    """Write one file of both encoders, for any numbers of texts and of images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    n_texts, n_images = (
        torch.export.Dim(f"n_{kind}", min=1, max=64) for kind in ("texts", "images")
    )
    shapes = {name: {0: n_images if name == "pixel_values" else n_texts} for name in inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Both(model, run).eval(),
            kwargs=inputs,
            f=str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=18,
            dynamo=True,
            external_data=_is_large(model),
            dynamic_shapes=shapes,
        )
    _rename_weights(path)


def _is_large(model: torch.nn.Module) -> bool:
    """Tell whether ONNX must keep the weights in another file, which it does above 2 GB."""
    return sum(value.numel() * value.element_size() for value in model.parameters()) > 2**31


def _rename_weights(path: Path) -> None:
    """Give the other file of weights, if there is one, the name that is usual on the hub."""
    import onnx

    written = path.with_name(f"{path.name}.data")
    if not written.is_file():
        return
    graph = onnx.load(path, load_external_data=False)
    name = f"{path.name}_data"
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            entry.value = name if entry.key == "location" else entry.value
    onnx.save(graph, path)
    written.rename(path.with_name(name))


def save_onnx(
    path: Path,
    model: Any,
    run: Callable[[Any, Any], Any],
    example: torch.Tensor,
    *outputs: str,
    is_large: bool = False,
) -> None:
    """Write a part of a model: tokens for any batch, pixels also for any size.

    `is_large`: write the weights of a text encoder to another file.
    """
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
            external_data=is_large,
            **({"dynamic_axes": {given: axes}} if traces else {"dynamic_shapes": shapes}),
        )
    _rename_weights(path)


def chinese_clip(folder: Path) -> Reference:
    """Write Chinese-CLIP ViT-B/16: both encoders in one file, with a small vocabulary."""
    write_chinese_clip(folder)
    theirs = Relative(folder, 52)
    theirs.tokenizer.save_pretrained(folder)
    ids, mask = torch.full((3, 52), 100), torch.ones((3, 52), dtype=torch.int64)
    mask[1, 20:] = 0
    inputs = {"input_ids": ids, "pixel_values": torch.zeros(2, 3, 224, 224)}

    def run(model: Any, ids: Any, pixels: Any, mask: Any) -> Any:
        found = model(input_ids=ids, pixel_values=pixels, attention_mask=mask)
        return found.logits_per_image, found.text_embeds, found.image_embeds

    outputs = ("logits_per_image", "text_embeds", "image_embeds")
    inputs["attention_mask"] = mask
    save_both(folder / "onnx" / "model.onnx", theirs.model, run, inputs, *outputs)
    return Reference(theirs.images, theirs.texts, theirs.tokens)


class _Jina(torch.nn.Module):
    """jina-clip: an EVA02 of timm, and the mean of a language model's tokens."""

    def __init__(self, vision: str, text: Any, pad_id: int, **settings: int) -> None:
        import timm

        super().__init__()
        self.vision = timm.create_model(vision, **settings)
        self.text, self.pad_id = text, pad_id

    def embed_texts(self, ids: Any) -> Any:
        mask = (ids != self.pad_id).long()
        found = self.text(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].to(found.dtype)
        return (found * weights).sum(1) / weights.sum(1)


def _write_jina_settings(folder: Path, size_px: int) -> None:
    body = {"image_processor_type": "JinaCLIPImageProcessor", "resize_mode": "shortest"}
    body |= {"size": size_px, "mean": CLIP_MEAN, "std": CLIP_STD, "interpolation": "bicubic"}
    (folder / "preprocessor_config.json").write_text(json.dumps({**body, "fill_color": 0}))
    config = {"model_type": "jina_clip", "vision_config": {"image_size": size_px}}
    (folder / "config.json").write_text(json.dumps(config))


def _jina_reference(folder: Path, model: _Jina, size_px: int) -> Reference:
    normalize = transforms.Normalize(CLIP_MEAN, CLIP_STD)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    options = {"padding": "max_length", "truncation": True, "max_length": 77}

    def tokens(texts: list[str]) -> Any:
        return tokenizer(texts, **options, return_tensors="pt")["input_ids"]

    def images(pictures: list[Image.Image]) -> Any:
        colour = [openai_pixels(picture.convert("RGB"), size_px) for picture in pictures]
        with torch.no_grad():
            pixels = torch.stack([normalize(transforms.ToTensor()(image)) for image in colour])
            return model.vision(pixels).numpy()

    def texts(given: list[str]) -> Any:
        with torch.no_grad():
            return model.embed_texts(tokens(given)).numpy()

    return Reference(images, texts, tokens)


def jina_clip_v1(folder: Path) -> Reference:
    """Write jina-clip-v1's layout: one file for images, one for texts, which takes only tokens.

    Its text encoder's code is remote: here it is a BERT of the same size, without ALiBi.
    """
    import transformers

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=30528)
    text = transformers.BertModel(config, add_pooling_layer=False)
    model = _Jina("eva02_base_patch16_clip_224", text, 0, num_classes=768).eval()
    vocabulary = {piece: number for number, piece in enumerate(word_pieces())}
    transformers.BertTokenizer(vocabulary).save_pretrained(folder)
    _write_jina_settings(folder, 224)
    example, ids = torch.zeros(2, 3, 224, 224), torch.full((3, 77), 100)
    ids[1, 20:] = 0
    onnx = folder / "onnx"
    save_onnx(onnx / "vision_model.onnx", model, lambda m, x: m.vision(x), example, "image_embeds")
    save_onnx(onnx / "text_model.onnx", model, lambda m, x: m.embed_texts(x), ids, "text_embeds")
    return _jina_reference(folder, model, 224)


def jina_clip(folder: Path, image_layers: int, text_layers: int) -> Reference:
    """Write jina-clip-v2's layout, with the encoders that timm and transformers have of it.

    Its own code is remote: the projections and adapters in it are missing here.
    """
    import transformers

    def run(model: Any, ids: Any, pixels: Any) -> Any:
        found = model.embed_texts(ids), model.vision(pixels)
        return *found, *(rows / rows.norm(dim=-1, keepdim=True) for rows in found)

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    config = transformers.JinaEmbeddingsV3Config(num_hidden_layers=text_layers)
    text = transformers.JinaEmbeddingsV3Model(config, add_pooling_layer=False)
    shape = {"img_size": 512, "num_classes": 1024, "depth": image_layers}
    model = _Jina("eva02_large_patch14_clip_336", text, 1, **shape).eval()
    write_xlm_roberta_tokenizer(folder)
    _write_jina_settings(folder, 512)
    ids = torch.full((3, 77), 5)
    ids[1, 20:] = 1
    sides = ("text_embeddings", "image_embeddings")
    outputs = (*sides, *(f"l2norm_{name}" for name in sides))
    inputs = {"input_ids": ids, "pixel_values": torch.zeros(2, 3, 512, 512)}
    save_both(folder / "onnx" / "model.onnx", model, run, inputs, *outputs)
    return _jina_reference(folder, model, 512)


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
    folder: Path,
    size_px: int,
    patch: int,
    width: int,
    layers: int,
    vocab: int,
    *heads_and_mlp: int,
) -> Reference:
    """Write SigLIP, or with a vocabulary of 256,000 SigLIP 2, with small tokenizers."""
    write = write_siglip2 if vocab == 256000 else write_siglip
    true = {"image_size": size_px, "patch": patch, "width": width, "layers": layers}
    true |= dict(zip(("heads", "mlp"), heads_and_mlp, strict=False))
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
    large = _is_large(theirs.model.text_model)
    text = onnx / "text_model.onnx"
    save_onnx(text, theirs.model, text_part, ids, *names, is_large=large)
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


def _do_without_antialiasing(embeddings: Any) -> None:
    interpolate = torch.nn.functional.interpolate
    own = embeddings.interpolate_pos_encoding

    def replaced(*args: Any, antialias: bool = False, **options: Any) -> Any:
        return interpolate(*args, **options)

    def positions(*args: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.nn.functional, "interpolate", replaced)
            return own(*args)

    embeddings.interpolate_pos_encoding = positions


def dino(folder: Path, kind: str, width: int, heads: int) -> Reference:
    """Write DINOv2 or DINOv3, 12 layers deep.

    DINOv2 with registers interpolates its positions with antialiasing, which OpenVINO cannot run:
    graph and reference here do without.
    """
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
    if "Registers" in kind:
        _do_without_antialiasing(model.embeddings)
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
