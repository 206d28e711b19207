"""Count what a run dropped, noticed or could not do, by reason, with examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .escaping import printable

_EXAMPLES_KEPT = 3
_REASONS_SHOWN = 20
_PLURAL = re.compile("(ies|(?<=x)es|(?<=tch)es|(?<=ss)es|s)(,?)$")
_VERBS = {"are": "is", "have": "has", "belong": "belongs", "reach": "reaches", "use": "uses"}


def counted(count: int, things: str) -> str:
    """Return a count with its noun: ``2 images that are dark`` or ``1 image that is dark``.

    `things` is a plural phrase; its first word that ends in -s is the noun.
    """
    words = things.split(" ")
    noun = next((n for n, word in enumerate(words) if _PLURAL.search(word)), None)
    if count == 1 and noun is not None:
        words[noun] = _PLURAL.sub(
            lambda end: ("y" if end[1] == "ies" else "") + end[2], words[noun]
        )
        verb = noun + 1 + (words[noun + 1 : noun + 2] == ["that"])
        words[verb : verb + 1] = [_VERBS.get(word, word) for word in words[verb : verb + 1]]
    return f"{count:,} {' '.join(words)}"


def progress(count: int, expected: int) -> str:
    """Return ``5 of 9 rows``, or ``5 rows`` if the total is unknown (0)."""
    return f"{count:,} of {counted(expected, 'rows')}" if expected else counted(count, "rows")


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, its count, and its first examples."""

    text: str
    count: int
    examples: tuple[str, ...]


@dataclass(slots=True, repr=False)
class Tally:
    """Counts by reason; picklable and JSON-able, with few examples per reason.

    A reason is a plural phrase to follow its count, such as ``images without a label file``. Put
    details of a case (a file name, a line number) in the example, so that reasons stay few.
    """

    _counts: dict[str, int] = field(default_factory=dict, init=False)
    _examples: dict[str, list[str]] = field(default_factory=dict, init=False)

    def add(self, reason: str, example: str = "", count: int = 1) -> None:
        """Add `count` to a reason, and keep the example if it is new."""
        self._counts[reason] = self._counts.get(reason, 0) + count
        kept = self._examples.setdefault(reason, [])
        if example and example not in kept and len(kept) < _EXAMPLES_KEPT:
            kept.append(example)

    def update(self, other: Tally) -> None:
        """Add the counts and examples of another tally."""
        for reason in other:
            self.add(reason.text, count=reason.count)
            kept = self._examples[reason.text]
            kept.extend(reason.examples[: _EXAMPLES_KEPT - len(kept)])

    @property
    def total(self) -> int:
        """The sum of all counts."""
        return sum(self._counts.values())

    def __repr__(self) -> str:
        return f"<Tally: {self.total} by {counted(len(self._counts), 'reasons')}>"

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __iter__(self) -> Iterator[Reason]:
        """Yield reasons, the most frequent first."""
        for text, count in sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0])):
            yield Reason(text, count, tuple(self._examples[text]))

    def lines(self, indent: str = "    ", *, times: str = " ") -> Iterator[str]:
        """Yield one line for each of the first reasons: count, `times`, reason, examples."""
        reasons = [*self]
        for reason in reasons[:_REASONS_SHOWN]:
            more = ", …" if reason.count > len(reason.examples) else ""
            shown = f" ({', '.join(reason.examples)}{more})" if reason.examples else ""
            is_plural = times == " "  # otherwise the reason is a cause of failures
            text = f"{reason.count:,}{times}{reason.text}"
            said = counted(reason.count, reason.text) if is_plural else text
            yield printable(f"{indent}{said}{shown}")
        if hidden := reasons[_REASONS_SHOWN:]:
            n_hidden = sum(reason.count for reason in hidden)
            yield f"{indent}{n_hidden:,} more, for {len(hidden)} other reasons"

    def to_json(self) -> dict[str, Any]:
        """Return ``{reason: {"count": int, "examples": [str]}}``."""
        return {r.text: {"count": r.count, "examples": list(r.examples)} for r in self}
