"""The demo model's tokenizer: CLIP's scheme (lower case, bytes, ``</w>``), its own vocabulary.

Every byte is in the vocabulary, so no text is unknown. The end token has the last id: a CLIP text
tower whose end id is 2 takes an older branch that pools at the largest id.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

PAD, START, END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def _empty(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def train_tokenizer(texts: list[str], n_merges: int = 1400) -> Tokenizer:
    """Learn merges from ``texts``; ids: pad, bytes, ending bytes, merges, start, end."""
    learner = _empty(models.BPE(end_of_word_suffix=WORD_END))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=2 * len(alphabet) + n_merges,
            end_of_word_suffix=WORD_END,
            show_progress=False,
            min_frequency=2,
        ),
    )
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]][:n_merges]
    pieces = [
        PAD,
        *alphabet,
        *(letter + WORD_END for letter in alphabet),
        *(left + right for left, right in merges),
    ]
    vocabulary = {
        piece: number for number, piece in enumerate(dict.fromkeys([*pieces, START, END]))
    }
    tokenizer = _empty(models.BPE(vocabulary, merges, end_of_word_suffix=WORD_END, unk_token=END))
    tokenizer.add_special_tokens([PAD, START, END])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(token, vocabulary[token]) for token in (START, END)],
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context_length: int) -> None:
    """Write what ``transformers.AutoTokenizer`` loads."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": PAD,
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    names = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": PAD}
    (folder / "special_tokens_map.json").write_text(json.dumps(names, indent=2) + "\n", "utf-8")
