"""`write_report`: an analysis and pictures, in one HTML file."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

import numpy as np

from ..duplicates import check_threshold
from ..errors import MissingExtraError, UsageError
from ..exports import new_path
from ..flags import DEFAULT_THRESHOLD
from ..records import Split
from ..store import EmbeddingStore
from ..tally import counted
from . import sections
from .analysis import Analysis
from .facts import item_labels
from .markup import content_security_policy, data_block, script, tag, text
from .points import point_data
from .thumbnails import Thumbnails
from .typical import Ranked

__all__ = ["ReportOptions", "ReportSummary", "write_report"]

_SVG_POINTS = 4_000
_MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """How to draw a report.

    Attributes
    ----------
    media_root : path, optional
        Where the images lie; where they lay when they were embedded unless given.
    umap : bool
        Add a UMAP to the PCA map.
    threshold : float
        Cosine similarity from which items are near-duplicates.
    max_mb : float
        Most megabytes (2**20 bytes) of the file; thumbnails are left out to keep it.
    title : str, optional
        The store's file name unless given.
    """

    media_root: Path | None = None
    umap: bool = False
    threshold: float = DEFAULT_THRESHOLD
    max_mb: float = 25.0
    title: str | None = None

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        if not 0 < self.max_mb < math.inf:
            raise UsageError(f"--max-mb must be above 0 and finite, not {self.max_mb}.")


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """The end of a report.

    Attributes
    ----------
    out : str
    n_items, n_points, n_thumbnails, n_bytes : int
        Items of the store, points on the map, pictures, size of the file.
    """

    out: str
    n_items: int
    n_points: int
    n_thumbnails: int
    n_bytes: int

    def lines(self) -> list[str]:
        """Say it in plain text."""
        return [
            f"{counted(self.n_items, 'items')} in {self.out}: {counted(self.n_points, 'points')}, "
            f"{counted(self.n_thumbnails, 'thumbnails')}, {self.n_bytes / _MEBIBYTE:.1f} MB"
        ]


def write_report(
    store: EmbeddingStore, out: str | os.PathLike[str], options: ReportOptions | None = None
) -> ReportSummary:
    """Write one HTML file that shows a store and needs no network.

    Parameters
    ----------
    store : EmbeddingStore
    out : path
        Must not exist.
    options : ReportOptions, optional

    Raises
    ------
    MissingExtraError
        plotly (or umap-learn, with `umap`) is not installed.
    StoreExistsError, StoreWriteError
    UsageError
        `max_mb` is less than the page takes without any picture.

    Notes
    -----
    Of more than 200,000 embedded items a random 200,000 are on the map and ranked.
    """
    options = options or ReportOptions()
    plotly = _plotly_source()
    with new_path(Path(out)) as path:
        page = _Page(store, options, plotly)
        data = page.html()
        path.write_bytes(data)
    n_thumbnails = len(page.thumbnails.made)
    return ReportSummary(str(out), store.n_rows, len(page.found.rows), n_thumbnails, len(data))


class _Page:
    """One page, drawn as often as it takes to learn what room is left for pictures."""

    def __init__(self, store: EmbeddingStore, options: ReportOptions, plotly: str) -> None:
        self.store = store
        self.options = options
        self.found = Analysis(store, threshold=options.threshold, with_umap=options.umap)
        self.facts = self.found.facts
        root = options.media_root or store.media_root or "."
        self.thumbnails = Thumbnails(store, root)
        self._plotly = plotly
        self._points = {row: point for point, row in enumerate(self.found.rows.tolist())}
        owners, self._label_codes = item_labels(store)
        self._label_bounds = np.searchsorted(owners, np.arange(store.n_rows + 1))

    def html(self) -> bytes:
        """Return the whole file: pictures that the page features first, then others."""
        budget = int(self.options.max_mb * _MEBIBYTE)
        left = budget - len(self._html())
        if left < 0:
            needs = (budget - left) / _MEBIBYTE
            raise UsageError(
                f"--max-mb {self.options.max_mb:g} is too small: without any picture the page has "
                f"{needs:.1f} MB; allow more."
            )
        copies = Counter(self.found.featured)  # each stands in the map's data once more
        self.thumbnails.make(copies, left, copies={row: 1 + copies[row] for row in copies})
        others = [row for row in self.found.spread() if row not in copies]
        self.thumbnails.make(others, budget - len(self._html()))
        return self._html()

    def _html(self) -> bytes:
        webgl = len(self.found.rows) > _SVG_POINTS
        program = _asset("report.js")
        policy = content_security_policy([self._plotly, program], webgl=webgl)
        title = self.options.title or Path(self.store.path).name
        head = (
            tag("meta", charset="utf-8")
            + tag("meta", http_equiv="Content-Security-Policy", content=policy)
            + tag("meta", name="viewport", content="width=device-width, initial-scale=1")
            + tag("meta", name="color-scheme", content="light dark")
            + tag("meta", name="referrer", content="no-referrer")
            + tag("title", text(f"{title}: dataset report"))
            + tag("style", _asset("report.css"))
        )
        data = point_data(
            self.store,
            self.found.rows,
            self.found.maps,
            self.found.findings(),
            self.thumbnails.made,
        )
        data |= {"webgl": webgl, "n_failed": self.facts.n_items - self.facts.n_embedded}
        body = self._body(title) + data_block("data", data) + script(self._plotly) + script(program)
        html = tag("html", tag("head", head) + tag("body", body), lang="en")
        return f"<!doctype html>\n{html}\n".encode()

    def _body(self, title: str) -> str:
        n_leaks = sum(group.across_splits for group in self.found.groups)
        header = sections.masthead(
            title, self._subtitle(), self.facts, n_leaks, len(self.found.groups)
        )
        main = _asset("map.html") + "".join(self._sections())
        skip = tag("a", "Skip to the report", href="#main", class_="skip")
        return skip + header + _asset("nav.html") + tag("main", main, id="main") + self._footer()

    def _sections(self) -> list[str]:
        return [
            sections.section(
                "leaks",
                "Leaks between splits",
                "Nearly the same picture in two splits: a model is measured on what it has seen.",
                self._groups_html(across_splits=True),
            ),
            sections.section(
                "duplicates",
                "Near-duplicates within a split",
                "Pictures that add little to each other.",
                self._groups_html(across_splits=False),
            ),
            sections.section(
                "labels",
                "Labels",
                "How many annotations each label has, and the item nearest to the mean of its own.",
                sections.labels(
                    self.facts,
                    {label: self._item(row) for label, row in self.found.examples.items()},
                ),
            ),
            sections.section(
                "isolated",
                "Most isolated",
                text(self.found.isolated.note),
                self._gallery(self.found.isolated),
            ),
            sections.section(
                "typical",
                "Most typical",
                text(self.found.typical.note),
                self._gallery(self.found.typical),
            ),
            sections.section("sizes", "Image sizes", "", sections.sizes(self.facts)),
            sections.section(
                "failures",
                "Failures",
                "Items without a vector, by cause: they are in the store and not on the map.",
                sections.failures(self.facts),
            ),
        ]

    def _groups_html(self, *, across_splits: bool) -> str:
        shown = [
            (group, [self._item(row) for row in rows])
            for group, rows in self.found.shown[across_splits]
        ]
        total = sum(group.across_splits == across_splits for group in self.found.groups)
        return sections.duplicates(shown, total)

    def _gallery(self, ranked: Ranked) -> str:
        pairs = zip(ranked.rows.tolist(), ranked.similarities.tolist(), strict=True)
        return sections.gallery((self._item(row), similarity) for row, similarity in pairs)

    def _item(self, row: int) -> sections.Item:
        names = self.store.categories.labels
        first, end = self._label_bounds[row : row + 2].tolist()
        return sections.Item(
            key=self.store.key(row),
            split=Split(int(self.store.splits[row])),
            labels=tuple(names[code] for code in self._label_codes[first:end].tolist()),
            point=self._points.get(row),
            picture=self.thumbnails.made.get(row, ""),
        )

    def _subtitle(self) -> str:
        provenance = self.store.provenance
        created = str(provenance.get("created", ""))[:10]
        parts = [
            f"model {self.store.model_fact('name') or 'unknown'}",
            f"{self.store.dim} dimensions",
            self.store.dtype.name,
        ]
        return " · ".join([*parts, *([f"embedded {created}"] if created else [])])

    def _footer(self) -> str:
        words = (
            f"Store {self.store.uuid}, run {self.store.run_fingerprint or 'unknown'}. "
            f"{len(self.thumbnails.made):,} of {counted(self.store.n_rows, 'items')} with a "
            "picture here. This page holds everything it shows and asks nothing of any server. "
            "Chart library: plotly.js (MIT)."
        )
        return tag("footer", tag("p", text(words)))


def _plotly_source() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError(
            "plotly is not installed. Run: pip install 'datumaro-embed[report]'", extra="report"
        ) from error
    source: str = get_plotlyjs()
    return source


def _asset(name: str) -> str:
    return package_files(__package__).joinpath("assets", name).read_text(encoding="utf-8")
