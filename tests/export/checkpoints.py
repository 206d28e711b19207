"""Write random-weight CLIP checkpoints in Hugging Face's layout: what the export tests export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.pre_tokenizers import ByteLevel

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
_SPLIT = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_WORDS = ("photo", "cat", "dog", "red", "ball", "picture", "the", "of", "and", "with", "in", "on")


def clip_tokenizer(vocab_size: int = 0) -> Tokenizer:
    """Return a byte-level BPE tokenizer shaped like CLIP's, whose end token has the last id.

    With `vocab_size`, filler tokens that no text produces pad the vocabulary to that size.
    """
    tokens = [*sorted(ByteLevel.alphabet()), *(c + "</w>" for c in sorted(ByteLevel.alphabet()))]
    merges: list[tuple[str, str]] = []
    for word in _WORDS:
        left = word[0]
        for i, char in enumerate(word[1:], start=1):
            right = char + ("</w>" if i == len(word) - 1 else "")
            merges.append((left, right))
            left += right
            tokens.append(left)
    merges, tokens = list(dict.fromkeys(merges)), list(dict.fromkeys(tokens))
    tokens += [f"filler{i}" for i in range(vocab_size - len(tokens) - 2)]
    tokens += [BOS, EOS]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(vocab, merges, unk_token=EOS, end_of_word_suffix="</w>", fuse_unk=False)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True),
            ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        sep=(EOS, vocab[EOS]), cls=(BOS, vocab[BOS]), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.add_special_tokens([BOS, EOS])
    return tokenizer


def preprocessor_config(image_size: int, **changes: Any) -> dict[str, Any]:
    """Return CLIP's own ``preprocessor_config.json`` for an image size in pixels."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": image_size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": image_size, "width": image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        **changes,
    }


def write_text_files(folder: Path, tokenizer: Tokenizer, image: dict[str, Any], ctx: int) -> None:
    """Write tokenizer.json, tokenizer_config.json and preprocessor_config.json."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": EOS,
        "unk_token": EOS,
        "do_lower_case": True,
        "model_max_length": ctx,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(image, indent=2), encoding="utf-8")


def write_clip(
    folder: Path,
    *,
    image_size: int = 80,
    patch: int = 16,
    width: int = 64,
    layers: int = 2,
    dim: int = 64,
    text_width: int = 64,
    text_layers: int = 2,
    context: int = 32,
    vocab_size: int = 0,
    seed: int = 0,
    dtype: str = "float32",
) -> Path:
    """Write a random-weight ``CLIPModel`` checkpoint; the initial weights depend on `seed` only."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = clip_tokenizer(vocab_size)
    bos, eos = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)
    shape = {"attention_dropout": 0.0}
    config = CLIPConfig(
        projection_dim=dim,
        text_config={
            **shape,
            "vocab_size": tokenizer.get_vocab_size(),
            "hidden_size": text_width,
            "intermediate_size": 4 * text_width,
            "num_hidden_layers": text_layers,
            "num_attention_heads": max(1, text_width // 64),
            "max_position_embeddings": context,
            "projection_dim": dim,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": eos,
        },
        vision_config={
            **shape,
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": max(1, width // 64),
            "image_size": image_size,
            "patch_size": patch,
            "projection_dim": dim,
        },
    )
    torch.manual_seed(seed)
    model = CLIPModel(config).eval().to(getattr(torch, dtype))
    model.save_pretrained(folder)
    write_text_files(folder, tokenizer, preprocessor_config(image_size), context)
    return folder
