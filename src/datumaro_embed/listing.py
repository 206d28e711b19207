"""Hits and duplicates as text: aligned tables for people, JSON and CSV for programs."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .escaping import csv_cell, printable, sheet_cell
from .files import FileSystem, check_output, publish
from .records import ObjectKey, RowKey
from .tally import counted

if TYPE_CHECKING:
    from .duplicates import DuplicateReport
    from .retrieval import SearchResult

_SHOWN_PAIRS = 20
_SHOWN_GROUPS = 20
_SHOWN_MEMBERS = 6
_MAX_CELL = 80
_COLUMNS = {"items": ("labels",), "objects": ("label", "box"), "captions": ("label", "text")}
"""Attributes of `Hit` that are columns of each table."""


def hits_lines(result: SearchResult, *, min_relevance: float | None = None) -> Iterator[str]:
    """Yield a table of hits, best first; `min_relevance` is named where nothing reaches it."""
    rows = []
    for rank, hit in enumerate(result.hits, start=1):
        cells = [rank, f"{hit.similarity:.4f}", hit.key]
        for name in _COLUMNS[result.of]:
            value: str | Sequence[object] = getattr(hit, name)
            if not isinstance(value, str):
                value = ", ".join(f"{n:.6g}" if isinstance(n, float) else str(n) for n in value)
            elif len(value) > _MAX_CELL:
                value = f"{value[: _MAX_CELL - 1]}…"
            cells.append(value or "-")
        rows.append((*cells, hit.path or "-"))
    one = result.of.removesuffix("s")
    titles = ("rank", "similarity", one, *_COLUMNS[result.of], "file")
    yield from table_lines(titles, rows, right=(0, 1))
    if not result.hits:
        missed = "matches the filters"
        if min_relevance is not None:
            missed = f"that matches the filters has a relevance of {min_relevance:g} or more"
        yield f"no {one} {missed}"
    if not result.exact:
        yield "(the index may miss some hits; --exact compares every row)"


def hits_json(result: SearchResult) -> str:
    """Return the hits as one JSON object."""
    hits = [
        {
            "rank": rank,
            "similarity": hit.similarity,
            **_key_fields(hit.key),
            "row": hit.row,
            "split": hit.split.name.lower(),
            **{name: getattr(hit, name) for name in _COLUMNS[result.of]},
            "path": hit.path,
        }
        for rank, hit in enumerate(result.hits, start=1)
    ]
    return json.dumps({"of": result.of, "exact": result.exact, "hits": hits}, indent=2)


def _key_fields(key: RowKey) -> dict[str, Any]:
    """Return a key's subset and id, and the number of an object or caption."""
    number = {"number": key.number} if isinstance(key, ObjectKey) else {}
    return {"subset": key.subset, "id": key.id, **number}


def duplicates_lines(report: DuplicateReport) -> Iterator[str]:
    """Yield the report for people: counts, leakage, label conflicts, groups."""
    compared = "every pair compared" if report.all_pairs else "likely pairs compared"
    yield (
        f"{counted(report.n_rows, report.of)}, {compared}, {threshold_text(report)}: "
        f"{counted(report.n_pairs, 'pairs')} in {counted(len(report.groups), 'groups')}"
    )
    if report.n_pairs_at:
        levels = " / ".join(f"{level:.2f}" for level in report.n_pairs_at)
        yield f"pairs at {levels}: {' / '.join(f'{n:,}' for n in report.n_pairs_at.values())}"
    if leaks := report.leaks:
        yield ""
        at_least = "" if report.n_pairs == len(report.pairs) else "at least "
        yield f"LEAKAGE: {at_least}{counted(len(leaks), 'pairs')} across train, val and test"
        rows = [
            (f"{p.similarity:.4f}", p.first, p.second, "same bytes" if p.identical else "")
            for p in leaks[:_SHOWN_PAIRS]
        ]
        titles = ("similarity", report.of.removesuffix("s"), "and", "")
        yield from table_lines(titles, rows, right=(0,))
        yield from _more(len(leaks), _SHOWN_PAIRS)
    if conflicts := [group for group in report.groups if group.conflicting_labels]:
        yield ""
        yield f"CONFLICTING LABELS in {counted(len(conflicts), 'groups')}"
        for group in conflicts[:_SHOWN_GROUPS]:
            members = zip(group.keys, group.labels, strict=True)
            yield "  " + "  |  ".join(
                f"{printable(str(key))}: {printable(', '.join(names)) or '-'}"
                for key, names in list(members)[:_SHOWN_MEMBERS]
            )
        yield from _more(len(conflicts), _SHOWN_GROUPS)
    if report.groups:
        yield ""
        table: list[tuple[object, ...]] = []
        for number, group in enumerate(report.groups[:_SHOWN_GROUPS], start=1):
            others = [str(key) for key in group.keys if key != group.keep]
            hidden = len(others) - _SHOWN_MEMBERS
            more = f" and {hidden} more" if hidden > 0 else ""
            splits = "+".join(split.name.lower() for split in sorted(set(group.splits)))
            facts = len(group.keys), f"{group.min_similarity:.4f}", splits, group.keep
            table.append((number, *facts, ", ".join(others[:_SHOWN_MEMBERS]) + more))
        columns = ("group", report.of, "least", "splits", "keep", "and")
        yield from table_lines(columns, table, right=(0, 1, 2))
        yield from _more(len(report.groups), _SHOWN_GROUPS)


def threshold_text(report: DuplicateReport) -> str:
    """Return the threshold of a report, and where it is from unless the caller gave it."""
    source = "" if report.threshold_of == "caller" else f" ({report.threshold_of})"
    return f"threshold {report.threshold:g}{source}"


def duplicates_json(report: DuplicateReport) -> str:
    """Return the whole report as one JSON object."""
    content = {
        "threshold": report.threshold,
        "threshold_of": report.threshold_of,
        "of": report.of,
        "n_rows": report.n_rows,
        "all_pairs": report.all_pairs,
        "n_pairs": report.n_pairs,
        "n_pairs_at": {f"{level:.2f}": n for level, n in report.n_pairs_at.items()},
        "n_leaks": len(report.leaks),
        "groups": [
            {
                "keep": _key_fields(group.keep),
                "identical": group.identical,
                "across_splits": group.across_splits,
                "conflicting_labels": group.conflicting_labels,
                "min_similarity": group.min_similarity,
                "max_similarity": group.max_similarity,
                "members": [
                    {**_key_fields(key), "split": split.name.lower(), "labels": labels, **facts}
                    for key, split, labels, facts in zip(
                        group.keys, group.splits, group.labels, group.facts, strict=True
                    )
                ],
            }
            for group in report.groups
        ],
        "pairs": [
            asdict(p) | {"first": _key_fields(p.first), "second": _key_fields(p.second)}
            for p in report.pairs
        ],
    }
    return json.dumps(content, indent=2)


def write_pairs_csv(report: DuplicateReport, path: Path) -> None:
    """Write one line for each pair, with the number of its group (1, 2, … as in the report)."""
    own = {"items": (), "objects": ("number", "label", *"xywh"), "captions": ("number", "text")}
    groups: dict[RowKey, int] = {}
    cells: dict[RowKey, list[object]] = {}
    for number, group in enumerate(report.groups, start=1):
        for key, names, facts in zip(group.keys, group.labels, group.facts, strict=True):
            known = {"label": ", ".join(names), **_key_fields(key), **facts}
            known |= zip("xywh", facts.get("box", ()), strict=False)
            groups[key] = number
            cells[key] = [known[title] for title in ("subset", "id", *own[report.of])]
    titles = ["group", "similarity", "identical", "across_splits"]
    for side in ("first", "second"):
        titles += [f"{side}_{title}" for title in ("subset", "id", *own[report.of])]
    rows = (
        (
            *(groups[pair.first], pair.similarity, int(pair.identical), int(pair.across_splits)),
            *(*cells[pair.first], *cells[pair.second]),
        )
        for pair in report.pairs
    )
    write_csv(path, titles, rows)


def write_csv(
    path: Path,
    titles: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    for_sheets: bool = False,
) -> None:
    """Write a table as CSV, whole or not at all; text that a spreadsheet would run is escaped.

    With `for_sheets`, `sheet_cell` escapes the cells, and non-ASCII files start with a UTF-8 mark.

    Raises `StoreExistsError`, `OutputFolderError`, `StoreWriteError`.
    """
    check_output(path)
    lines = [csv_line(row, for_sheets=for_sheets) for row in (titles, *rows)]
    publish_csv(path, lines, for_sheets=for_sheets)


def csv_line(row: Sequence[object], *, for_sheets: bool = False) -> bytes:
    """Give one row of a table as a line of a file; see `write_csv`."""
    text, escape = io.StringIO(), sheet_cell if for_sheets else csv_cell
    cells = (escape(cell) if isinstance(cell, str) else cell for cell in row)
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")


def publish_csv(path: Path, lines: Iterable[bytes], *, for_sheets: bool = False) -> None:
    """Put lines in place as a file, over what is there; raises `StoreWriteError`."""
    data = b"".join(lines)
    if for_sheets and not data.isascii():
        data = codecs.BOM_UTF8 + data
    publish(path, [data], len(data), FileSystem())


def _more(n: int, shown: int) -> Iterator[str]:
    if n > shown:
        yield f"… and {n - shown} more (use --json or --csv FILE to list all)"


def table_lines(
    titles: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()
) -> Iterator[str]:
    """Yield the lines of an aligned table; the columns in `right` are right-aligned."""
    if not rows:
        return
    cells = [tuple(titles), *(tuple(printable(str(cell)) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        aligned = (
            cell.rjust(width) if n in right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(aligned).rstrip()
