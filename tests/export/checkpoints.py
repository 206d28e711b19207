"""Write random-weight checkpoints in Hugging Face's and OpenCLIP's layouts, to be exported."""

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


def write_siglip(
    folder: Path,
    *,
    image_size: int = 64,
    patch: int = 16,
    width: int = 64,
    layers: int = 2,
    heads: int = 0,
    mlp: int = 0,
    context: int = 16,
    vocab_size: int = 400,
    seed: int = 0,
) -> Path:
    """Write a random-weight ``SiglipModel`` checkpoint with a small sentencepiece vocabulary."""
    import torch
    from transformers import SiglipConfig, SiglipModel

    folder.mkdir(parents=True, exist_ok=True)
    n_pieces = write_pieces(folder / "spiece.model", vocab_size)
    shape = {
        "hidden_size": width,
        "intermediate_size": mlp or 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads or max(1, width // 64),
    }
    texts = {"vocab_size": max(n_pieces, vocab_size), "max_position_embeddings": context}
    config = SiglipConfig(
        text_config={**shape, **texts},
        vision_config={**shape, "image_size": image_size, "patch_size": patch},
    )
    torch.manual_seed(seed)
    model = SiglipModel(config).eval()
    torch.nn.init.constant_(model.logit_scale, 4.0)
    torch.nn.init.constant_(model.logit_bias, -10.0)
    model.save_pretrained(folder)
    tokens = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    settings = {
        "tokenizer_class": "SiglipTokenizer",
        "do_lower_case": True,
        "model_max_length": context,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **tokens}))
    image = {
        "image_processor_type": "SiglipImageProcessor",
        "do_resize": True,
        "size": {"height": image_size, "width": image_size},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(image))
    return folder


def write_siglip2(
    folder: Path, *, settings: dict[str, Any] | None = None, vocab_size: int = 600, **shape: int
) -> Path:
    """Write a `write_siglip` checkpoint with a tokenizer like Gemma's, which keeps the case."""
    write_siglip(folder, vocab_size=vocab_size, **shape)
    (folder / "spiece.model").unlink()
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokens = [*special, *(f"<0x{i:02X}>" for i in range(256)), "▁", *map(chr, range(33, 127))]
    merges: list[tuple[str, str]] = []
    for word in ("cat", "Cat", "photo", "▁cat", "▁CAT", "▁a", "dog", "ball"):
        for i in range(1, len(word)):
            merges.append((word[:i], word[i]))
            tokens.append(word[: i + 1])
    tokens, merges = list(dict.fromkeys(tokens)), list(dict.fromkeys(merges))
    vocab = {token: i for i, token in enumerate(tokens)}
    made = Tokenizer(
        models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    made.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    made.add_special_tokens(special)
    made.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"}
    config = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **(settings or {})}))
    return folder


def write_pieces(path: Path, vocab_size: int) -> int:
    """Train a sentencepiece model shaped like SigLIP's on the test strings; return its size."""
    import sentencepiece
    from strings import strings

    # Without the first, fixed strings: pieces of one repeated letter have ties for its split.
    lines = [line.lower() for text in strings(4000, seed=9)[20:] for line in text.splitlines()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(path.with_suffix("")),
        vocab_size=min(vocab_size, 400),
        model_type="unigram",
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    path.with_suffix(".vocab").unlink()
    return int(sentencepiece.SentencePieceProcessor(str(path)).get_piece_size())


def write_open_clip(
    folder: Path,
    *,
    image_size: int = 64,
    patch: int = 16,
    width: int = 64,
    layers: int = 2,
    dim: int = 48,
    text_width: int = 64,
    resize_mode: str = "shortest",
    seed: int = 0,
) -> Path:
    """Write a random-weight checkpoint in OpenCLIP's own layout (with CLIP's real vocabulary)."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    side = {"image_size": image_size, "patch_size": patch, "head_width": min(64, width)}
    text = {"context_length": 77, "vocab_size": 49408, "heads": max(1, text_width // 64)}
    model_cfg = {
        "embed_dim": dim,
        "vision_cfg": {**side, "width": width, "layers": layers},
        "text_cfg": {**text, "width": text_width, "layers": layers},
    }
    preprocess = {
        "mean": CLIP_MEAN,
        "std": CLIP_STD,
        "interpolation": "bicubic",
        "resize_mode": resize_mode,
    }
    body = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(body))
    torch.manual_seed(seed)
    model = open_clip.model.CLIP(**model_cfg)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    return folder


def write_real_clip_tokenizer(folder: Path) -> None:
    """Write ``tokenizer.json`` and its settings with CLIP's real merges, from open_clip's wheel."""
    import open_clip
    from transformers import CLIPTokenizer

    own = open_clip.SimpleTokenizer()
    vocab = {BOS if i == 49406 else EOS if i == 49407 else t: i for t, i in own.encoder.items()}
    CLIPTokenizer(vocab=vocab, merges=list(own.bpe_ranks)).save_pretrained(folder)
