"""What the demo model is taught to call things: concepts, their phrases, captions around them.

A *concept* is one thing that can be drawn; a *phrase* is one way to say it. Two concepts may share
a phrase (a red and a green apple are both "apple"): a caption with it is then right for both.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np

import drawings

TEST_STYLE = "noto"
TRAINING_STYLES = tuple(style for style in drawings.STYLES if style != TEST_STYLE)
PROMPT = "a photo of a {}"

TEMPLATES = (
    "a photo of a {}",
    "a drawing of a {}",
    "{}",
    "a picture of a {}",
    "a {}",
    "an image with a {}",
    "the {}",
    "a small {}",
    "a large {}",
    "there is a {} here",
)
JOINED_TEMPLATES = (
    "{}",
    "a photo of a {}",
    "a picture of a {}",
    "a drawing of a {}",
    "there is a {} here",
)

# Names no everyday query would say: tones, flags, keys, buttons, clock hands, signs, families.
_LEFT_OUT = re.compile(
    r"skin-tone|-(light|medium|dark)$|medium-(light|dark)|flag|keycap|button|clock(ing)?-|-thirty"
    r"|oclock|arrow|cjk|squared|circled|latin|regional|symbol"
    r"|^(man|woman|men|women|person|people|family|couple|kiss|boy|girl|mx|merman|mermaid)(-|$)"
    r"|index-|-hand$|hands$|person-|-(man|woman|boy|girl)$|[0-9]|guy|sign$|japanese-|squar|ballot"
    r"|document|page|input|notepad|index|pointing|heavy|diamond-with|-diamond$|circle$|fox[cghkptw]"
    r"|letter|component"
)

SYNONYMS: dict[str, tuple[str, ...]] = {
    "airplane": ("plane", "aeroplane"),
    "articulated-lorry": ("truck", "lorry"),
    "automobile": ("car",),
    "beer-mug": ("beer",),
    "bicycle": ("bike",),
    "birthday-cake": ("cake",),
    "bread": ("loaf of bread",),
    "broken-heart": ("heart",),
    "bus": ("coach",),
    "cat-face": ("cat",),
    "cheese-wedge": ("cheese",),
    "cherries": ("cherry",),
    "christmas-tree": ("tree",),
    "clown-face": ("clown",),
    "cocktail-glass": ("cocktail", "martini"),
    "cookie": ("biscuit",),
    "couch-and-lamp": ("couch", "sofa"),
    "deciduous-tree": ("tree",),
    "delivery-truck": ("truck",),
    "dog-face": ("dog",),
    "doughnut": ("donut",),
    "ear-of-corn": ("corn", "maize"),
    "eggplant": ("aubergine",),
    "envelope": ("letter",),
    "evergreen-tree": ("pine tree", "tree"),
    "fire": ("flame",),
    "fire-engine": ("fire truck",),
    "flashlight": ("torch",),
    "fork-and-knife": ("knife and fork", "cutlery"),
    "fox": ("fox face",),
    "french-fries": ("fries", "chips"),
    "game-die": ("dice",),
    "gem-stone": ("diamond", "gem"),
    "glasses": ("spectacles",),
    "green-apple": ("apple",),
    "hamburger": ("burger",),
    "headphone": ("headphones",),
    "hibiscus": ("flower",),
    "high-heeled-shoe": ("shoe", "high heel"),
    "honeybee": ("bee",),
    "horse-face": ("horse",),
    "hot-beverage": ("coffee", "cup of coffee", "tea"),
    "hot-pepper": ("chili pepper", "chili"),
    "house": ("home",),
    "jeans": ("trousers",),
    "kiwi-fruit": ("kiwi",),
    "lady-beetle": ("ladybug", "ladybird"),
    "laptop": ("computer",),
    "leopard": ("cheetah",),
    "light-bulb": ("bulb",),
    "maple-leaf": ("leaf",),
    "megaphone": ("loudspeaker",),
    "mobile-phone": ("phone", "smartphone", "cell phone"),
    "monkey-face": ("monkey",),
    "motorcycle": ("motorbike",),
    "mouse-face": ("mouse",),
    "mouse": ("rat",),
    "necktie": ("tie",),
    "octopus": ("squid",),
    "ox": ("bull",),
    "pig-face": ("pig",),
    "pizza": ("slice of pizza",),
    "rabbit": ("bunny",),
    "rabbit-face": ("rabbit", "bunny"),
    "red-apple": ("apple",),
    "red-heart": ("heart",),
    "rhinoceros": ("rhino",),
    "rooster": ("cock",),
    "sailboat": ("boat",),
    "sheaf-of-rice": ("rice", "wheat"),
    "ship": ("boat",),
    "shrimp": ("prawn",),
    "soccer-ball": ("football", "soccer ball"),
    "t-shirt": ("shirt",),
    "tangerine": ("orange",),
    "taxi": ("cab",),
    "telephone": ("phone",),
    "television": ("tv",),
    "tennis": ("tennis racket", "tennis ball"),
    "tiger-face": ("tiger",),
    "turtle": ("tortoise",),
    "watch": ("wristwatch",),
    "wine-glass": ("wine", "glass of wine"),
    "wrench": ("spanner",),
}
SYNONYMS["octopus"] = ()


def everyday_concepts() -> list[str]:
    """The concepts that the model is tested on."""
    concepts: list[str] = json.loads(Path(__file__).with_name("concepts.json").read_text("utf-8"))
    return concepts


def training_concepts(min_styles: int = 2) -> dict[str, list[tuple[str, str]]]:
    """Every concept to teach: name → its drawings as (style, name in that style).

    A concept stands in when at least ``min_styles`` artists drew it, or when it is an everyday one.
    Names that some style uses as aliases of one drawing are one concept.
    """
    everyday = set(everyday_concepts())
    found: dict[str, list[tuple[str, str]]] = {}
    chosen = _chosen_names(everyday)
    for style in TRAINING_STYLES:
        for name in drawings.icon_names(style):
            base = re.sub(r"-[1-9]$", "", name) if style == "streamline-emojis" else name
            concept = chosen.get(base, base)
            if concept in everyday or not _LEFT_OUT.search(base):
                found.setdefault(concept, []).append((style, name))
    return {
        concept: places
        for concept, places in sorted(found.items())
        if concept in everyday or len({style for style, _ in places}) >= min_styles
    }


def _chosen_names(everyday: set[str]) -> dict[str, str]:
    """Alias → the name of its concept: an everyday one, else the most common, the shortest."""
    common = Counter(name for style in TRAINING_STYLES for name in drawings.icon_names(style))
    chosen: dict[str, str] = {}
    for style in TRAINING_STYLES:
        groups: dict[str, list[str]] = {}
        for name in drawings.icon_names(style):
            groups.setdefault(drawings.drawing_of(style, name), []).append(name)
        for names in groups.values():
            kept = min(
                names, key=lambda name: (name not in everyday, -common[name], len(name), name)
            )
            chosen.update({name: kept for name in names if name != kept and name not in everyday})
    return {name: chosen.get(kept, kept) for name, kept in chosen.items()}


class Phrases:
    """Which phrases belong to which concepts.

    Attributes
    ----------
    texts : list of str
        Every phrase once.
    of_concept : list of int arrays
        Phrase numbers of each concept, the plain name first.
    belongs : float32 array of shape (n_concepts, n_phrases)
        1 where the phrase is right for the concept.
    """

    def __init__(self, concepts: list[str]) -> None:
        number: dict[str, int] = {}
        self.of_concept = []
        for concept in concepts:
            spoken = [concept.replace("-", " "), *SYNONYMS.get(concept, ())]
            self.of_concept.append(
                np.array([number.setdefault(text, len(number)) for text in dict.fromkeys(spoken)])
            )
        self.texts = list(number)
        self.belongs = np.zeros((len(concepts), len(self.texts)), np.float32)
        for row, phrases in zip(self.belongs, self.of_concept, strict=True):
            row[phrases] = 1.0

    def sample(self, concept: int, rng: np.random.Generator) -> int:
        """A phrase of ``concept``: its plain name half of the time."""
        phrases = self.of_concept[concept]
        return int(phrases[0] if rng.random() < 0.5 else rng.choice(phrases))


def caption(phrases: list[str], rng: np.random.Generator) -> str:
    """A sentence that names one or more things."""
    if len(phrases) == 1:
        return str(rng.choice(TEMPLATES)).format(phrases[0])
    joined = (" and a " if rng.random() < 0.5 else " and ").join(phrases)
    return str(rng.choice(JOINED_TEMPLATES)).format(joined)
