"""Copies in a store: candidates by vectors and signatures, pairs proven on pixels, groups of them.

Every member of a group is proven a copy of the one that stays, so a chain of similar pictures is
no group. Pictures that only overlap, as frames of a film do, are pairs of their own kind, and in no
group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from ..duplicates import by_preference, equal_files, keep_order
from ..parallel import map_ahead, short_turns, single_threaded_opencv
from ..pixels import quiet_pillow
from ..records import ItemKey, Split, Status
from ..retrieval import media_root_of
from ..signatures import SIGNATURE_BYTES, signature
from ..similarity import paired_cosines
from ..store import EmbeddingStore, using_store
from .candidates import Candidates
from .decoded import DecodedPictures
from .differences import Array, Sizes
from .gates import are_still, gates, passing
from .grouping import Pair, grouped, is_copy, ordered
from .keeping import Standings
from .mapping import Map, likely_maps
from .pair_choice import Neighbors, likeliest, of_least_connected
from .pieces import Pieces
from .proof import Proof, prove
from .references import BLOCK_ROWS, in_blocks

__all__ = ["Copies", "CopyGroup", "CopyPair", "find_copies"]

_Result = TypeVar("_Result")
Proofs = dict[Pair, Proof | None]

_EVALUATED_FIRST = (Split.TEST, Split.VAL, Split.TRAIN, Split.OTHER)
_PROVEN_ROWS = 128
_TRIED = 3  # pairs of an item that are looked at pixel by pixel, the likeliest
_ROUNDED = 4  # levels by which signatures of equal pixels may differ
_ALIKE, _LOOKED = 0.85, 2  # pairs of an item that are so much alike as a whole
_DECODED_ROWS = 64
_FORESEEN = 4  # pairs of two groups that are proven before it is known whether all are needed
_FRAMES, _STARS_TRIED, _STARS_ROWS = 0.97, 4, 512


@dataclass(frozen=True, slots=True)
class CopyPair:
    """Two items, one a copy of the other.

    Attributes
    ----------
    first, second : int
        Rows of items, ascending.
    proof : Proof
    similarity : float
        Cosine of their vectors.
    across_splits : bool
        They are in different ones of train, val and test.
    """

    first: int
    second: int
    proof: Proof
    similarity: float
    across_splits: bool


@dataclass(frozen=True, slots=True)
class CopyGroup:
    """Items that are copies of each other.

    Attributes
    ----------
    rows : tuple of int
        Of items, ascending.
    keep : int
        The one that stays where the others are dropped (see `DuplicateGroup.keep`), of those whose
        image can be read, if any.
    across_splits : bool
        They are in more than one of train, val and test.
    """

    rows: tuple[int, ...]
    keep: int
    across_splits: bool


@dataclass(frozen=True, slots=True)
class Copies:
    """What `find_copies` found.

    Attributes
    ----------
    pairs : tuple of CopyPair
        By rows. Of items with identical files, one represents the others in pairs with other items,
        except in pairs with the kept item of their group: there each is compared.
    groups : tuple of CopyGroup
        By rows; pairs that only overlap are in none.
    n_candidates : int
        Pairs that were looked at.
    unread : dict of ItemKey to str
        Items with a vector whose image could not be read, or changed after embedding, and the
        reason. Only identical files prove that these are copies.
    """

    pairs: tuple[CopyPair, ...]
    groups: tuple[CopyGroup, ...]
    n_candidates: int
    unread: dict[ItemKey, str]

    @property
    def leaks(self) -> tuple[CopyPair, ...]:
        """Pairs across splits that do not only overlap."""
        return tuple(p for p in self.pairs if p.across_splits and p.proof.kind != "overlap")


def find_copies(
    store: EmbeddingStore | str | PathLike[str],
    *,
    k: int = 5,
    media_root: str | Path | None = None,
    keep_split: str | None = None,
    pieces: Pieces | None = None,
    progress: bool = False,
) -> Copies:
    """Find items that show the same picture, and prove it on their pixels.

    Parameters
    ----------
    k : int
        Nearest items, by vectors, that each item is compared with.
    media_root : path, optional
        Folder of the images; by default where the store says.
    keep_split : {"train", "val", "test"}, optional
        Which copy of a group in several splits stays; unless given that of test, else of val.
    pieces : Pieces, optional
        Keeps finished proofs, so that a killed audit can continue.
    progress : bool
        Show bars where stderr is a terminal.

    Raises
    ------
    UsageError
        There is no such folder or split.
    """
    order = keep_order(keep_split) if keep_split else _EVALUATED_FIRST
    with of_many_pictures(), using_store(store) as opened:
        preferred = by_preference(opened, np.arange(len(opened)), order)
        search = CopySearch(
            [opened],
            [media_root_of(opened, media_root)],
            preferred=preferred,
            pieces=pieces,
            progress=progress,
        )
        proofs = search.proofs(k)
        groups_found = search.groups(order)
        splits = opened.splits

        def across(rows: Iterable[int]) -> bool:
            return len({int(splits[row]) for row in rows} - {int(Split.OTHER)}) > 1

        groups = [CopyGroup(tuple(rows), keep, across(rows)) for keep, rows in groups_found]
        with_kept = {ordered(row, g.keep) for g in groups for row in g.rows if row != g.keep}
        proofs |= search.looked_at(with_kept - set(proofs))
        pairs = np.array(sorted(proofs), np.int64).reshape(-1, 2)
        cosines = paired_cosines(opened.embeddings(), pairs[:, 0], pairs[:, 1])
        return Copies(
            tuple(
                CopyPair(a, b, proofs[a, b], float(cosine), across((a, b)))
                for (a, b), cosine in zip(pairs.tolist(), cosines, strict=True)
            ),
            tuple(groups),
            search.n_candidates,
            search.unread(),
        )


@contextmanager
def of_many_pictures() -> Iterator[None]:
    """Set this process to compare many small pictures at once."""
    with single_threaded_opencv(), short_turns(), quiet_pillow():
        yield


class CopySearch:
    """Pairs of items of one store, or of one and another, from candidates to proofs.

    Rows of the second store follow those of the first, as one table. `skipped`: rows to leave out;
    `preferred`: all rows, that which stays first, where groups are wanted.
    """

    def __init__(
        self,
        stores: Sequence[EmbeddingStore],
        roots: Sequence[Path],
        *,
        skipped: Iterable[int] = (),
        preferred: Array | None = None,
        pieces: Pieces | None = None,
        progress: bool = False,
    ) -> None:
        self._stores, self._progress = stores, progress
        self._preferred, self._pieces = preferred, pieces or Pieces()
        self.pictures = DecodedPictures(stores, roots)
        self.n_candidates = 0
        self.stand_ins: dict[int, int] = {}  # of equal files, one that can be read
        self._equals: dict[int, int] = {}  # of equal pixels, that which may stay
        self._known: dict[Pair, Proof | None] = {}  # what was looked at
        self.vectors = _joined([store.embeddings() for store in stores])
        self._hashes = _joined([store.content_sha256 for store in stores])
        self._sides = np.repeat(np.arange(len(stores)), [len(store) for store in stores])
        known = _joined([store.statuses for store in stores]) == Status.OK
        known[list(skipped)] = False
        self._rows = np.flatnonzero(known)
        sizes = np.concatenate([np.stack([s.widths, s.heights], axis=1) for s in stores])
        self._sizes: list[tuple[int, int]] = list(map(tuple, sizes.tolist()))
        self._signatures = np.concatenate(
            [
                store.column("items/signature")
                if store.has("items/signature")
                else np.zeros((len(store), SIGNATURE_BYTES), np.uint8)
                for store in stores
            ]
        )
        self._sign(self._rows[~self._signatures[self._rows].any(axis=1)])

    def _sign(self, rows: Array) -> None:
        """Compute the signatures of some items from their images."""
        pictures = map_ahead(self.pictures.small, rows.tolist())
        bar = tqdm(pictures, "images", len(rows), disable=None if self._progress else True)
        for row, picture in zip(rows.tolist(), bar, strict=True):
            if picture is not None:
                self._signatures[row] = signature(picture)

    def rows_of(self, side: int, rows: Array | None = None) -> Array:
        """Give those of some rows, or of all that are compared, that are of one store."""
        rows = self._rows if rows is None else rows
        found: Array = rows[self._sides[rows] == side]
        return found

    def unread(self) -> dict[ItemKey, str]:
        """Give the items whose image could not be read, or is another one now, and why."""
        found = {}
        for row, reason in sorted(self.pictures.unread.items()):
            store, _, own = self.pictures.place(row)
            found[store.key(own)] = reason
        return found

    def proofs(self, k: int) -> dict[Pair, Proof]:
        """Prove what can be proven of all candidates."""
        candidates = Candidates(
            self.vectors,
            self._signatures,
            self._sides,
            len(self._stores),
            progress=self._progress,
        )
        pairs = candidates.pairs(self._rows, k)
        found = self._equal_files() | self._equal_pixels()

        # Signatures of what is not opaque may change, and with them what is near.
        pairs = self._merged(pairs)
        gated = self._gated(pairs)
        passed = passing(gated)
        if len(changed := self._seen_through(pairs[passed], gated[passed, 1])):
            more = candidates.pairs(self._rows, k, changed)
            pairs = self._merged(np.concatenate([pairs, more]))
            gated = self._gated(pairs)
            passed = passing(gated)
        self.n_candidates = len(pairs) + len(found)
        pairs, gated = pairs[passed], gated[passed]
        self._known |= found

        # First what may be groups of many, then what is not settled by these, then what joins them.
        stars = self._stars(pairs, gated[:, 1])
        self._proven(stars, self._gated(stars))
        equals = np.array([*self._equals.items()], np.int64).reshape(-1, 2)
        kept = self._kept_of(np.concatenate([stars, np.sort(equals, axis=1)]))
        is_settled = np.bincount(kept, minlength=len(kept))[kept] > 1
        rest = ~is_settled[pairs].all(axis=1) | (gated[:, 1] < _ALIKE)
        rest &= np.array([pair not in self._known for pair in _pairs_of(pairs)], bool)
        rest[rest] = likeliest(pairs[rest], gated[rest, 1], _LOOKED, _ALIKE, ~is_settled)
        self._proven(pairs[rest], gated[rest])

        # Pair what would stay of two groups of which a pair is proven, or may be. Of pairs that are
        # as alike as frames, not all may count: groups of a camera's frames are connected by the
        # thousand.
        differ, ends = gated[:, 1] < _FRAMES, np.sort(kept[pairs], axis=1)
        is_one = np.bincount(kept, minlength=len(kept)) == 1
        are_linked = np.array([self._known.get(p) is not None for p in _pairs_of(pairs)], bool)
        apart = ends[:, 0] != ends[:, 1]
        may_be = ~is_one[ends].any(axis=1) & apart
        alike = np.unique(ends[may_be & ~differ], axis=0)
        linked = ends[(are_linked & apart) | (may_be & differ)]
        links = np.unique(np.concatenate([linked, alike[of_least_connected(alike)]]), axis=0)
        self._proven(links, self._gated(links))
        return {pair: proof for pair, proof in self._known.items() if proof is not None}

    def _equal_files(self) -> dict[Pair, Proof]:
        """Pair items of equal files with the first of them; regions of one image are not equal.

        `stand_ins` has, of each but one, the one that can be read.
        """
        first, second = equal_files(self._hashes, self._rows, self._sides)
        if len(self._stores) > 1:
            across = self._sides[first] != self._sides[second]
            first, second = first[across], second[across]
        same = paired_cosines(self.vectors, first, second) > 0.999
        pairs = _pairs_of(np.stack([first[same], second[same]], axis=1))
        files: dict[int, list[int]] = {}
        for a, b in pairs:
            files.setdefault(a, [a]).append(b)
        readable = self._each(self._first_readable, [*files.values()], "choose")
        for rows, one in zip(files.values(), readable, strict=True):
            self.stand_ins |= {row: one for row in rows if row != one}
        return dict.fromkeys(pairs, Proof("bytes"))

    def _first_readable(self, rows: list[int]) -> int:
        """Give, of equal files, the first that can be read; of two stores, of the first one's."""
        own = [row for row in rows if self._sides[row] == self._sides[rows[0]]]
        return next(filter(self.pictures.is_there, own), rows[0])

    def _equal_pixels(self) -> dict[Pair, Proof]:
        """Prove equal pixels of items of equal signatures and sizes, however many there are.

        Each image is decoded once; of each set of equal ones the others are paired with that which
        may stay. `_equals` has these.
        """
        rows = self._rows[~np.isin(self._rows, [*self.stand_ins])]
        keys = np.fromiter(
            (hash((self._signatures[row].tobytes(), self._sizes[row])) for row in rows), np.int64
        )
        _, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
        alike = rows[(counts[places] > 1) & self._signatures[rows].any(axis=1)]
        ranks = alike if self._preferred is None else np.argsort(self._preferred)[alike]
        sides = self._sides[alike] if self._preferred is None else np.zeros(len(alike), np.int64)
        alike = alike[np.lexsort((ranks, sides))]
        digests = self._each(self.pictures.digest, alike.tolist(), "digests", _DECODED_ROWS)
        equal: dict[bytes, list[int]] = {}
        for row, digest in zip(alike.tolist(), digests, strict=True):
            equal.setdefault(digest, []).append(row)
        equal.pop(b"", None)
        groups = [rows for rows in equal.values() if len(rows) > 1]
        firsts = [rows[0] for rows in groups]
        shown = self._each(self._shows_something, firsts, "show_something", _DECODED_ROWS)
        for (first, *others), is_shown in zip(groups, shown, strict=True):
            if len(self._stores) > 1:
                others = [row for row in others if self._sides[row] != self._sides[first]]
            self._equals |= dict.fromkeys(others if is_shown else (), first)
        return {
            ordered(first, row): self._doubted(first, row, Proof("pixels"))
            for row, first in self._equals.items()
        }

    def _shows_something(self, row: int) -> bool:
        """Tell whether a picture is proven to be like itself: one of one color is not."""
        picture = self.pictures.small(row)
        if picture is None:
            return False
        whole = Map(0, np.eye(3), np.eye(3))
        return prove(picture, picture, self._size(row, row), whole) is not None

    def _merged(self, pairs: Array) -> Array:
        """Put what stands for equal files and pixels in their place, in pairs."""
        n_rows = len(self._signatures)
        shown = np.arange(n_rows)
        for equals in (self.stand_ins, self._equals):
            shown[[*equals]] = [*equals.values()]
        one, other = (shown[shown[pairs[:, n]]] for n in (0, 1))
        are_two = one != other
        if len(self._stores) > 1:
            are_two &= self._sides[one] != self._sides[other]
        codes = np.minimum(one, other) * n_rows + np.maximum(one, other)
        return np.stack(np.divmod(np.unique(codes[are_two]), n_rows), axis=1)

    def _seen_through(self, pairs: Array, scores: Array) -> Array:
        """Make the signatures of what is not opaque those of what proofs compare.

        Returns the rows of these, and of what they were alike, whose nearest may be others now.
        Only of items with one that is much alike as a whole, and of what may be a copy of these:
        pictures of the same colors but unlike opacity would crowd out each other's copies.
        """
        n_changed = 0
        is_looked_at = np.zeros(len(self._signatures), bool)
        rows = np.unique(pairs[scores >= _FRAMES])
        while len(rows):
            is_looked_at[rows] = True
            seen = self._each(
                self.pictures.is_seen_through, rows.tolist(), "are_seen_through", _PROVEN_ROWS
            )
            changed = rows[np.array(seen, bool)]
            self._sign(changed)
            n_changed += len(changed)
            others = np.unique(pairs[np.isin(pairs, changed).any(axis=1)])
            rows = others[~is_looked_at[others]]
        return np.flatnonzero(is_looked_at) if n_changed else np.zeros(0, np.int64)

    def looked_at(self, pairs: Iterable[Pair]) -> dict[Pair, Proof]:
        """Prove what can be proven of some pairs; what stands for equal files is looked at."""
        shown = {(a, b): ordered(self._stand_in(a), self._stand_in(b)) for a, b in pairs}
        looked = np.array(sorted({*shown.values()}), np.int64).reshape(-1, 2)
        looked = looked[looked[:, 0] != looked[:, 1]]
        found = self._proven(looked, self._gated(looked))
        found |= {(a, b): Proof("bytes") for a, b in shown.values() if a == b}
        return {
            pair: found[one] if one[0] == self._stand_in(pair[0]) else found[one].swapped()
            for pair, one in shown.items()
            if one in found
        }

    def _stand_in(self, row: int) -> int:
        return self.stand_ins.get(row, row)

    def _proven(self, pairs: Array, gated: Array) -> dict[Pair, Proof]:
        """Look at those of some pairs that may be copies and were not looked at."""
        every = _pairs_of(pairs)
        mapped = self._maps(every, gated)
        scores = np.array([max(m.score for m in maps) for _, maps in mapped])
        kept = likeliest(np.array([p for p, _ in mapped], np.int64).reshape(-1, 2), scores, _TRIED)
        tried = [one for one, is_kept in zip(mapped, kept, strict=True) if is_kept]
        kept_proofs = self._pieces.proofs
        self._known |= {pair: kept_proofs[pair] for pair, _ in tried if pair in kept_proofs}
        tried = [(pair, maps) for pair, maps in tried if pair not in kept_proofs]
        self._look_at(tried, self._pieces.keep)
        found = ((pair, self._known.get(pair)) for pair in every)
        return {pair: proof for pair, proof in found if proof is not None}

    def _stars(self, pairs: Array, scores: Array) -> Array:
        """Pair items that are hardly unlike, as frames of a camera are, with one that may stay.

        Each item, the preferred ones first, with that which its neighbors are paired with, if its
        signature allows it; else others with it.
        """
        if self._preferred is None:
            return np.zeros((0, 2), np.int64)
        alike = scores >= _FRAMES
        still = self._mapped(self._are_still, pairs[alike], BLOCK_ROWS, "are_still")
        alike[alike] = [*chain(*still)]
        pairs, scores = pairs[alike], scores[alike]
        near = Neighbors(pairs, scores, len(self._preferred))
        centers = np.full(len(self._preferred), -1)
        items = self._preferred[near.counts[self._preferred] > 0]
        for start in range(0, len(items), _STARS_ROWS):
            block = items[start : start + _STARS_ROWS].tolist()
            known = (dict.fromkeys(centers[near.of(row)].tolist()) for row in block)
            tried = [
                (row, center)
                for row, found in zip(block, known, strict=True)
                for center in [*(n for n in found if n >= 0)][:_STARS_TRIED]
            ]
            if tried:
                ways = np.array(tried)[::-1]  # the likeliest comes last
                ways = ways[self._are_still(ways)]
                centers[ways[:, 0]] = ways[:, 1]
            for row in block:
                if centers[row] < 0:
                    own = (n for n in near.of(row).tolist() if centers[n] == n)
                    centers[row] = next(own, row)
        rows = np.flatnonzero((centers >= 0) & (centers != np.arange(len(centers))))
        rows = rows[np.argsort(centers[rows], kind="stable")]  # so that each is decoded once
        return np.sort(np.stack([rows, centers[rows]], axis=1), axis=1)

    def _kept_of(self, stars: Array) -> Array:
        """Give each row that which it is proven a copy of by its star, else itself."""
        kept = np.arange(len(self._sides))
        if self._preferred is not None:
            ranks = np.argsort(self._preferred)
            for pair in _pairs_of(stars):
                if is_copy(self._known.get(pair)):
                    one, other = sorted(pair, key=lambda row: int(ranks[row]))
                    kept[other] = one
        return kept

    def groups(self, keep_order: Sequence[Split]) -> list[tuple[int, list[int]]]:
        """Give what stays, and the rows, of each group: all others are copies of what stays.

        That is the first of the few best rows of which they are, else what groups were made by.

        `keep_order`: the splits, that whose copies stay first.
        """
        assert self._preferred is not None
        ranks, splits = np.argsort(self._preferred), self._stores[0].splits
        proofs = [(pair, proof) for pair, proof in self._known.items() if proof is not None]
        # Of each row that has equal pixels or bytes, the first such row.
        firsts = {row: self._equals.get(one, one) for row, one in self.stand_ins.items()}
        firsts |= self._equals
        for (a, b), proof in sorted(proofs, key=lambda p: (-p[1].score, p[0])):
            if proof.kind == "pixels" and a not in self._equals and b not in self._equals:
                firsts[b] = firsts.get(a, a)

        def place(row: int) -> tuple[bool, int]:
            return not self.pictures.is_there(row), int(ranks[row])

        foreseen: set[Pair] = set()
        grouped(proofs, firsts, splits, place, partial(self._are_copies, foreseen=foreseen))
        self._prove_unknown(sorted(foreseen))  # in threads, not one by one as grouping asks
        groups = grouped(proofs, firsts, splits, place, self._are_copies)
        standings = Standings(
            self._stores[0], keep_order, self.pictures, self._signatures, self._known, firsts
        )
        better = self._each(standings.better, groups, "standings", _DECODED_ROWS)
        kept = [keep for keep, _ in groups]
        for nth in range(_TRIED):  # of which all others must be proven copies
            wanted = {
                n: {ordered(some[nth], row) for row in groups[n][1] if row != some[nth]}
                for n, some in enumerate(better)
                if kept[n] == groups[n][0] and nth < len(some)
            }
            looked_at = self.looked_at({*chain(*wanted.values())})
            copies = {pair for pair, proof in looked_at.items() if is_copy(proof)}
            for n, pairs in wanted.items():
                if pairs <= copies:
                    kept[n] = better[n][nth]
        return sorted(zip(kept, (rows for _, rows in groups), strict=True), key=lambda g: g[1])

    def _are_copies(self, pairs: list[Pair], foreseen: set[Pair] | None = None) -> bool:
        """Tell whether all of some pairs are copies, what is known first.

        With `foreseen`, pairs that are not known may be; some of them are noted in it.
        """
        pairs = [pair for pair in pairs if pair[0] != pair[1]]
        unknown = [pair for pair in pairs if pair not in self._known]
        if not all(is_copy(self._known[pair]) for pair in pairs if pair in self._known):
            return False
        if foreseen is not None:
            foreseen.update(unknown[:_FORESEEN])
            return True
        for pair in unknown:
            self._prove_unknown([pair])
            if not is_copy(self._known[pair]):
                return False
        return True

    def _prove_unknown(self, pairs: list[Pair]) -> None:
        """Look at pairs, whatever else their items are paired with."""
        mapped = self._maps(pairs, self._gated(np.array(pairs, np.int64).reshape(-1, 2)))
        self._known |= dict.fromkeys(pairs)
        self._look_at(mapped)

    def _each(
        self,
        function: Callable[[Any], _Result],
        work: Sequence[Any],
        what: str,
        n_rows: int = BLOCK_ROWS,
    ) -> list[_Result]:
        """Call a function, in threads, with each piece of work."""
        return [*chain(*self._mapped(lambda some: [*map(function, some)], work, n_rows, what))]

    def _mapped(
        self,
        function: Callable[[Any], _Result],
        work: Sequence[Any] | Array,
        n_rows: int,
        what: str,
        *,
        forks: bool = False,
    ) -> Iterator[_Result]:
        """Call a function in threads, or in forks, with some of the work at a time."""
        return in_blocks(
            lambda rows: function(work[rows]),
            len(work),
            n_rows=n_rows,
            what=what,
            progress=self._progress,
            forks=forks,
        )

    def _gated(self, pairs: Array) -> Array:
        blocks = self._mapped(
            lambda some: gates(self._signatures, *some.T), pairs, BLOCK_ROWS, "gate"
        )
        return np.concatenate([np.zeros((0, 4), np.float32), *blocks])

    def _are_still(self, pairs: Array) -> Array:
        return are_still(self._signatures, pairs[:, 0], pairs[:, 1])

    def _maps(self, pairs: list[Pair], gated: Array) -> list[tuple[Pair, list[Map]]]:
        """Give the maps of those pairs that may be copies and were not looked at."""
        work = zip(pairs, gated.tolist(), passing(gated), strict=True)
        looked = [(pair, gate) for pair, gate, passed in work if passed and pair not in self._known]
        return [*chain(*self._mapped(self._coarse, looked, _PROVEN_ROWS, "coarse", forks=True))]

    def _coarse(self, pairs: list[tuple[Pair, list[float]]]) -> list[tuple[Pair, list[Map]]]:
        """Give the maps of pairs that have any, by their signatures."""
        found = (
            ((a, b), [*likely_maps(self._signatures[a], self._signatures[b], self._size(a, b), g)])
            for (a, b), g in pairs
        )
        return [(pair, maps) for pair, maps in found if maps]

    def _look_at(
        self, pairs: list[tuple[Pair, list[Map]]], keep: Callable[[Proofs], None] | None = None
    ) -> None:
        """Prove pairs by their maps, and keep what is found, some pairs at a time."""
        for found, facts in self._mapped(self._prove, pairs, _PROVEN_ROWS, "prove", forks=True):
            self.pictures.learn(facts)
            self._known |= found
            if keep is not None:
                keep(found)

    def _prove(self, pairs: list[tuple[Pair, list[Map]]]) -> tuple[Proofs, list[dict[int, Any]]]:
        """Give the proofs of some pairs, and what the pictures are found to be."""
        found: Proofs = {}
        for (a, b), maps in pairs:
            found[a, b] = None
            first, second = self.pictures.small(a), self.pictures.small(b)
            if first is None or second is None:
                continue
            proof: Proof | None = None
            for one in maps:  # one that proves the same picture, else the first that proves any
                tried = prove(first, second, self._size(a, b), one)
                if tried is not None and tried.kind == "picture":
                    proof = tried
                    break
                proof = proof or tried
            if proof is None:
                continue
            if self._preferred is not None and proof.kind == "picture":
                for row in (a, b):
                    self.pictures.detail(row)  # decides later which stays; it is decoded now
            is_same = not proof.how and self._sizes[a] == self._sizes[b]
            if is_same:  # else signatures differ by more than decoding, and nothing is decoded
                apart = cv2.absdiff(self._signatures[a], self._signatures[b]).max()
                is_same = bool(apart <= _ROUNDED) and self.pictures.are_equal(a, b)
            found[a, b] = self._doubted(a, b, Proof("pixels") if is_same else proof)
        return found, self.pictures.facts(chain(*found))

    def _doubted(self, a: int, b: int, proof: Proof) -> Proof:
        """Name in a proof what was not compared; samples that decoding changes are, if need be."""
        doubts = self.pictures.unseen(a, b)
        if "bits" in doubts and proof.kind == "pixels" and self.pictures.have_equal_samples(a, b):
            doubts = tuple(name for name in doubts if name != "bits")
        return replace(proof, doubts=proof.doubts + doubts) if doubts else proof

    def _size(self, a: int, b: int) -> Sizes:
        return self._sizes[a], self._sizes[b]


def _pairs_of(rows: Array) -> list[Pair]:
    return [(a, b) for a, b in rows.tolist()]


def _joined(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
