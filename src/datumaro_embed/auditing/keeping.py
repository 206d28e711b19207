"""Which copy of a group stays: what is known of each one → their order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..records import Split
from ..store import EmbeddingStore
from .decoded import DecodedPictures
from .differences import Array
from .fidelity import Fidelity
from .framing import nesting
from .grouping import Pair
from .proof import LONGEST_PX, Proof

__all__ = ["Copy", "Standings"]

_LESS = 0.65  # of the detail of a copy: blown up or blurred. JPEG 20 leaves 0.94, 2x 640 px 1.0
_FAINT = 6.0  # gray levels; detail that is fainter may be noise
_COMPARABLE = 1.34  # sizes of pictures whose detail is much the same
_LARGE_PX = 1024
_FEWER = 0.5  # of the tones of another copy: posterized, of a palette, darkened or faded
_FLATTER = 0.6  # contrast beside that of another copy
_FINE, _COARSER = 30.0, 2.0  # quality 85: what is finer is not seen; times the steps of another
_TOLD = ("gray", "cropped", "overlaid")  # what proofs say of one of two pictures


@dataclass(frozen=True, slots=True)
class Copy:
    """What decides whether a copy stays.

    Attributes
    ----------
    row : int
        Of the item; rows are sorted by name.
    is_there : bool
        Its image can be read, and is the one that was embedded.
    split : int
        Place of its split among those whose copies stay, 0 the first.
    n_annotations : int
    is_gray, is_framed, is_cropped, is_overlaid : bool
        Another copy has colors; is what a border or page of this one surrounds; shows more of the
        picture; lacks what is laid over this one.
    detail : float
        Of `DecodedPictures.detail`, or of `detail_at` where sizes are not comparable.
    n_pixels : int
    is_deep : bool
        It has more than 8 bits a sample.
    fidelity : Fidelity
    lacks_detail : bool
        It is known to be blown up or blurred.
    has_lost_tones, is_coarse : bool
        Of copies that differ in nothing else, another one has far more tones, is clearly less
        compressed.
    """

    row: int
    is_there: bool
    split: int
    n_annotations: int
    is_gray: bool
    is_framed: bool
    is_cropped: bool
    is_overlaid: bool
    detail: float
    n_pixels: int
    is_deep: bool
    fidelity: Fidelity
    lacks_detail: bool = False
    has_lost_tones: bool = False
    is_coarse: bool = False

    @property
    def looks(self) -> tuple[bool, ...]:
        """What was done to it; the least stays."""
        return self.is_gray, self.is_framed, self.is_cropped, self.is_overlaid

    @property
    def standing(self) -> tuple[Any, ...]:
        """What comes before the number of pixels; the least stays."""
        known = not self.is_there, self.split, -self.n_annotations
        return *known, *self.looks, self.lacks_detail

    @property
    def rank(self) -> tuple[Any, ...]:
        """All but the name; the least stays."""
        lost = self.has_lost_tones, self.is_coarse
        return *self.standing, -self.n_pixels, not self.is_deep, *lost


class Standings:
    """Which copies of groups should rather stay than others.

    In this order: an image that can be read; the split whose copies stay; most annotations; colors
    before gray; no border or page around the picture; a whole picture before a part of it; nothing
    laid over; real detail before what is blown up or blurred; most pixels; more than 8 bits a
    sample; all tones; no JPEG of lower quality; first by name.

    Parameters
    ----------
    store : EmbeddingStore
    keep_order : sequence of Split
        That whose copies stay first.
    pictures : DecodedPictures
    signatures : array of shape (n, 3072), uint8
    proofs : mapping of pair of rows to Proof or None
        What is known.
    firsts : mapping of int to int
        Of each row with equal pixels or an equal file, the first such row.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        keep_order: Sequence[Split],
        pictures: DecodedPictures,
        signatures: Array,
        proofs: Mapping[Pair, Proof | None],
        firsts: Mapping[int, int],
    ) -> None:
        self._store, self._pictures, self._firsts = store, pictures, firsts
        self._places = [keep_order.index(split) for split in sorted(Split)]
        offsets = store.column("items/annotations_offsets").astype(np.int64)
        self._n_annotations = np.diff(offsets)
        self._signatures = signatures
        self._changes: dict[int, list[tuple[str, int]]] = {}  # and beside which other row
        for pair, proof in proofs.items():
            if proof is not None and proof.kind == "picture":
                for name in set(_TOLD) & set(proof.how):
                    row, other = pair[::-1] if name in proof.of_second else pair
                    self._changes.setdefault(row, []).append((name, other))

    def better(self, group: tuple[int, Sequence[int]]) -> list[int]:
        """Give the rows of a group that should rather stay than what stays, the best first.

        `group`: what stays, and all rows. What differs by name alone is not better. Decodes what
        was not measured yet, and two images of a group at up to 1,024 px.
        """
        keep, rows = group
        best = self._by_detail(self._copies(rows))
        n_equal = sum(one.rank == best[0].rank for one in best)
        if n_equal > 1:  # mark those that hold less than the best of what is left
            copies = best[:n_equal]
            rich = max(copies, key=lambda one: one.fidelity.tones)
            poor: set[int] = set()
            for one in copies:
                if one.fidelity.tones < _FEWER * rich.fidelity.tones and (
                    one.fidelity.contrast < _FLATTER * rich.fidelity.contrast
                    # Drawings of few tones have fewer than their copies with noise, or of JPEG.
                    or not self._pictures.has_colors_of(self._first(one.row), self._first(rich.row))
                ):
                    poor.add(one.row)
            left = [one.fidelity for one in copies if one.row not in poor]
            most_steps = _COARSER * max(min(each.known_steps for each in left), _FINE)
            marked = []
            for one in copies:
                steps = one.fidelity.steps if one.row not in poor else None
                is_coarse = steps is not None and steps > most_steps
                marked.append(replace(one, has_lost_tones=one.row in poor, is_coarse=is_coarse))
            best[:n_equal] = sorted(marked, key=lambda one: (*one.rank, one.row))
        rank = next(one.rank for one in best if one.row == keep)
        return [one.row for one in best if one.rank < rank]

    def _copies(self, rows: Sequence[int]) -> list[Copy]:
        firsts = {self._first(row) for row in rows}
        # Those that are gray, framed, cropped or overlaid beside another, by the proof of both.
        changed: dict[str, set[int]] = {name: set() for name in (*_TOLD, "framed")}
        told = ((row, *each) for row in firsts for each in self._changes.get(row, ()))
        for row, name, other in told:
            if other in firsts and name != "cropped":
                changed[name].add(row)
            elif other in firsts:
                inner, outer = self._pictures.small(row), self._pictures.small(other)
                if inner is not None and outer is not None:
                    sizes_px = self._pictures.size(row), self._pictures.size(other)
                    around = nesting(inner, outer, sizes_px, self._signatures[[row, other]])
                    if around:
                        changed[around].add(other if around == "framed" else row)
        measured = {row: self._pictures.detail(row) for row in firsts}
        sizes = [size for size, _ in measured.values()]
        if max(sizes) <= _COMPARABLE * min(sizes):
            details = {row: detail for row, (_, detail) in measured.items()}
        else:
            details = {row: self._pictures.detail_at(row, LONGEST_PX) for row in measured}
        return [
            Copy(
                row=row,
                is_there=self._pictures.is_there(row),
                split=self._places[self._store.splits[row]],
                n_annotations=int(self._n_annotations[row]),
                is_gray=self._first(row) in changed["gray"],
                is_framed=self._first(row) in changed["framed"],
                is_cropped=self._first(row) in changed["cropped"],
                is_overlaid=self._first(row) in changed["overlaid"],
                detail=details[self._first(row)],
                n_pixels=math.prod(self._pictures.size(row)),
                is_deep="bits" in self._pictures.unseen(row),
                fidelity=self._pictures.fidelity(self._first(row)),
            )
            for row in rows
        ]

    def _by_detail(self, copies: Sequence[Copy]) -> list[Copy]:
        """Sort copies by all that comes before fidelity, and mark those that lack detail.

        Only at the size of the larger of two pictures it shows whether its pixels hold more: the
        first of copies that differ in pixels is measured there.
        """
        most: dict[tuple[bool, ...], float] = {}
        # Detail that may be noise, in the copy of most contrast.
        faint = _FAINT / max(max(one.fidelity.contrast for one in copies), 1.0)
        for one in copies:
            most[one.looks] = max(most.get(one.looks, 0.0), one.detail)
        found = [
            replace(one, lacks_detail=max(one.detail, faint) < _LESS * most[one.looks])
            for one in copies
        ]
        while True:
            found.sort(key=lambda one: (*one.rank, one.row))
            first = found[0]
            if first.lacks_detail:
                return found
            rivals = (one for one in found[1:] if one.standing == first.standing)
            rival = next((one for one in rivals if one.n_pixels < first.n_pixels), None)
            if rival is None:
                return found
            rows = self._first(first.row), self._first(rival.row)
            longest = [max(self._pictures.size(row)) for row in rows]
            if min(longest) <= LONGEST_PX:
                return found  # all that the smaller one holds was measured
            at_px = min(longest[0], _LARGE_PX)
            own, other = (self._pictures.detail_at(row, at_px) for row in rows)
            if max(own, faint) >= _LESS * other:
                return found
            found[0] = replace(first, lacks_detail=True)

    def _first(self, row: int) -> int:
        return self._firsts.get(row, row)
