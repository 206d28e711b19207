"""Random-weight checkpoints of CLIP's relatives in transformers' layout, and their references.

True configurations, as far as the arguments do not change them; small vocabularies of the true
kind, made for the tests, in embedding tables of the true size.
"""

from __future__ import annotations

import json
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from checkpoints import CLIP_MEAN, CLIP_STD, preprocessor_config
from PIL import Image
from reference import openai_pixels
from strings import strings
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torchvision import transforms


def write_chinese_clip(folder: Path, *, layers: int = 12) -> Path:
    """Write Chinese-CLIP ViT-B/16 as OFA-Sys publishes it: without tokenizer.json."""
    text = {"vocab_size": 21128, "num_hidden_layers": layers}
    image = {"patch_size": 16, "num_hidden_layers": layers}
    config = transformers.ChineseCLIPConfig(text_config=text, vision_config=image)
    _write(folder, transformers.ChineseCLIPModel, config)
    square = {"height": 224, "width": 224}
    body = preprocessor_config(224, size=square, do_center_crop=False)
    del body["image_processor_type"]
    body["feature_extractor_type"] = "ChineseCLIPFeatureExtractor"
    (folder / "preprocessor_config.json").write_text(json.dumps(body))
    (folder / "vocab.txt").write_text("\n".join(word_pieces()) + "\n", encoding="utf-8")
    return folder


def write_altclip(folder: Path, *, layers: int = 24) -> Path:
    """Write AltCLIP: CLIP ViT-L/14 and XLM-RoBERTa large."""
    image = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}
    image |= {"patch_size": 14, "num_hidden_layers": layers}
    text = {"num_hidden_layers": layers}
    config = transformers.AltCLIPConfig(text_config=text, vision_config=image, projection_dim=768)
    _write(folder, transformers.AltCLIPModel, config)
    _write_clip_pixels(folder)
    write_xlm_roberta_tokenizer(folder)
    return folder


def write_metaclip2(folder: Path, *, layers: int = 12) -> Path:
    """Write MetaCLIP 2 worldwide, ViT-B/32."""
    text = {"vocab_size": 901629, "hidden_size": 512, "intermediate_size": 2048}
    text |= {"num_attention_heads": 8, "num_hidden_layers": layers, "projection_dim": 512}
    text |= {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "hidden_act": "gelu"}
    image = {"patch_size": 32, "num_hidden_layers": layers, "hidden_act": "gelu"}
    config = transformers.MetaClip2Config(text_config=text, vision_config=image)
    _write(folder, transformers.MetaClip2Model, config)
    _write_clip_pixels(folder)
    write_xlm_roberta_tokenizer(folder)
    return folder


class Reference:
    """The checkpoint's own model and tokenizer in float32.

    Pixels of cropped images are torchvision's, as transformers crops some one pixel elsewhere.
    """

    def __init__(self, checkpoint: Path, context: int) -> None:
        kind = transformers.AutoModelForZeroShotImageClassification
        self.model = kind.from_pretrained(checkpoint, dtype=torch.float32).eval()
        with warnings.catch_warnings():  # it reads vocab.txt in a deprecated way
            warnings.simplefilter("ignore", DeprecationWarning)
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
        self.processor = transformers.AutoImageProcessor.from_pretrained(checkpoint, backend="pil")
        self.context = context

    def tokens(self, texts: Sequence[str]) -> Any:
        return self._encode(texts)["input_ids"].numpy()

    def images(self, images: Sequence[Image.Image]) -> Any:
        pixels = torch.stack([self._pixels(image.convert("RGB")) for image in images])
        with torch.no_grad():
            return self.model.get_image_features(pixel_values=pixels).pooler_output.numpy()

    def texts(self, texts: Sequence[str]) -> Any:
        with torch.no_grad():
            return self.model.get_text_features(**self._encode(texts)).pooler_output.numpy()

    def _encode(self, texts: Sequence[str]) -> Any:
        options = {"padding": "max_length", "truncation": True, "max_length": self.context}
        return self.tokenizer(list(texts), **options, return_tensors="pt")

    def _pixels(self, image: Image.Image) -> Any:
        if not self.processor.do_center_crop:
            return self.processor(image, return_tensors="pt")["pixel_values"][0]
        size = self.model.config.vision_config.image_size
        tensor = transforms.ToTensor()(openai_pixels(image, size))
        return transforms.Normalize(CLIP_MEAN, CLIP_STD)(tensor)


def word_pieces() -> list[str]:
    """Return a small BERT vocabulary with its special tokens at their usual places."""
    text = unicodedata.normalize("NFD", " ".join(strings(1000, seed=9)).lower())
    letters = sorted({char for char in text if not char.isspace()} - set("µ猫ภ"))
    words = sorted({word for word in text.split() if word.isalpha()})[:200]
    unused = [f"[unused{i}]" for i in range(1, 100)]
    special = ["[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*letters, *(f"##{char}" for char in letters), *words]
    return list(dict.fromkeys([*special, *pieces]))


def write_xlm_roberta_tokenizer(folder: Path) -> None:
    """Write the files of an XLM-RoBERTa tokenizer, from sentencepiece with fairseq's tokens."""
    import sentencepiece

    lines = [line for text in strings(4000, seed=9)[20:] for line in text.splitlines()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=600,
        model_type="unigram",
        character_coverage=0.999,
        hard_vocab_limit=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        minloglevel=2,
    )
    (folder / "sentencepiece.bpe.vocab").unlink()
    settings = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)


def write_nllb_tokenizer(folder: Path) -> None:
    """Write an NLLB tokenizer: byte pairs of sentencepiece's kind, and language tokens."""
    words = strings(400, seed=9)[20:]
    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=special, show_progress=False)
    trained.train_from_iterator(words, trainer)
    body = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in body["merges"]]
    transformers.NllbTokenizer(vocab=body["vocab"], merges=merges).save_pretrained(folder)


def _write_clip_pixels(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor_config(224)))


def _write(folder: Path, kind: Any, config: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = kind(config).eval()
    _randomise(model)
    model.save_pretrained(folder)


def _randomise(model: Any) -> None:
    """Give biases, norms and positions, which start as constants, values that show mistakes."""
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 1:
                value.add_(torch.randn_like(value) * 0.05)
