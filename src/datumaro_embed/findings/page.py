"""Findings as one HTML page: counts, then each kind with its first findings and their pictures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ..files import new_path
from ..flags import AUDIT_KINDS
from ..report import templates, thumbnails
from ..store import EmbeddingStore, using_store
from .columns import Finding

_MAX_MEMBERS = 12  # of a group
_SIDE_PX = 320
_ZOOM = 0.25  # of a box's longer side, around it
_ACTING = ("drop", "label", "subset", "attribute")


@dataclass(frozen=True, slots=True)
class Section:
    """The findings of one kind.

    Attributes
    ----------
    n_rows : int
    suggested : str
        How many suggestions would act, such as ``drop 2``.
    blocks : list of list of Finding
        Those shown: a group, or one row alone.
    """

    kind: str
    n_rows: int
    suggested: str
    blocks: list[list[Finding]]

    @property
    def n_more(self) -> int:
        """Findings that the page does not show."""
        return self.n_rows - sum(map(len, self.blocks))


def write_page(
    findings: Sequence[Finding],
    path: str | os.PathLike[str],
    store: EmbeddingStore | str | os.PathLike[str],
    *,
    media_root: str | Path | None,
    max_shown: int,
) -> None:
    """Write findings and pictures of a store's items into one file; see `Findings.to_html`."""
    page = templates().get_template("findings.html")
    sections = list(_sections(findings, max_shown))
    shown = [row for section in sections for block in section.blocks for row in block]
    with new_path(Path(path)) as out, using_store(store) as opened:
        rows = {row.key: opened.row(row.key) for row in shown if _is_of(row, opened)}
        root = media_root or opened.media_root or "."
        wanted = dict.fromkeys(rows.values())
        with closing(thumbnails(opened, root, wanted, side_px=_SIDE_PX)) as made:
            pictures = dict(made)
        html = page.render(
            name=Path(opened.path).name,
            findings=findings,
            sections=sections,
            rows=rows,
            pictures=pictures,
            sizes={row: (int(opened.widths[row]), int(opened.heights[row])) for row in pictures},
            zoom=_zoom,
        )
        out.write_bytes(html.encode("utf-8", "replace"))  # a lone surrogate: a question mark


def _is_of(row: Finding, store: EmbeddingStore) -> bool:
    """Tell whether a store has the very image of a finding."""
    return (
        row.key in store
        and store.content_sha256[store.row(row.key)].tobytes().hex() == row.content_sha256
    )


def _sections(findings: Sequence[Finding], max_shown: int) -> Iterator[Section]:
    kinds = dict.fromkeys(row.kind for row in findings)
    for kind in sorted(kinds, key=lambda kind: (kind not in AUDIT_KINDS, _place(kind))):
        rows = [row for row in findings if row.kind == kind]
        acts = Counter(row.suggestion.partition(" ")[0] for row in rows)
        suggested = ", ".join(f"{verb} {acts[verb]:,}" for verb in _ACTING if acts[verb])
        blocks, n_shown = [], 0
        for _, block in groupby(rows, lambda row: id(row) if row.group is None else row.group):
            if n_shown >= max_shown:
                break
            blocks.append([*block][:_MAX_MEMBERS])
            n_shown += len(blocks[-1])
        yield Section(kind, len(rows), suggested or "review", blocks)


def _place(kind: str) -> int:
    return AUDIT_KINDS.index(kind) if kind in AUDIT_KINDS else 0


def _zoom(row: Finding, size: tuple[int, int]) -> tuple[float, ...]:
    """Give x, y, w, h of what to show around a box: a square of the image, where there is room."""
    x, y, w, h = row.box
    side = max(w, h, 1) * (1 + 2 * _ZOOM)
    width, height = (min(side, float(whole)) for whole in size)
    left = min(max(x + w / 2 - width / 2, 0), size[0] - width)
    top = min(max(y + h / 2 - height / 2, 0), size[1] - height)
    return tuple(round(value, 2) for value in (left, top, width, height))
