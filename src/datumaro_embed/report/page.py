"""`write_report`: an analysis and pictures, in one HTML file."""

from __future__ import annotations

import math
import os
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..duplicates import check_threshold
from ..errors import UsageError
from ..files import new_path
from ..flags import DEFAULT_THRESHOLD
from ..records import Split
from ..store import EmbeddingStore
from ..tally import counted
from .analysis import Analysis
from .facts import Facts
from .projection import Projection, missing
from .thumbnails import thumbnails

if TYPE_CHECKING:
    from jinja2 import Environment

FINDINGS = ("no finding", "leak between splits", "near-duplicate", "isolated")
"""Names of the codes that `Analysis.findings` returns."""

_MEBIBYTE = 2**20
_ENTRY_BYTES = 16  # at most, around a picture in the map's data
_SVG_POINTS = 4_000
_NO_LABEL = 65_535
_GRID = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """Options of a report.

    Attributes
    ----------
    media_root : path, optional
        Folder of the images; by default the one they were embedded from.
    umap : bool
        Add a UMAP to the PCA map.
    threshold : float
        Cosine similarity from which items are near-duplicates.
    max_mb : float
        Most megabytes (2**20 bytes) of the file; thumbnails that would exceed it are left out.
    title : str, optional
        By default the store's file name.
    """

    media_root: Path | None = None
    umap: bool = False
    threshold: float = DEFAULT_THRESHOLD
    max_mb: float = 25.0
    title: str | None = None

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        if not 0 < self.max_mb < math.inf:
            raise UsageError(f"``max_mb`` must be above 0 and finite, not {self.max_mb}.")


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """What a report holds: items of the store, points on the map, pictures, bytes."""

    out: str
    n_items: int
    n_points: int
    n_thumbnails: int
    n_bytes: int

    def lines(self) -> list[str]:
        return [
            f"{counted(self.n_items, 'items')} in {self.out}: {counted(self.n_points, 'points')}, "
            f"{counted(self.n_thumbnails, 'thumbnails')}, {self.n_bytes / _MEBIBYTE:.1f} MB"
        ]


def write_report(
    store: EmbeddingStore, out: str | os.PathLike[str], options: ReportOptions | None = None
) -> ReportSummary:
    """Write one self-contained HTML file about a store; `out` must not exist.

    Raises
    ------
    MissingExtraError
        jinja2 or plotly (or umap-learn, with `umap`) is not installed.
    StoreExistsError, StoreWriteError
    UsageError
        The page exceeds `max_mb` even without pictures.

    Notes
    -----
    Of more than 200,000 embedded items a random 200,000 are on the map and ranked.
    """
    options = options or ReportOptions()
    pages = environment()
    with new_path(Path(out)) as path:
        found = Analysis(store, threshold=options.threshold, with_umap=options.umap)
        draw = _drawing(found, options.title or Path(store.path).name, pages)
        pictures = _pictures(found, options, draw)
        html = draw(pictures)
        if len(html) > options.max_mb * _MEBIBYTE:
            size = len(html) / _MEBIBYTE
            raise UsageError(
                f"``max_mb`` {options.max_mb:g} is too small: the page without pictures takes "
                f"{size:.1f} MB. Pass ``max_mb`` {math.ceil(size)} or more."
            )
        path.write_bytes(html)
    return ReportSummary(str(out), store.n_rows, len(found.rows), len(pictures), len(html))


def templates() -> Environment:
    """Load templates and style: a value is escaped unless a template says ``safe``.

    Raises `MissingExtraError`: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise missing(error) from error
    loader = PackageLoader(__package__, "assets")
    loaded = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loaded.globals["style"] = loader.get_source(loaded, "report.css")[0]
    loaded.filters |= {"count": "{:,}".format, "items": lambda n: f"{n:,} item{'s' * (n != 1)}"}
    return loaded


def environment() -> Environment:
    """Load `templates`, and the scripts of the map."""
    loaded = templates()
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise missing(error) from error
    assert loaded.loader
    program = loaded.loader.get_source(loaded, "report.js")[0]
    # Inside a script element, strings must not end it (HTML standard, "restrictions for contents").
    scripts = [
        source.replace("</script", "<\\/script").replace("<!--", "<\\!--")
        for source in (get_plotlyjs(), program)
    ]
    digests = (b64encode(sha256(source.encode()).digest()).decode() for source in scripts)
    hashes = [f"'sha256-{digest}'" for digest in digests]
    loaded.globals |= {"scripts": scripts, "hashes": hashes}
    loaded.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return loaded


def _drawing(
    found: Analysis, title: str, pages: Environment
) -> Callable[[Mapping[int, str]], bytes]:
    """Return what draws the page with some pictures, base64 by row."""
    page = pages.get_template("page.html")
    points = _point_data(found)
    splits = sorted({split for label in found.facts.labels for split in label.by_split})
    facts = {"title": title, "found": found, "facts": found.facts, "splits": splits}

    def draw(pictures: Mapping[int, str]) -> bytes:
        numbered = enumerate(found.rows.tolist())
        shown = {str(point): pictures[row] for point, row in numbered if row in pictures}
        html = page.render(facts, pictures=pictures, data=points | {"thumbnails": shown})
        return html.encode("utf-8", "replace")  # a lone surrogate becomes a question mark

    return draw


def _pictures(
    found: Analysis, options: ReportOptions, draw: Callable[[Mapping[int, str]], bytes]
) -> dict[int, str]:
    """Make thumbnails while the page stays within its limit: of its sections, then of others."""
    featured = Counter(found.featured)
    others = np.random.default_rng(0).permutation(found.rows).tolist()
    pictures: dict[int, str] = {}
    # The page with empty pictures in its sections. Each takes its bytes once for each time that
    # a section shows it, and once in the data of the map.
    room = int(options.max_mb * _MEBIBYTE) - len(draw(dict.fromkeys(featured, "")))
    root = options.media_root or found.store.media_root or "."
    rows = dict.fromkeys([*featured, *others])
    with closing(thumbnails(found.store, root, rows)) as made:
        for row, picture in made:
            room -= (1 + featured[row]) * len(picture) + (row not in featured) * _ENTRY_BYTES
            if room < 0:
                break
            pictures[row] = picture
    return pictures


def _point_data(found: Analysis) -> dict[str, Any]:
    """Describe the points of the map, all but their pictures; numbers as base64 of arrays."""
    store, rows = found.store, found.rows
    keys = [store.key(row) for row in rows.tolist()]
    owners, labels, _ = found.facts.item_labels
    keep = np.isin(owners, rows) & (labels < _NO_LABEL)
    owners, labels = owners[keep], labels[keep]
    return {
        "webgl": len(rows) > _SVG_POINTS,
        "id": [key.id for key in keys],
        "subset": _packed(store.subset_codes[rows], "<u2"),
        "subset_names": list(store.subset_names),
        "split": _packed(store.splits[rows], "u1"),
        "split_names": [split.name.lower() for split in Split],
        "main_label": _packed(main_labels(found.facts)[rows], "<u2"),
        "label_offsets": _packed(np.append(np.searchsorted(owners, rows), len(labels)), "<u4"),
        "labels": _packed(labels, "<u2"),
        "label_names": list(store.categories.labels[:_NO_LABEL]),
        "width": _packed(store.widths[rows], "<u4"),
        "height": _packed(store.heights[rows], "<u4"),
        "finding": _packed(found.findings(), "u1"),
        "finding_names": list(FINDINGS),
        "maps": [_map(projection) for projection in found.maps],
    }


def main_labels(facts: Facts) -> npt.NDArray[np.int64]:
    """Label that most annotations of each item have, the lower index on a tie; 65,535 for none."""
    main = np.full(facts.n_items, _NO_LABEL, dtype=np.int64)
    rows, labels, counts = facts.item_labels
    order = np.lexsort((-labels, counts))  # the last written wins: most, then lowest
    order = order[labels[order] < _NO_LABEL]
    main[rows[order]] = labels[order]
    return main


def _map(projection: Projection) -> dict[str, Any]:
    """Round to a square grid of 65,536 steps, equal on both axes."""
    points = projection.points
    low = points.min(axis=0) if len(points) else np.zeros(2)
    span = float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    x, y = np.round((points - low) / (span or 1.0) * _GRID).T
    return {
        "name": projection.name,
        "note": projection.note,
        "x": _packed(x, "<u2"),
        "y": _packed(y, "<u2"),
    }


def _packed(values: npt.NDArray[Any], dtype: str) -> str:
    return b64encode(np.ascontiguousarray(values.astype(dtype)).tobytes()).decode("ascii")
