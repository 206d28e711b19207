"""Choose representative items of a store, and tell how well they cover the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from os import PathLike

import numpy as np

from ..errors import UsageError
from ..findings import Findings, finding
from ..flags import SELECTIONS
from ..listing import table_lines
from ..records import ItemKey
from ..retrieval import Filters, matching_rows
from ..similarity.cosine import BoolArray, IntArray, VectorArray
from ..store import EmbeddingStore, using_store
from ..tally import counted
from .references import evenly
from .select import entropy_bits, nearest_chosen, select_per_label, select_rows

SAMPLE = "sample"
_EVALUATED_ROWS = 20_000
_SHOWN_ROWS = 20
_REASONS = {
    "diverse": ("cosine", "No item chosen before it is nearer than this."),
    "coverage": ("gain", "Of all items, it most raises how near the others are to a chosen one."),
    "typical": ("cosine", "It is near the mean of all items."),
    "uncertain-by-label": ("bits", "The items nearest to it have different labels."),
}


@dataclass(frozen=True, slots=True, repr=False)
class Selection:
    """What `select` chose.

    Attributes
    ----------
    rows : array of shape (n,), int64
        Rows of the store, in the order of choice.
    keys : tuple of ItemKey
    findings : Findings
        One row of the kind ``selected`` for each, with the suggestion ``subset sample``.
    n_pool, n_given : int
        Items to choose from, and items that counted as chosen already.
    figures : tuple of (str, dict)
        Of the given items (if any), of given and chosen ones, and of given and as many random
        ones: ``greatest distance`` and ``mean distance`` (1 - cosine) of the items to choose from
        (of 20,000 at most) to the nearest of these; ``label entropy`` in bits of these.
    """

    rows: IntArray
    keys: tuple[ItemKey, ...]
    findings: Findings
    n_pool: int
    n_given: int
    figures: tuple[tuple[str, dict[str, float]], ...]

    def lines(self) -> Iterator[str]:
        """Yield the figures, and the first of the chosen items."""
        given = f" ({counted(self.n_given, 'items')} given)" if self.n_given else ""
        yield f"{len(self.rows):,} of {counted(self.n_pool, 'items')} chosen{given}"
        titles = ("", *self.figures[0][1])
        cells = [(name, *map(_fixed, values.values())) for name, values in self.figures]
        yield from table_lines(titles, cells, right=(1, 2, 3))
        shown = [
            (row.rank, "-" if row.value is None else _fixed(row.value), row.key)
            for row in self.findings[:_SHOWN_ROWS]
        ]
        yield from table_lines(("rank", self.findings[0].measure, "item"), shown, right=(0, 1))
        if len(self.rows) > _SHOWN_ROWS:
            yield f"… and {len(self.rows) - _SHOWN_ROWS:,} more (-o FILE lists all)"

    def __repr__(self) -> str:
        return f"<Selection: {len(self.rows):,} of {counted(self.n_pool, 'items')}>"


def _fixed(value: float) -> str:
    return f"{round(value, 4) + 0.0:.4f}"  # no -0.0000


def select(
    store: EmbeddingStore | str | PathLike[str],
    k: int | None = None,
    *,
    fraction: float | None = None,
    until: float | None = None,
    by: str = SELECTIONS[0],
    per_label: bool = False,
    given: Sequence[str] = (),
    subsets: Sequence[str] = (),
    allowed: BoolArray | None = None,
    progress: bool = False,
) -> Selection:
    """Choose representative items by their vectors.

    Parameters
    ----------
    k, fraction, until : int, float, float
        Exactly one of them: the number of items; the fraction of the items; or, by ``"diverse"``,
        the minimum cosine of every item with a chosen one.
    by : {"diverse", "coverage", "typical", "uncertain-by-label"}
        See `auditing.select.select_rows`.
    per_label : bool
        Balance the choice across labels; items without a label are not chosen.
    given : names of subsets
        Their items count as chosen already.
    subsets : names of subsets
        Choose only items of these.
    allowed : array of shape (n_rows,), bool; optional
        Rows that may be chosen or count as given.

    Raises
    ------
    UsageError
        Invalid arguments, an unknown subset, or nothing to choose from.
    """
    check_selection(k=k, fraction=fraction, until=until, by=by)
    with using_store(store) as opened:
        usable = matching_rows(opened) & (True if allowed is None else allowed)
        before = usable & (matching_rows(opened, Filters(subsets=given)) if given else False)
        pool = usable & matching_rows(opened, Filters(subsets=subsets)) & ~before
        if not pool.any():
            raise UsageError(
                f"No item of '{opened.path}' can be chosen: every item with a vector is outside "
                "``subset`` or already in ``given``. Leave one of them out."
            )
        vectors, places = opened.embeddings(), np.flatnonzero(pool)
        rows, codes = opened.items.label_pairs()
        rows, codes = rows[usable[rows]], codes[usable[rows]]
        if by == "uncertain-by-label" and not len(rows):
            raise UsageError(f"No item of '{opened.path}' has a label. Choose another ``by``.")
        if fraction is not None:
            k = max(1, round(fraction * len(places)))
        chosen, values = (select_per_label if per_label else select_rows)(
            vectors,
            k,
            by=by,
            pool=places,
            given=np.flatnonzero(before),
            labels=(rows, codes),
            until=until,
            progress=progress,
        )
        if not len(chosen):
            raise UsageError(
                "Nothing to choose: all items with a label are already given. Leave out ``given``."
            )
        measure, reason = _REASONS[by]
        findings = (
            finding(
                opened,
                opened.items,
                row,
                kind="selected",
                measure=measure,
                value=None if np.isnan(value) else round(value, 6) + 0.0,
                rank=rank,
                suggestion=f"subset {SAMPLE}",
                reason=reason,
            )
            for rank, (row, value) in enumerate(
                zip(chosen.tolist(), values.tolist(), strict=True), start=1
            )
        )
        seen = evenly(places, _EVALUATED_ROWS)
        random = np.random.default_rng(0).choice(places, len(chosen), replace=False)
        sets = {"chosen": chosen, "random": random}
        if before.any():
            sets = {"given": chosen[:0], **sets}
        told = (
            (name, figures(vectors, seen, np.union1d(np.flatnonzero(before), some), (rows, codes)))
            for name, some in sets.items()
        )
        return Selection(
            chosen,
            tuple(map(opened.key, chosen.tolist())),
            Findings(findings, origin=opened.origin()),
            len(places),
            int(before.sum()),
            tuple(told),
        )


def check_selection(
    *,
    k: int | None = None,
    fraction: float | None = None,
    until: float | None = None,
    by: str = SELECTIONS[0],
    **_: object,
) -> None:
    """Refuse arguments of `select` before anything is read; raises `UsageError`."""
    if by not in SELECTIONS:
        raise UsageError(f"``by`` is {by!r}. Choose one of {', '.join(SELECTIONS)}.")
    if [k, fraction, until].count(None) != 2:
        raise UsageError("Give exactly one of ``k``, ``fraction`` and ``until``.")
    if k is not None and (not isinstance(k, Integral) or k < 1):
        raise UsageError(f"``k`` must be at least 1 and a whole number, not {k}.")
    for name, value in (("fraction", fraction), ("until", until)):
        if value is not None and not 0 < value <= 1:
            raise UsageError(f"``{name}`` must be above 0 and at most 1, not {value}.")
    if until is not None and by != "diverse":
        raise UsageError(f"``until`` requires ``by`` diverse, not {by}. Use ``k`` or ``fraction``.")


def figures(
    vectors: VectorArray,
    rows: IntArray,
    chosen: IntArray,
    labels: tuple[IntArray, IntArray],
) -> dict[str, float]:
    """Say how far some rows are from the nearest chosen one, and how even its labels are."""
    reached = nearest_chosen(vectors, rows, chosen)
    counts = np.bincount(labels[1][np.isin(labels[0], chosen)], minlength=1)
    return {
        "greatest distance": float(1 - reached.min()),
        "mean distance": float(1 - reached.mean(dtype=np.float64)),
        "label entropy": float(entropy_bits(counts)),
    }
