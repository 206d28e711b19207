"""The demo model itself: its shape, its two embeddings and the checkpoint on disk."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from notice import notice
from tokenizer import END, PAD, START, save_tokenizer

SIZE_PX, PATCH_PX, CONTEXT = 64, 8, 32
DIM, WIDTH, LAYERS, HEADS = 256, 192, 6, 3
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS = 128, 2, 2


def build_model(tokenizer: Tokenizer) -> CLIPModel:
    """An untrained CLIP, its positions started as a two-dimensional grid of waves."""
    text = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": TEXT_HEADS,
        "max_position_embeddings": CONTEXT,
        "hidden_act": "gelu",
        "pad_token_id": tokenizer.token_to_id(PAD),
        "bos_token_id": tokenizer.token_to_id(START),
        "eos_token_id": tokenizer.token_to_id(END),
        "projection_dim": DIM,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "image_size": SIZE_PX,
        "patch_size": PATCH_PX,
        "hidden_act": "gelu",
        "projection_dim": DIM,
    }
    config = CLIPConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=DIM,
        logit_scale_init_value=math.log(25),
    )
    model = CLIPModel(config)
    model.set_attn_implementation("eager")  # faster than the fused kernels at these lengths
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5 * 0.6)
    for layer in model.vision_model.encoder.layers:
        layer.self_attn.k_proj.weight.data.copy_(layer.self_attn.q_proj.weight.data)
    model.vision_model.embeddings.position_embedding.weight.data[1:] = _waves(
        SIZE_PX // PATCH_PX, WIDTH
    )
    return model


def _waves(side: int, width: int) -> torch.Tensor:
    """Sines and cosines of rows and columns: tensor of shape (side * side, width)."""
    frequencies = torch.exp(-torch.arange(width // 4) / (width // 4) * math.log(50.0))
    phases = torch.arange(side)[:, None] * frequencies
    axis = torch.cat([phases.sin(), phases.cos()], 1)
    grid = torch.cat([axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)], 2)
    return grid.reshape(side * side, width) * 0.3


def text_embeddings(model: CLIPModel, ids: torch.Tensor) -> torch.Tensor:
    """Unit embeddings of shape (n, DIM); the tower is causal: padding after the end is unseen."""
    return functional.normalize(
        model.text_projection(model.text_model(input_ids=ids).pooler_output).float(), dim=-1
    )


def image_embeddings(model: CLIPModel, pixels: torch.Tensor) -> torch.Tensor:
    """Unit embeddings of shape (n, DIM)."""
    return functional.normalize(
        model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output).float(),
        dim=-1,
    )


def export(
    model: CLIPModel, tokenizer: Tokenizer, folder: Path, facts: dict[str, object] | None = None
) -> None:
    """Write the checkpoint: fp16 weights, tokenizer, image settings, terms, training facts."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = copy.deepcopy(model).half()
    kept.config.dtype = "float16"
    kept.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    save_tokenizer(tokenizer, folder, CONTEXT)
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": SIZE_PX},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": SIZE_PX, "width": SIZE_PX},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    if facts:
        (folder / "training.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    (folder / "NOTICE").write_text(notice(), "utf-8")
