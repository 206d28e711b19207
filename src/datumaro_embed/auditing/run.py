"""Everything that is wrong with a dataset, from its store: one list of findings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..findings import Finding, Findings, finding
from ..flags import AUDIT_KINDS
from ..listing import table_lines
from ..logs import log
from ..records import Split, Status, split_of
from ..similarity.cosine import IntArray
from ..store import EmbeddingStore, VectorTable, using_store
from ..tally import counted
from .boxes import failures, odd_boxes
from .copies import Copies, CopyGroup, find_copies
from .decoded import folder_of_images
from .label_pairs import odd_pairs
from .mislabels import SUSPICIOUS, Mislabels, find_conflicts, find_mislabels
from .outliers import (
    find_outliers,
    isolation,
    label_distances,
    least_of_items,
    texture,
    texture_distances,
)
from .pieces import Pieces
from .proof import Proof
from .quality import measure_quality

__all__ = ["audit", "audit_lines"]

_OUTLIERS_SHOWN = 0.02  # of the items are listed
_LEAST_OUTLIERS = 20
_SHOWN = 3
_MEANING = {
    "texture": "its tones, edges and colors differ from those of all other images",
    "isolation": "no other image is similar to it, except its copies",
    "blandness": "its embedding is close to the average of all images",
    "label": "its objects are unlike others of their labels",
    "variety": "its nearest neighbors have many different labels",
}
_LABEL_OF_ITEM = "it is unlike others of its label"


def audit(
    store: EmbeddingStore | str | PathLike[str],
    *,
    only: str | Iterable[str] = (),
    media_root: str | Path | None = None,
    keep_split: str | None = None,
    pieces: Pieces | None = None,
    progress: bool = False,
    notify: Callable[[str, int, int], None] | None = None,
) -> Findings:
    """Find what is wrong with a dataset; nothing acts until a row's `action` is filled.

    Parameters
    ----------
    store : EmbeddingStore or path
    only : str or iterable of str
        Kinds of findings, of `AUDIT_KINDS`; all unless given.
    media_root : path, optional
        Folder of the images, if it has moved: copies are proven on their pixels. Where the store's
        own is gone too, copies are found only if the files are identical, and a warning says so.
    keep_split : {"train", "val", "test"}, optional
        Which copy stays where copies are in several splits. Unless given, that of test or else of
        val stays, and dropping a test item is never suggested.
    pieces : Pieces, optional
        Keeps finished parts of the audit, so that a killed audit can continue.
    progress : bool
        Show bars where stderr is a terminal.
    notify : callable, optional
        Is told, before each part of the work, its kinds of findings and which part of how many.

    Raises
    ------
    UsageError
        No such kind, folder or split.

    Notes
    -----
    Some milliseconds for each item: linear in items and objects.
    """
    kinds = ([only] if isinstance(only, str) else [*only]) or [*AUDIT_KINDS]
    for kind in kinds:
        if kind not in AUDIT_KINDS:
            raise UsageError(
                f"{kind!r} is not a kind of finding. Choose one of {', '.join(AUDIT_KINDS)}."
            )
    with using_store(store) as opened:
        pieces = pieces or Pieces()
        run = _Audit(opened, media_root, keep_split, progress, pieces)
        parts: list[tuple[Sequence[str], Callable[[], Iterable[Finding]]]] = [
            (("failed",), lambda: failures(opened)),
            (("leak", "duplicate"), run.copies_found),
            (("mislabel", "systematic"), run.mislabels),
            (("conflict",), run.conflicts),
            (("odd_pair",), lambda: odd_pairs(opened, run.item_groups)),
            (("outlier",), run.outliers),
            (("quality",), run.quality),
            (("box",), lambda: odd_boxes(opened) if opened.has_table("objects") else ()),
        ]
        knows_boxes = {"bbox", "mask", "polygon", "rotated_bbox"} & {*opened.ann_type_names}
        judges_labels = {*kinds} & {"box", *_OF_LABELS}
        if judges_labels and knows_boxes and not opened.has_table("objects"):
            log.warning("Labels of boxes are judged only in a store made with `embed --objects`.")
        parts = [part for part in parts if {*part[0]} & {*kinds}]
        found: list[Finding] = []
        for done, (made, find) in enumerate(parts):
            if notify is not None:
                notify(", ".join(made), done, len(parts))
            found += pieces.part(made[0], find)
        chosen = [row for row in found if row.kind in kinds]

        # No two suggestions contradict each other, and none drops what a model is judged by.
        dropped = {row.key for row in chosen if row.suggestion == "drop" and row.object is None}
        for n, row in enumerate(chosen):
            if row.suggestion == "drop" and row.object is None:
                spared = keep_split is None and split_of(row.subset) == Split.TEST
                why = "; test images are left to you"
            else:
                spared = row.key in dropped and row.suggestion not in ("keep", "review")
                why = "; another finding suggests dropping its image"
            if spared:
                chosen[n] = replace(row, suggestion="review", reason=row.reason + why)
        return Findings(chosen, origin=opened.origin(media_root))


def audit_lines(findings: Findings, kinds: Iterable[str] = AUDIT_KINDS) -> Iterator[str]:
    """Yield a table of the kinds: how many, how many suggestions act, and three examples."""
    rows = []
    for kind in kinds:
        found = [row for row in findings if row.kind == kind]
        if not found:
            continue
        acting = Counter(
            row.suggestion.partition(" ")[0]
            for row in found
            if row.suggestion not in ("review", "keep")
        )
        shown = [row for row in found if row.suggestion != "keep"][:_SHOWN]
        acts = ", ".join(f"{name} {count:,}" for name, count in sorted(acting.items()))
        for row in shown:
            first = (kind, f"{len(found):,}", acts or "review") if row is shown[0] else ("", "", "")
            rows.append((*first, row.name, row.reason))
    yield from table_lines(
        ("kind", "findings", "suggested", "examples", "reason"), rows, right=(1,)
    )
    if not rows:
        yield "no findings"


class _Audit:
    """One store, and what several kinds of findings need."""

    def __init__(
        self,
        store: EmbeddingStore,
        media_root: str | Path | None,
        keep_split: str | None,
        progress: bool,
        pieces: Pieces,
    ) -> None:
        self._store, self._media_root, self._progress = store, media_root, progress
        self._keep_split, self._pieces = keep_split, pieces
        self._items = np.flatnonzero(store.statuses == Status.OK)

    @cached_property
    def copies(self) -> Copies:
        with folder_of_images(self._store, self._media_root) as (folder, is_known):
            found = find_copies(
                self._store,
                media_root=folder,
                keep_split=self._keep_split,
                pieces=self._pieces,
                progress=self._progress,
            )
        if found.unread and is_known:
            key, reason = next(iter(found.unread.items()))
            log.warning(
                "%s could not be read, or changed after embedding, such as %s (%s). Copies of such "
                "images are found only if the files are identical.",
                counted(len(found.unread), "images"),
                key,
                reason,
            )
        return found

    @cached_property
    def item_groups(self) -> IntArray:
        """Number each item's group of copies: the first row of it."""
        groups = np.arange(self._store.n_rows)
        for group in self.copies.groups:
            groups[list(group.rows)] = group.rows[0]
        return groups

    @cached_property
    def labelled(self) -> tuple[VectorTable, IntArray, IntArray]:
        """What has one label each: the table, rows and labels. Objects, or else whole items."""
        store = self._store
        table: VectorTable = store.items
        rows, labels, _ = store.label_counts(0, store.n_rows, of_images=True)
        if store.has_table("objects") and len((found := store.objects.label_pairs())[0]):
            table, (rows, labels) = store.objects, found
        single = np.bincount(rows, minlength=len(table)) == 1
        chosen = (single & table.has_vector)[rows]
        return table, rows[chosen], labels[chosen]

    @cached_property
    def judged(self) -> Mislabels:
        table, rows, labels = self.labelled
        return find_mislabels(
            table.embeddings(),
            rows,
            labels,
            self.item_groups[table.item_rows[rows]],
            self._store.label_embeddings,
            progress=self._progress,
        )

    def copies_found(self) -> Iterator[Finding]:
        """Yield leaks and duplicates, group by group; the most certain group first."""
        for kind in ("leak", "duplicate"):
            yield from self._members(kind)

    def _members(self, kind: str) -> Iterator[Finding]:
        """Yield the members of the groups of one kind, the most certain group first."""
        store, unread = self._store, set(self.copies.unread)
        for rank, (number, group) in enumerate(self._groups_by_kind[kind], start=1):
            keep = store.key(group.keep)
            for row in group.rows:
                is_stale = not unread.isdisjoint((keep, store.key(row)))
                doubts = [", but an image is gone or has changed"] * is_stale
                value = None
                if row != group.keep:
                    near = self._near(row, group)
                    of = group.keep if group.keep in near else near[0]
                    indirect = [f", which is in a group with {keep}"] * (of != group.keep)
                    differs = [", but with other labels"] * self._differ(row, group.keep)
                    proof, doubts = self._proofs[row][of], indirect + differs + doubts
                    suggestion = "review" if doubts or proof.doubts else "drop"
                    reason = proof.told_of_second(str(store.key(of)))
                    value = round(proof.score, 4)
                elif kind == "conflict" and not is_stale:
                    suggestion, reason = "review", "its copies have other labels"
                else:
                    suggestion, reason = "review" if is_stale else "keep", "the copy to keep"
                yield self._finding(
                    store.items,
                    row,
                    kind=kind,
                    group=number,
                    rank=rank,
                    measure="correlation",
                    value=value,
                    suggestion=suggestion,
                    reason=reason + "".join(doubts),
                )

    @cached_property
    def _groups_by_kind(self) -> Mapping[str, list[tuple[int, CopyGroup]]]:
        """Number the groups of copies, the most certain first, and sort them by kind."""

        def score(group: CopyGroup) -> tuple[float, int]:
            own = [self._proofs[a][b].score for a in group.rows for b in self._near(a, group)]
            return -max(own), group.rows[0]

        found: dict[str, list[tuple[int, CopyGroup]]] = defaultdict(list)
        for number, group in enumerate(sorted(self.copies.groups, key=score), start=1):
            others = [row for row in group.rows if row != group.keep]
            differ = all(self._differ(row, group.keep) for row in others)
            kind = "leak" if group.across_splits else "conflict" if differ else "duplicate"
            found[kind].append((number, group))
        return found

    @cached_property
    def _proofs(self) -> Mapping[int, Mapping[int, Proof]]:
        """What proves each row, as the second of a pair, to be a copy of each other."""
        proofs: dict[int, dict[int, Proof]] = defaultdict(dict)
        for pair in self.copies.pairs:
            if pair.proof.kind != "overlap":
                proofs[pair.first][pair.second] = pair.proof.swapped()
                proofs[pair.second][pair.first] = pair.proof
        return proofs

    def _near(self, row: int, group: CopyGroup) -> list[int]:
        """Give the members of a group that a row is proven to be a copy of."""
        return [other for other in group.rows if other in self._proofs[row]]

    def _differ(self, row: int, other: int) -> bool:
        """Tell whether two items have labels, and none in common."""
        own, others = self._labels_of_items[row], self._labels_of_items[other]
        return bool(own and others) and own.isdisjoint(others)

    @cached_property
    def _labels_of_items(self) -> Mapping[int, set[int]]:
        """Give the labels of each item, or of its objects."""
        table, rows, labels = self.labelled
        found: dict[int, set[int]] = defaultdict(set)
        for row, label in zip(table.item_rows[rows].tolist(), labels.tolist(), strict=True):
            found[row].add(label)
        return found

    def mislabels(self) -> Iterator[Finding]:
        """Yield labels that are likely wrong, and mistakes that a label has often."""
        table, rows, _ = self.labelled
        names, judged = self._store.categories.labels, self.judged
        for rank, place in enumerate(judged.ranked.tolist(), start=1):
            score, other = float(judged.scores[place]), names[judged.suggestions[place]]
            yield self._finding(
                table,
                int(rows[place]),
                kind="mislabel",
                rank=rank,
                measure="evidence",
                value=round(score, 4),
                suggestion=f"label {other}" if score >= SUSPICIOUS else "review",
                reason=f"looks like '{other}'; {judged.agreement[place]:.0%} of its nearest "
                "neighbors have its label",
            )
        for rank, mistake in enumerate(judged.systematic, start=1):
            label, other = names[mistake.label], names[mistake.suggestion]
            for place in mistake.places.tolist():
                yield self._finding(
                    table,
                    int(rows[place]),
                    kind="systematic",
                    group=rank,
                    rank=rank,
                    measure="share",
                    value=round(mistake.share, 4),
                    suggestion="review",
                    reason=f"one of {len(mistake.places):,} of '{label}' that look like '{other}'",
                )

    def conflicts(self) -> Iterator[Finding]:
        """Yield copies with no label in common, then what has two labels in two copies."""
        yield from self._members("conflict")
        before = len(self._groups_by_kind["conflict"])
        table, rows, labels = self.labelled
        items = table.item_rows[rows]
        found = find_conflicts(table.embeddings(), rows, labels, items, self.item_groups[items])
        names = self._store.categories.labels
        for rank, pair in enumerate(found, start=before + 1):
            for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
                yield self._finding(
                    table,
                    int(rows[one]),
                    kind="conflict",
                    group=len(self.copies.groups) + rank,
                    rank=rank,
                    measure="cosine",
                    value=round(pair.cosine, 4),
                    suggestion="review",
                    reason=f"'{names[labels[other]]}' is the label of its copy "
                    f"{table.key(int(rows[other]))}",
                )

    def outliers(self) -> Iterator[Finding]:
        """Yield the strangest items, by all that is known of them."""
        store, items = self._store, self._items
        if not len(items):
            return
        groups = self.item_groups[items]
        apart, bland = isolation(store.embeddings(), items, groups, progress=self._progress)
        measures = {"isolation": apart, "blandness": bland}
        if store.has("items/signature") and store.has("items/statistics"):
            numbers = texture(
                np.asarray(store.column("items/signature"))[items],
                np.asarray(store.column("items/statistics"))[items],
            )
            measures["texture"] = texture_distances(numbers, groups)
        table, rows, labels = self.labelled
        if len(rows):
            of = table.item_rows[rows]
            far = label_distances(table.embeddings(), rows, labels)
            for name, values in (("label", far), ("variety", self.judged.variety)):
                measures[name] = least_of_items(values, of, store.n_rows)[items]
        found = find_outliers(**measures)
        few = min(_LEAST_OUTLIERS, len(items) // 10)
        n_shown = max(few, round(_OUTLIERS_SHOWN * len(items)))
        meaning = _MEANING | ({"label": _LABEL_OF_ITEM} if table.name == "items" else {})
        for rank, place in enumerate(found.ranked[:n_shown].tolist(), start=1):
            yield self._finding(
                store.items,
                int(items[place]),
                kind="outlier",
                rank=rank,
                measure="rarity",
                value=round(float(found.scores[place]), 4),
                suggestion="review",
                reason=meaning[found.strangest(place)],
            )

    def quality(self) -> Iterator[Finding]:
        """Yield images that are dark, blurry, …: of each sort the worst first."""
        store, items = self._store, self._items
        if not store.has("items/statistics"):
            return
        sizes = np.stack([store.widths, store.heights], axis=1)[items]
        statistics = np.asarray(store.column("items/statistics"))[items]
        for sort, judged in measure_quality(statistics, sizes).items():
            named = np.flatnonzero(judged.named)
            order = named[np.argsort(-judged.values[named], kind="stable")]
            for rank, place in enumerate(order.tolist(), start=1):
                yield self._finding(
                    store.items,
                    int(items[place]),
                    kind="quality",
                    rank=rank,
                    measure=sort,
                    value=round(abs(float(judged.values[place])), 4),
                    suggestion="review",
                    reason=_FAULTS[sort],
                )

    def _finding(self, table: VectorTable, row: int, *, kind: str, **values: Any) -> Finding:
        if table.name == "items" and kind in _OF_LABELS:
            _, rows, labels = self.labelled
            values["label"] = self._store.categories.labels[labels[np.searchsorted(rows, row)]]
        return finding(self._store, table, row, kind=kind, **values)


_OF_LABELS = ("mislabel", "systematic", "conflict")
_FAULTS = {
    "dark": "even its brightest parts are dark",
    "bright": "even its darkest parts are bright",
    "blurry": "its sharpest edges are blurred",
    "uninformative": "there is little to see in it",
    "uniform": "it is nearly one color",
    "noisy": "it is noisy",
    "odd_shape": "it is much longer or narrower than the others",
    "odd_size": "it is much larger or smaller than the others",
    "gray": "it is grayscale, but most images are in color",
}
