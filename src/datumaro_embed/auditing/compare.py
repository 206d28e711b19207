"""Two stores: copies across, what is new, what changed under the same key, and drift of labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..findings import Finding, Findings, finding
from ..listing import table_lines
from ..records import Split, Status
from ..similarity import neighbours, paired_cosines
from ..similarity.codes import unit_block
from ..similarity.cosine import Float64Array, IntArray
from ..store import EmbeddingStore, VectorTable, using_store
from ..tally import counted
from .copies import CopySearch, of_many_pictures
from .decoded import folder_of_images
from .grouping import Pair
from .proof import Proof
from .references import evenly
from .run import audit_lines

__all__ = ["Comparison", "LabelDrift", "compare"]

COMPARED = ("copy", "novel", "changed", "relabeled", "added", "removed")
"""Kinds of findings, in the order in which they are shown."""

_NEAREST = 5
_USUAL = 0.99  # share of A's own items that are nearer to another one than what is novel
_SAMPLE = 4096
_PERMUTATIONS = 199
_SIGNIFICANT = 0.05
_BLOCK_ROWS = 8192
_SHOWN_LABELS = 20
_CERTAIN = ("bytes", "pixels", "picture")


@dataclass(frozen=True, slots=True)
class LabelDrift:
    """How far apart one label's vectors are in two stores.

    Attributes
    ----------
    label : str
    n_rows : (int, int)
        Objects, or items, that have it in the first and the second store.
    distance : float
        1 - cosine of the mean vectors.
    expected : float
        The same, on average, if the images are exchanged at random between the stores.
    p_value : float
        Share of such exchanges in which any label drifts so far beyond what its size explains.
    """

    label: str
    n_rows: tuple[int, int]
    distance: float
    expected: float
    p_value: float

    @property
    def is_drift(self) -> bool:
        """Tell whether the distance is more than chance."""
        return self.p_value <= _SIGNIFICANT


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    findings : Findings
        Kinds ``copy``, ``novel``, ``changed``, ``relabeled`` and ``added`` name items of the second
        store, ``removed`` of the first.
    drift : tuple of LabelDrift
        Of the labels that both have, the least explained by chance first.
    of : {"items", "objects"}
        What the vectors of the labels are of.
    n_rows : (int, int)
        Items of the first and the second store.
    same_keys : bool
        Items of equal keys were taken for the same item, before and after.
    n_unchanged : int
        Of those, the ones of equal bytes; they are neither copies nor novel.
    n_unread : int
        Items whose image could not be read, or changed after embedding; copies of them are found
        only if the files are identical.
    """

    findings: Findings
    drift: tuple[LabelDrift, ...]
    of: str
    n_rows: tuple[int, int]
    same_keys: bool
    n_unchanged: int
    n_unread: int

    def __repr__(self) -> str:
        return f"<Comparison: {next(self.lines())}; {self.findings!r}>"

    def lines(self) -> Iterator[str]:
        """Yield the summary for people, line by line."""
        keys = f", {self.n_unchanged:,} unchanged" if self.same_keys else ""
        here, there = (counted(n, "items") for n in self.n_rows)
        yield f"{here} in A, {there} in B{keys}"
        if self.n_unread:
            yield (
                f"{counted(self.n_unread, 'images')} could not be read, or changed after "
                "embedding; copies of such images are found only if the files are identical"
            )
        yield ""
        yield from audit_lines(self.findings, COMPARED)
        drifted = [one for one in self.drift if one.is_drift]
        yield ""
        yield f"{len(drifted):,} of {counted(len(self.drift), 'labels')} drifted ({self.of})"
        titles = ("label", "in A", "in B", "distance", "expected", "p")
        rows = [
            (d.label, *d.n_rows, f"{d.distance:.4f}", f"{d.expected:.4f}", f"{d.p_value:.3f}")
            for d in drifted[:_SHOWN_LABELS]
        ]
        yield from table_lines(titles, rows, right=(1, 2, 3, 4, 5))
        if len(drifted) > len(rows):
            yield f"… and {len(drifted) - len(rows):,} more"


def compare(
    first: EmbeddingStore | str | PathLike[str],
    second: EmbeddingStore | str | PathLike[str],
    *,
    same_keys: bool | None = None,
    media_root_a: str | Path | None = None,
    media_root_b: str | Path | None = None,
    progress: bool = False,
) -> Comparison:
    """Compare two stores, A and B: copies, what is new in B, changed items, drift of labels.

    Parameters
    ----------
    first, second : EmbeddingStore or path
    same_keys : bool, optional
        Take items of equal keys for one item, before and after; unless given, where half of the
        smaller store's keys are in the other.
    media_root_a, media_root_b : path, optional
        Folders of the images, if they have moved: copies are proven on their pixels.
    progress : bool
        Show bars where stderr is a terminal.

    Raises
    ------
    ModelMismatchError
        The stores are of different models.
    UsageError
        There is no folder `media_root_a` or `media_root_b`. Where a store's own folder is gone, a
        warning says that copies are found only if the files are identical.
    """
    with using_store(first) as a, using_store(second) as b:
        if not a.kind.same_model(b.kind):
            raise b.kind.mismatch(
                b.path,
                a.kind,
                f"'{a.path}' has these. Embed one of the datasets again with the model of the "
                "other.",
            )
        pair = _Pair(a, b, same_keys)
        with (
            folder_of_images(a, media_root_a, "media_root_a") as (root_a, _),
            folder_of_images(b, media_root_b, "media_root_b") as (root_b, _),
            of_many_pictures(),
        ):
            return pair.compared([root_a, root_b], progress)


class _Pair:
    """Two stores, and which of their items are the same one."""

    def __init__(self, a: EmbeddingStore, b: EmbeddingStore, same_keys: bool | None) -> None:
        self._a, self._b = a, b
        rows = {key: row for row, key in enumerate(a.keys())}
        common = [(rows[key], row) for row, key in enumerate(b.keys()) if key in rows]
        if same_keys is None:
            same_keys = 2 * len(common) >= max(1, min(len(a), len(b)))
        self._same_keys = same_keys
        self._common = np.array(common if same_keys else [], np.int64).reshape(-1, 2)
        one, other = self._common.T
        equal = (a.content_sha256[one] == b.content_sha256[other]).all(axis=1)
        self._unchanged, self._changed = self._common[equal], self._common[~equal]

    def compared(self, roots: Sequence[Path], progress: bool) -> Comparison:
        a, b = self._a, self._b
        skipped = len(a) + self._unchanged[:, 1]
        search = CopySearch([a, b], roots, skipped=skipped.tolist(), progress=progress)
        proofs = {pair: p for pair, p in search.proofs(_NEAREST).items() if p.kind in _CERTAIN}
        both = all(each.has_table("objects") and len(each.objects) for each in (a, b))
        table = "objects" if both else "items"
        rows = [*self._copies(proofs), *self._novel(search, proofs, progress)]
        if self._same_keys:
            rows += self._by_key(search, proofs)

            # Items that have another number of annotations of some label.
            found: list[set[tuple[int, str, int]]] = []
            for side, store in enumerate((a, b)):
                places = np.full(len(store), -1)
                places[self._common[:, side]] = self._common[:, 1]
                names, (of, labels, counts) = store.categories.labels, store.items.label_counts()
                facts = zip(places[of].tolist(), labels.tolist(), counts.tolist(), strict=True)
                found.append({(row, names[label], n) for row, label, n in facts if row >= 0})
            changes: dict[int, dict[str, list[int]]] = defaultdict(dict)
            for side in (0, 1):
                for row, name, n in found[side] - found[1 - side]:
                    changes[row].setdefault(name, [0, 0])[side] = n
            for rank, (row, names_of) in enumerate(sorted(changes.items()), start=1):
                told = (f"{name} {old} → {new}" for name, (old, new) in sorted(names_of.items()))
                reason = f"labels: {', '.join(told)}"
                one = self._finding(row, "relabeled", reason, rank=rank, suggestion="review")
                rows.append(one)
        return Comparison(
            findings=Findings(rows),
            drift=tuple(_drift(a.table(table), b.table(table))),
            of=table,
            n_rows=(len(a), len(b)),
            same_keys=self._same_keys,
            n_unchanged=len(self._unchanged),
            n_unread=len(search.pictures.unread),
        )

    def _finding(self, row: int, kind: str, reason: str, **values: Any) -> Finding:
        """Make a finding of an item of B."""
        return finding(self._b, self._b.items, row, kind=kind, reason=reason, **values)

    def _copies(self, proofs: Mapping[Pair, Proof]) -> Iterator[Finding]:
        """Yield the items of B of which A has a copy under another key; the surest first."""
        own = {(one, len(self._a) + other) for one, other in self._common.tolist()}

        def order(pair: Pair) -> tuple[Any, ...]:
            proof = proofs[pair]
            return _CERTAIN.index(proof.kind), len(proof.doubts), -proof.score, pair

        best: dict[int, int] = {}
        for one, other in sorted(proofs.keys() - own, key=order):
            best.setdefault(other, one)
        groups: dict[int, int] = {}
        for rank, (other, one) in enumerate(best.items(), start=1):
            proof = proofs[one, other]
            is_doubtful = self._b.splits[other - len(self._a)] == Split.TEST or proof.doubts
            yield self._finding(
                other - len(self._a),
                "copy",
                proof.told_of_second(f"{self._a.key(one)} of A"),
                group=groups.setdefault(one, len(groups) + 1),
                rank=rank,
                measure="correlation",
                value=round(proof.score, 4),
                suggestion="review" if is_doubtful else "drop",
            )

    def _novel(
        self, search: CopySearch, proofs: Mapping[Pair, Proof], progress: bool
    ) -> Iterator[Finding]:
        """Yield the items of B that are farther from A than its own items from each other."""
        vectors, among = search.vectors, search.rows_of(0)

        def nearest(rows: IntArray) -> tuple[IntArray, Float64Array]:
            near = neighbours(vectors, rows, _NEAREST, among=among, progress=progress)
            cosines = paired_cosines(vectors, np.repeat(rows, _NEAREST), near.reshape(-1))
            cosines = np.where(near >= 0, cosines.reshape(near.shape), -1)
            places = np.arange(len(rows)), cosines.argmax(axis=1)
            return near[places], cosines[places]

        usual = nearest(evenly(among, _SAMPLE))
        limit = np.quantile(usual[1], 1 - _USUAL) if len(among) > 1 else 2.0
        copied = {other for _, other in proofs}
        rows = search.rows_of(1)
        near, cosines = nearest(rows)
        is_novel = (cosines < limit) & ~np.isin(rows, list(copied))
        order = np.argsort(cosines, kind="stable")
        novel = order[is_novel[order]].tolist()
        for rank, n in enumerate(novel, start=1):
            known = near[n] >= 0
            yield self._finding(
                int(rows[n]) - len(self._a),
                "novel",
                f"the most similar item of A is {self._a.key(int(near[n]))}"
                if known
                else "A is empty",
                rank=rank,
                measure="cosine",
                value=round(float(cosines[n]), 4) if known else None,
                suggestion="review",
            )

    def _by_key(self, search: CopySearch, proofs: Mapping[Pair, Proof]) -> Iterator[Finding]:
        """Yield items whose bytes changed, and keys that one store has alone."""
        pairs = self._changed + np.array([0, len(self._a)])
        ok = np.isin(pairs[:, 0], search.rows_of(0)) & np.isin(pairs[:, 1], search.rows_of(1))
        cosines = np.where(ok, paired_cosines(search.vectors, *pairs.T), -1)
        for rank, n in enumerate(np.argsort(cosines, kind="stable").tolist(), start=1):
            row = int(self._changed[n, 1])
            proof = proofs.get((int(pairs[n, 0]), int(pairs[n, 1])))
            if proof is not None:
                reason = proof.told_of_second("in A")
            elif (status := self._b.statuses[row]) != Status.OK:
                reason = f"it has no vector in B ({Status(status).name.lower()})"
            else:
                reason = "its bytes differ from those in A"
            yield self._finding(
                row,
                "changed",
                reason,
                rank=rank,
                measure="cosine" if ok[n] else "",
                value=round(float(cosines[n]), 4) if ok[n] else None,
                suggestion="review",
            )
        sides = (("removed", self._a, "B"), ("added", self._b, "A"))
        for side, (kind, store, other) in enumerate(sides):
            alone = np.setdiff1d(np.arange(len(store)), self._common[:, side])
            for rank, row in enumerate(alone.tolist(), start=1):
                reason = f"{other} has no item of this key"
                values = {"rank": rank, "suggestion": "review", "reason": reason}
                yield finding(store, store.items, row, kind=kind, **values)


def _drift(first: VectorTable, second: VectorTable) -> Iterator[LabelDrift]:
    """Compare the mean vectors of each label with those of images exchanged at random.

    Whole images are exchanged, as objects of one are alike. Distances are told in deviations of
    their own label's exchanges, and compared with the greatest of all labels: that of a small
    label, or of the first of many, is no drift (Westfall and Young).
    """
    sides = []
    for table in (first, second):  # what has several labels counts for each
        rows, labels = table.label_pairs()
        known = table.has_vector[rows]
        names = np.array(table.label_names, object)[labels[known]]
        sides.append((table, rows[known], names, table.item_rows))
    random = np.random.default_rng(0)
    facts: list[tuple[str, tuple[int, int]]] = []
    distances = []
    for name in sorted({*sides[0][2]} & {*sides[1][2]}):
        parts = [(table, rows[names == name], items) for table, rows, names, items in sides]
        images = [np.unique(items[rows], return_inverse=True)[1] for _, rows, items in parts]
        ends = [0, int(images[0].max()) + 1, int(images[0].max()) + int(images[1].max()) + 2]
        in_first = np.arange(ends[2]) < ends[1]
        masks = random.permuted(np.tile(in_first, (1 + _PERMUTATIONS, 1)), axis=1)
        masks[0] = in_first
        total = np.zeros(first.embeddings([]).shape[1])
        sums = np.zeros((len(masks), len(total)))
        for side, (table, rows, _) in enumerate(parts):
            for start in range(0, len(rows), _BLOCK_ROWS):
                some = slice(start, start + _BLOCK_ROWS)
                vectors = table.embeddings(rows[some])
                units = unit_block(vectors, np.arange(len(vectors)))
                sums += masks[:, ends[side] + images[side][some]].astype(np.float32) @ units
                total += units.sum(axis=0)
        others = total - sums
        lengths = np.linalg.norm(sums, axis=1) * np.linalg.norm(others, axis=1)
        cosines = np.einsum("ij,ij->i", sums, others) / np.maximum(lengths, 1e-9)
        distances.append(np.round(1 - cosines, 6))
        facts.append((name, (len(parts[0][1]), len(parts[1][1]))))
    if not facts:
        return
    found = np.array(distances)
    spread = found.std(axis=1, keepdims=True)
    deviations = (found - found.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-6)
    greatest = deviations.max(axis=0)
    p_values = (greatest >= deviations[:, :1]).mean(axis=1)
    for n in np.lexsort((-found[:, 0], p_values)).tolist():
        (name, n_rows), (distance, *others) = facts[n], found[n].tolist()
        yield LabelDrift(name, n_rows, distance, float(np.mean(others)), float(p_values[n]))
