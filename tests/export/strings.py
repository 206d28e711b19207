"""2,000 strings that a tokenizer may meet: the same on every machine."""

from __future__ import annotations

import random

_TEXT = """
a an the photo picture drawing of cat dog red ball street sign traffic light two three people riding
bicycles near water it's don't we've I'll they're rock'n'roll state-of-the-art e-mail x1 42 3.14
1,000 2026-11-23 50% $5 #1 C++ naïve café Ærøskøbing İstanbul ΑΣΣΟΣ straße ﬁne Ⅳ ＡＢＣ
“quoted” ‘single’ 猫の写真 사진 фотография صورة תמונה ภาพ चित्र 🐈 👩‍👩‍👧 🇩🇰 ½ ² ™ … —
(brackets) [x] {y} <z> under_score snake_case a/b c\\d @user :) <3 !!! ??? http://a.b/c?d=e&f=g
"""
_WORDS = _TEXT.split()
_GAPS = (" ", " ", " ", " ", "  ", "\t", "\n", ", ", ". ", "-", "", "\u00a0", "\u3000")
_FIXED = (
    "",
    " ",
    "a",
    "A",
    ".",
    "\n",
    "🐈",
    "word " * 200,
    "x" * 500,
    "猫" * 300,
    "\u200b",
    "e\u0301",
)


def strings(n_strings: int = 2000, seed: int = 0) -> list[str]:
    """Return fixed oddities, then random ones of 1 to 60 words, in four cases."""
    rng = random.Random(seed)
    found = list(_FIXED)
    while len(found) < n_strings:
        parts = []
        for _ in range(rng.choice((1, 2, 3, 5, 8, 13, 60))):
            parts += [_case(rng, rng.choice(_WORDS)), rng.choice(_GAPS)]
        found.append("".join(parts))
    return found


def _case(rng: random.Random, word: str) -> str:
    return rng.choice((word, word, word.upper(), word.title()))
