"""What the column `action` says, and which two actions cannot both be carried out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import UsageError
from .columns import Finding

__all__ = ["act", "contradict", "refuse_contradictions", "spelled", "where"]

_ALONE, _NAMED = ("drop", "keep", "review"), ("label", "subset", "attribute")


def act(row: Finding) -> tuple[str, str]:
    """Read an action: its word and the name after it; raises `UsageError`, which names the line.

    A label keeps the spaces around it, which may be part of its name.
    """
    verb, _, name = spelled(row.action).partition(" ")
    if verb in ("", *_ALONE) and not name.strip():
        return verb, ""
    if verb not in _NAMED or not name.strip():
        known = ", ".join(
            (*_ALONE, *(f"{word} NAME" for word in _NAMED[:2]), "attribute NAME=VALUE")
        )
        raise UsageError(f"{where(row)}: there is no action {row.action!r}. Choose one of {known}.")
    if row.object is not None and verb != "label":
        raise UsageError(
            f"{where(row)}: the action {row.action!r} is for items, and the row is of an object. "
            "Empty the column object, or choose drop or label NAME."
        )
    if verb == "subset" and (set(name) & set("/\\") or name.startswith(".")):
        raise UsageError(f"{where(row)}: no subset can be called {name!r}. Choose another name.")
    if verb == "attribute" and not all(name.partition("=")[::2]):
        raise UsageError(f"{where(row)}: write the action as attribute NAME=VALUE.")
    return verb, name if verb == "label" else name.strip()


def spelled(action: str) -> str:
    """Give an action as this package writes it; a spreadsheet writes a capital.

    `` Drop `` is ``drop``; a name is not changed.
    """
    verb, _, name = action.lstrip().partition(" ")
    return f"{verb.lower()} {name}" if name.strip() else verb.lower()


def where(row: Finding) -> str:
    """Name a row: its line in the file, where it has one, and its item."""
    return f"line {row.line} ({row.name})" if row.line else row.name


def contradict(one: Finding, other: Finding) -> bool:
    """Tell whether two rows of one item cannot both be carried out."""
    if one.object != other.object:
        return False
    verbs = {act(one)[0], act(other)[0]} - {"", "review"}
    (slot, value), (other_slot, other_value) = _slot(one), _slot(other)
    return ("drop" in verbs and len(verbs) > 1) or (slot == other_slot and value != other_value)


def refuse_contradictions(rows: Sequence[Finding]) -> None:
    """Refuse rows of one item that contradict each other; raises `UsageError`, with both lines."""
    decided: dict[tuple[Any, ...], tuple[str, Finding]] = {}
    for row in rows:
        slot, value = _slot(row)
        before = decided.setdefault((row.object, *slot), (value, row))
        rivals = [before[1]] if before[0] != value else []
        if slot[0] == "drop":
            rivals += [other for other in rows if contradict(row, other)]
        if rivals:
            first, second = sorted((rivals[0], row), key=lambda each: each.line)
            raise UsageError(
                f"{where(first)}: {first.action!r} contradicts {second.action!r} of "
                f"{where(second)}. Empty the action of one of them."
            )


def _slot(row: Finding) -> tuple[tuple[str, str], str]:
    """Give what an action sets, and the value that it sets it to."""
    verb, name = act(row)
    if verb == "attribute":
        attribute, _, value = name.partition("=")
        return (verb, attribute), value
    return (verb, row.label if row.object is None else ""), name
