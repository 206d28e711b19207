"""Proofs of pairs → groups: of each one item stays, and all others are copies of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy.typing as npt

from .proof import Proof

__all__ = ["Pair", "grouped", "is_copy", "ordered"]

Pair = tuple[int, int]

_SUREST_FIRST = {"bytes": 0, "pixels": 1, "picture": 2}


def ordered(a: int, b: int) -> Pair:
    """Give a pair as it is known: the lesser row first."""
    return (a, b) if a < b else (b, a)


def is_copy(proof: Proof | None) -> bool:
    """Tell whether one of a pair shows the other, and not only a part of its scene."""
    return proof is not None and proof.kind != "overlap"


def grouped(
    proofs: Iterable[tuple[Pair, Proof | None]],
    firsts: Mapping[int, int],
    splits: npt.NDArray[Any],
    place: Callable[[int], Any],
    are_copies: Callable[[list[Pair]], bool],
) -> list[tuple[int, list[int]]]:
    """Join the items of proven pairs, the surest first, where all are copies of what stays.

    Parameters
    ----------
    proofs : iterable of pair and Proof
    firsts : mapping of int to int
        Of each row with equal pixels or an equal file, the first such row: copies of one are
        copies of the other.
    splits : array of int
        Of each row.
    place : callable
        Gives the place of a row among those that may stay; the least stays.
    are_copies : callable
        Tells whether all of some pairs are proven to be copies.

    Returns
    -------
    list of (int, list of int)
        What stays, and all rows.
    """
    members: dict[int, list[int]] = {}
    group_of: dict[int, int] = {}
    surest = [(_SUREST_FIRST[p.kind], -p.score, pair) for pair, p in proofs if p and is_copy(p)]
    for kind, _, (a, b) in sorted(surest):
        one, other = (group_of.setdefault(row, row) for row in (a, b))
        if one == other:
            continue
        ways = [sorted((one, other), key=place)]
        if splits[one] == splits[other]:
            ways.append(ways[0][::-1])  # what is preferred may be a page that shows the other
        for keep, gone in ways:
            rows = members.get(gone, [gone])
            pairs = {ordered(firsts.get(keep, keep), firsts.get(row, row)) for row in rows}
            if kind == _SUREST_FIRST["picture"] and not are_copies(sorted(pairs)):
                continue
            members.setdefault(keep, [keep]).extend(rows)
            members.pop(gone, None)
            group_of |= dict.fromkeys(rows, keep)
            break
    return [(keep, sorted(rows)) for keep, rows in members.items()]
