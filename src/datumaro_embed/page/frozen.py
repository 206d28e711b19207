"""`write_report`: the page, and all that it shows of a store, in one HTML file."""

from __future__ import annotations

import gzip
import html
import json
import math
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from itertools import chain, zip_longest
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..files import new_path
from ..findings import Findings
from ..findings.columns import COLUMNS
from ..images import ImageProblem
from ..objects import ObjectOptions, objects_of
from ..parallel import map_ahead
from ..records import ObjectStatus, Split, Status
from ..store import EmbeddingStore
from ..tally import counted
from .maps import laid_out, pca, umap
from .pictures import Pictures, as_webp
from .places import Place, default_findings, findings_of, neighbours, places_of
from .summary import facts_of, first_labels, label_totals, summary

__all__ = ["ReportOptions", "ReportSummary", "write_report"]

_MEBIBYTE = 2**20
_LARGE_PX, _SMALL_PX = 320, 160  # of findings and the summary; of all others
_LARGE_SHARE = 0.6  # of the bytes for pictures, at most
_MAX_NEAR = 300  # suspect labels that are shown beside their nearest neighbours
_STEPS = 65_535  # of a map's axis
Wanted = tuple[str, int, int]  # table, row, longest side in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """Options of a report.

    Attributes
    ----------
    findings : Findings or path, optional
        What the page shows to review; ``STORE.findings.csv`` unless given, or else an audit.
    media_root : path, optional
        Folder of the images; by default the one they were embedded from.
    umap : bool
        The map is a UMAP; it is a PCA unless given.
    max_mb : float
        Most megabytes (2**20 bytes) of the file; pictures that would exceed it are left out.
    title : str, optional
        By default the store's file name.
    """

    findings: Findings | Path | None = None
    media_root: Path | None = None
    umap: bool = False
    max_mb: float = 25.0
    title: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.max_mb < math.inf:
            raise UsageError(f"``max_mb`` must be above 0 and finite, not {self.max_mb}.")


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """What a report holds: items of the store, findings, items with a picture, bytes."""

    out: str
    n_items: int
    n_findings: int
    n_pictures: int
    n_bytes: int

    def lines(self) -> list[str]:
        return [
            f"{counted(self.n_items, 'items')} in {self.out}, {self.n_pictures:,} with a picture: "
            f"{counted(self.n_findings, 'findings')}, {self.n_bytes / _MEBIBYTE:.1f} MB"
        ]


def write_report(
    store: EmbeddingStore, out: str | os.PathLike[str], options: ReportOptions | None = None
) -> ReportSummary:
    """Write one self-contained HTML file about a store; `out` must not exist.

    Raises
    ------
    MissingExtraError
        umap-learn is not installed, and a UMAP is asked for.
    StoreExistsError, StoreWriteError
    UsageError
        The page exceeds `max_mb` even without pictures; the findings are of another store.
    """
    options = options or ReportOptions()
    with new_path(Path(out)) as path:
        default = default_findings(Path(store.path))
        if isinstance(options.findings, Findings):
            found = options.findings
        elif options.findings is not None or default.is_file():
            found = findings_of(store, Path(options.findings or default))
        else:
            from ..auditing import audit  # the explorer, which audits elsewhere, opens faster

            media_root = store.media_root if Path(store.media_root).is_dir() else ""
            with TemporaryDirectory() as nowhere:  # without images, equal files alone are copies
                root = options.media_root or media_root or nowhere
                found = audit(store, media_root=root, progress=True)

        places = places_of(store, found)
        mislabels = [index for index, row in enumerate(found) if row.kind == "mislabel"]
        near = neighbours(store, {i: places[i] for i in mislabels[:_MAX_NEAR]})  # sorted by rank
        known = _known(store, options, found, places, near)
        # gzip, as ids and hashes are most of it; the browser takes it apart.
        packed = gzip.compress(json.dumps(known, separators=(",", ":")).encode(), 6, mtime=0)
        title, data = options.title or Path(store.path).name, b64encode(packed).decode()
        bare = len(_page(title, data, {}))
        room = int(options.max_mb * _MEBIBYTE) - bare
        if room < 0:
            size = bare / _MEBIBYTE
            raise UsageError(
                f"``max_mb`` {options.max_mb:g} is too small: the page without pictures takes "
                f"{size:.1f} MB. Pass ``max_mb`` {math.ceil(size)} or more."
            )
        pictures = _pictures(store, options, _featured(found, places, near, known), room)
        page = _page(title, data, pictures)
        path.write_bytes(page)
    return ReportSummary(str(out), store.n_rows, len(found), len(pictures["items"]), len(page))


def _page(title: str, data: str, pictures: Mapping[str, Mapping[int, str]]) -> bytes:
    assets = files(__package__).joinpath("assets")
    template, style, script = (
        assets.joinpath(name).read_text(encoding="utf-8")
        for name in ("report.html", "app.css", "app.js")
    )
    # Inside a script element, strings must not end it (HTML standard, "restrictions for contents").
    script = script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    page = Template(template).substitute(
        policy=policy,
        title=html.escape(title),
        style=style,
        script=script,
        data=data,
        pictures=json.dumps(pictures, separators=(",", ":")),
    )
    return page.encode("utf-8", "replace")  # a lone surrogate becomes a question mark


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _known(
    store: EmbeddingStore,
    options: ReportOptions,
    found: Findings,
    places: list[Place | None],
    near: dict[int, list[int]],
) -> dict[str, Any]:
    """Give all that the page shows but for pictures; `frozen.ts` reads it."""
    rows, labels, _ = store.items.label_counts()
    bad = np.flatnonzero(store.statuses != Status.OK).tolist()
    maps = {}
    for of in ["items", *(["objects"] if store.has_table("objects") else [])]:
        shown, points = laid_out(store.table(of), umap if options.umap else pca)
        # A square grid of 65,536 steps.
        x, y = np.round((points.astype(np.float64) + 1) / 2 * _STEPS).astype(np.int64).T.tolist()
        method = "umap" if options.umap else "pca"
        maps[of] = {"rows": shown.tolist(), "x": x, "y": y, "method": method}
    return {
        "store": facts_of(store, label_totals(store))
        | {
            "frozen": True,
            "name": options.title or Path(store.path).name,
            "path": Path(store.path).name,
            "text": False,
            "fingerprint": store.kind.fingerprint,
            "findings": default_findings(Path(store.path)).name,
            "read_only": "",
            "problems": [],
            "replaced": False,
            "dataset": None,
        },
        "summary": summary(store),
        "items": {
            "id": [key.id for key in store.keys()],
            "subset": store.subset_codes.tolist(),
            "split": store.splits.tolist(),
            "status": store.statuses.tolist(),
            "width": store.widths.tolist(),
            "height": store.heights.tolist(),
            "sha256": b64encode(store.content_sha256.tobytes()).decode(),
            "errors": {row: store.text("items/error", row) for row in bad},
            "ends": np.searchsorted(rows, np.arange(store.n_rows), side="right").tolist(),
            "labels": labels.tolist(),
            "first": first_labels(store, "items").tolist(),
            "whole": _labels_of_images(store),
        },
        "objects": _boxes(store),
        "subset_names": list(store.subset_names),
        "split_names": [split.name.lower() for split in Split],
        "status_names": [status.name.lower() for status in Status],
        "object_status_names": [status.name.lower() for status in ObjectStatus],
        "maps": maps,
        "columns": COLUMNS,
        "findings": [row.cells() for row in found],
        "places": places,
        "near": near,
    }


def _labels_of_images(store: EmbeddingStore) -> list[int]:
    """Give the label of each whole image, by number; -1 where it has none or several."""
    rows, labels, _ = store.label_counts(0, store.n_rows, of_images=True)
    found = np.full(store.n_rows, -1)
    single = np.bincount(rows, minlength=store.n_rows)[rows] == 1
    found[rows[single]] = labels[single]
    return found.tolist()


def _boxes(store: EmbeddingStore) -> dict[str, Any]:
    """Give the boxes of all items, in pixels: ``ends`` has where those of an item end."""
    if store.has_table("objects"):
        table = store.objects
        owners: npt.NDArray[Any] = table.item_rows
        boxes, labels = store.rows("objects/box", 0, len(table)), np.asarray(table.labels)
        statuses = table.statuses.tolist()
    else:
        each = [
            (row, *shown.box, shown.label)
            for row in np.unique(store.ann_rows).tolist()
            for shown in objects_of(store.item(row, without=("captions",)), ObjectOptions())
        ]
        numbers = np.array(each, np.float64).reshape(-1, 6)
        owners, boxes, labels = numbers[:, 0], numbers[:, 1:5], numbers[:, 5].astype(np.int64)
        statuses = []
    ends = np.searchsorted(owners, np.arange(store.n_rows), side="right")
    return {
        "ends": ends.tolist(),
        "box": np.nan_to_num(boxes).astype(np.float64).round(2).ravel().tolist(),
        "label": labels.tolist(),
        "status": statuses,
    }


def _featured(
    found: Findings,
    places: list[Place | None],
    near: dict[int, list[int]],
    known: Mapping[str, Any],
) -> Iterator[Wanted]:
    """Yield what the page shows large: of each kind of finding in turn, the most suspicious."""
    facts = known["summary"]
    examples = [label["example"] for label in facts["labels"] if label["example"] is not None]
    for row in (*facts["typical"], *examples):
        yield "items", row, _LARGE_PX
    kinds: dict[str, list[int]] = {}
    for index, row in enumerate(found):
        kinds.setdefault(row.kind, []).append(index)
    for index in chain.from_iterable(zip_longest(*kinds.values())):
        place = None if index is None else places[index]
        if place is not None:
            yield "items", place.item, _LARGE_PX
            if place.of == "objects":
                yield place.of, place.row, _LARGE_PX
            yield from ((place.of, row, _SMALL_PX) for row in near.get(index, ()))


def _pictures(
    store: EmbeddingStore, options: ReportOptions, featured: Iterable[Wanted], room: int
) -> dict[str, dict[int, str]]:
    """Make pictures while there is room: first of what is featured, then of other items."""
    root = options.media_root or (Path(store.media_root) if store.media_root else None)
    source = Pictures(store, root, encode=as_webp)
    made: dict[str, dict[int, str]] = {"items": {}, "objects": {}}

    def picture(wanted: Wanted) -> tuple[Wanted, str]:
        of, row, side = wanted
        try:
            data = (source.item if of == "items" else source.object)(row, side)
        except ImageProblem:  # gone or changed: it has no picture
            return wanted, ""
        return wanted, b64encode(data).decode()

    def fill(wanted: Iterable[Wanted], least_room: float) -> None:
        nonlocal room
        sides: dict[tuple[str, int], int] = {}  # in order of importance
        for of, row, side in wanted:
            if row not in made[of]:
                sides[of, row] = max(side, sides.get((of, row), 0))
        with closing(map_ahead(picture, ((*at, side) for at, side in sides.items()))) as pictures:
            for (of, row, _), data in pictures:
                cost = len(f',"{row}":"{data}"')
                if data and room - cost < least_room:
                    return
                if data:
                    made[of][row] = data
                    room -= cost

    room -= len(json.dumps(made))
    fill(featured, (1 - _LARGE_SHARE) * room)
    others = np.random.default_rng(0).permutation(store.n_rows).tolist()
    fill((("items", row, _SMALL_PX) for row in others), 0)
    return made
