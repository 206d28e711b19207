"""Hits and duplicates as text: aligned tables for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .escaping import csv_cell, printable
from .files import FileSystem, check_output, publish
from .records import DuplicateGroup, ItemKey
from .retrieval import SearchResult
from .tally import counted

if TYPE_CHECKING:
    from .duplicates import Change, DuplicateReport

_SHOWN_PAIRS = 20
_SHOWN_GROUPS = 20
_SHOWN_MEMBERS = 6


def hits_lines(result: SearchResult) -> Iterator[str]:
    """Yield a table of hits, best first."""
    rows = [
        (rank, f"{hit.similarity:.4f}", hit.key, ", ".join(hit.labels) or "-", hit.path or "-")
        for rank, hit in enumerate(result.hits, start=1)
    ]
    yield from _table(("rank", "similarity", "item", "labels", "file"), rows, right=(0, 1))
    if not result.hits:
        yield "no item matches the filters"
    if not result.exact:
        yield "(by the index, which may miss some; --exact compares every row)"


def hits_json(result: SearchResult) -> str:
    """Give the hits as one JSON object."""
    hits = [
        {
            "rank": rank,
            "similarity": hit.similarity,
            **asdict(hit.key),
            "row": hit.row,
            "split": hit.split.name.lower(),
            "labels": hit.labels,
            "path": hit.path,
        }
        for rank, hit in enumerate(result.hits, start=1)
    ]
    return json.dumps({"exact": result.exact, "hits": hits}, indent=2)


def duplicates_lines(report: DuplicateReport) -> Iterator[str]:
    """Yield what a person must know, leakage first."""
    compared = "every pair compared" if report.all_pairs else "likely pairs compared"
    yield (
        f"{counted(report.n_items, 'items')}, {compared}, threshold {report.threshold:g}: "
        f"{counted(report.n_pairs, 'pairs')} in {counted(len(report.groups), 'groups')}"
    )
    if leaks := report.leaks:
        yield ""
        at_least = "" if report.n_pairs == len(report.pairs) else "at least "
        yield f"LEAKAGE: {at_least}{counted(len(leaks), 'pairs')} across train, val and test"
        rows = [
            (f"{p.similarity:.4f}", p.first, p.second, "same bytes" if p.identical else "")
            for p in leaks[:_SHOWN_PAIRS]
        ]
        yield from _table(("similarity", "item", "and", ""), rows, right=(0,))
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
        yield from _groups_table(report.groups)


def duplicates_json(report: DuplicateReport) -> str:
    """Give the whole report as one JSON object."""
    content = {
        "threshold": report.threshold,
        "n_items": report.n_items,
        "all_pairs": report.all_pairs,
        "n_pairs": report.n_pairs,
        "n_leaks": len(report.leaks),
        "groups": [_group_object(group) for group in report.groups],
        "pairs": [asdict(pair) for pair in report.pairs],
    }
    return json.dumps(content, indent=2)


def changes_lines(changes: Mapping[ItemKey, Change], summary: str) -> Iterator[str]:
    """Yield a summary, and a table of the items that change."""
    yield summary
    rows = [
        (
            change.group,
            key,
            "dropped" if change.dropped else change.key if change.key != key else "tagged",
            change.keep,
        )
        for key, change in islice(changes.items(), _SHOWN_PAIRS)
    ]
    yield from _table(("group", "item", "becomes", "copy of"), rows, right=(0,))
    yield from _more(len(changes), _SHOWN_PAIRS, "--csv FILE")


def write_changes_csv(changes: Mapping[ItemKey, Change], action: str, path: Path) -> None:
    """Write one line for each item that changes."""
    titles = ("action", "group", "subset", "id", "new_subset", "new_id", "keep_subset", "keep_id")
    rows = (
        (action, change.group, *astuple(key), *new, *astuple(change.keep))
        for key, change in changes.items()
        for new in [("", "") if change.dropped else astuple(change.key)]
    )
    _write_csv(path, titles, rows)


def write_pairs_csv(report: DuplicateReport, path: Path) -> None:
    """Write one line for each pair, with the number of its group (1, 2, … as in the report)."""
    groups = {key: n for n, group in enumerate(report.groups, start=1) for key in group.keys}
    titles = ["group", "similarity", "identical", "across_splits"]
    titles += ["first_subset", "first_id", "second_subset", "second_id"]
    rows = (
        (
            *(groups[pair.first], pair.similarity, int(pair.identical), int(pair.across_splits)),
            *(*astuple(pair.first), *astuple(pair.second)),
        )
        for pair in report.pairs
    )
    _write_csv(path, titles, rows)


def _write_csv(path: Path, titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV, whole or not at all; texts that a spreadsheet would run are escaped.

    Raises `StoreExistsError`, `OutputFolderError`, `StoreWriteError`.
    """
    check_output(path)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    for row in rows:
        writer.writerow([csv_cell(cell) if isinstance(cell, str) else cell for cell in row])
    data = text.getvalue().encode("utf-8", "backslashreplace")
    publish(path, [data], len(data), FileSystem())


def _groups_table(groups: Sequence[DuplicateGroup]) -> Iterator[str]:
    rows = []
    for number, group in enumerate(groups[:_SHOWN_GROUPS], start=1):
        others = [str(key) for key in group.keys if key != group.keep]
        shown = ", ".join(others[:_SHOWN_MEMBERS])
        hidden = len(others) - _SHOWN_MEMBERS
        splits = "+".join(split.name.lower() for split in sorted(set(group.splits)))
        shown += f" and {hidden} more" if hidden > 0 else ""
        least = f"{group.min_similarity:.4f}"
        rows.append((number, len(group.keys), least, splits, group.keep, shown))
    titles = ("group", "items", "least", "splits", "keep", "and")
    yield from _table(titles, rows, right=(0, 1, 2))
    yield from _more(len(groups), _SHOWN_GROUPS)


def _more(n: int, shown: int, ways: str = "--json or --csv FILE") -> Iterator[str]:
    if n > shown:
        yield f"… and {n - shown} more (use {ways} to list all)"


def _group_object(group: DuplicateGroup) -> dict[str, Any]:
    members = zip(group.keys, group.splits, group.labels, strict=True)
    return {
        "keep": asdict(group.keep),
        "identical": group.identical,
        "across_splits": group.across_splits,
        "conflicting_labels": group.conflicting_labels,
        "min_similarity": group.min_similarity,
        "max_similarity": group.max_similarity,
        "items": [
            {**asdict(key), "split": split.name.lower(), "labels": labels}
            for key, split, labels in members
        ],
    }


def _table(
    titles: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()
) -> Iterator[str]:
    """Align columns; `right` are those whose values end below each other."""
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
