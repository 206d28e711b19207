"""tokenizer.py on small tokenizers of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from datumaro_embed.errors import ModelInvalidError
from datumaro_embed.models import TextSpec
from datumaro_embed.models.tokenizers import TextTokenizer

WORDS = ("a", "photo", "of", "cat", "Cat", "dog")
START, END = len(WORDS) + 1, len(WORDS) + 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    vocab = {"<unk>": 0, **{w: i for i, w in enumerate(WORDS, 1)}, "<s>": START, "</s>": END}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", START), ("</s>", END)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def spec(context: int = 8, pad: int = END, lower: bool = False) -> TextSpec:
    return TextSpec(context, pad, END, lower, ("input_ids", "attention_mask"))


def test_short_texts_are_padded_with_the_models_own_id(path: Path) -> None:
    ids, mask = TextTokenizer(path, spec(pad=0))(["a photo of a cat", "dog", ""])
    assert ids.tolist() == [
        [START, 1, 2, 3, 1, 4, END, 0],
        [START, 6, END, 0, 0, 0, 0, 0],
        [START, END, 0, 0, 0, 0, 0, 0],
    ]
    assert mask.tolist() == [[1] * 7 + [0], [1] * 3 + [0] * 5, [1] * 2 + [0] * 6]
    assert (ids.dtype, mask.dtype) == (np.int64, np.int64)


def test_long_texts_are_cut_and_keep_the_end_token(path: Path) -> None:
    ids, mask = TextTokenizer(path, spec(5))(["a photo of a cat", "a photo of a dog " * 1000])
    assert ids.tolist() == [[START, 1, 2, 3, END]] * 2
    assert mask.all()


def test_an_exact_fit_is_not_cut(path: Path) -> None:
    ids, mask = TextTokenizer(path, spec(7))(["a photo of a cat"])
    assert ids.tolist() == [[START, 1, 2, 3, 1, 4, END]]
    assert mask.all()


def test_lower_case_is_the_models_choice(path: Path) -> None:
    kept, _ = TextTokenizer(path, spec(3))(["Cat"])
    lowered, _ = TextTokenizer(path, spec(3, lower=True))(["Cat"])
    assert kept.tolist() == [[START, WORDS.index("Cat") + 1, END]]
    assert lowered.tolist() == [[START, WORDS.index("cat") + 1, END]]


def test_texts_that_are_not_utf8_are_texts_still(path: Path) -> None:
    ids, _ = TextTokenizer(path, spec())(["\ud800", "\0", "a \udc80 dog"])
    assert ids.shape == (3, 8)
    assert ids[2, :2].tolist() == [START, 1]


@pytest.mark.parametrize("ids", [{"pad_id": 99}, {"eos_id": 2**31 - 1}], ids=str)
def test_numbers_of_no_token(path: Path, ids: dict[str, int]) -> None:
    with pytest.raises(ModelInvalidError, match=f"no token .* is {next(iter(ids))}"):
        TextTokenizer(path, replace(spec(), **ids))


def test_no_texts(path: Path) -> None:
    ids, mask = TextTokenizer(path, spec())([])
    assert ids.shape == mask.shape == (0, 8)


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"not": "a tokenizer"}')
    with pytest.raises(ModelInvalidError, match=r"tokenizer\.json is not a tokenizer") as caught:
        TextTokenizer(tmp_path / "tokenizer.json", spec())
    assert caught.value.path == tmp_path / "tokenizer.json"
