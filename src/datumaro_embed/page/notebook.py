"""`show`: hits, groups, findings, keys or a store as pictures in a notebook."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np

from ..duplicates import DuplicateReport
from ..errors import UsageError
from ..findings import Finding, Findings
from ..images import ImageProblem
from ..records import DuplicateGroup, Hit, ItemKey, ObjectKey, RowKey
from ..store import EmbeddingStore, using_store
from ..tally import counted
from .pictures import Pictures, as_webp

__all__ = ["Shown", "show"]

_SIDE_PX = 160
_MAX_PICTURE_BYTES = 2_000_000  # a notebook keeps what it shows
_MAX_LETTERS = 200
_NOT_SHOWN = "show takes hits, findings, groups, keys or a store, not {}."
_FIGURE = f"margin:0;width:{_SIDE_PX}px;font-size:12px;overflow-wrap:anywhere"
_GONE = f"height:{_SIDE_PX // 2}px;display:flex;align-items:center;opacity:0.7"


class Shown:
    """What a notebook displays: HTML without a script, in which every name is escaped."""

    def __init__(self, markup: str, summary: str) -> None:
        self._markup, self._summary = markup, summary

    def __repr__(self) -> str:
        return f"<Shown: {self._summary}>"

    def _repr_html_(self) -> str:
        return self._markup


@dataclass(frozen=True, slots=True)
class _Entry:
    """One picture: of which table and row, and the lines below it; a row of -1 has no picture."""

    of: str
    row: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    entries: list[_Entry] = field(default_factory=list)


def show(
    what: Any,
    store: EmbeddingStore | str | os.PathLike[str] | None = None,
    *,
    media_root: str | os.PathLike[str] | None = None,
    n: int = 24,
) -> Shown:
    """Show pictures of a store's items or objects as the last line of a notebook's cell.

    Parameters
    ----------
    what : EmbeddingStore, path, Findings, DuplicateReport, or one or more hits, groups or keys
        A store, or its path, shows some of its items, evenly chosen.
    store : EmbeddingStore or path
        Whose items they are; not needed if `what` is a store.
    media_root : path, optional
        Folder of the images, if it has moved.
    n : int
        Pictures, at most; 2 MB of them are shown.

    Raises
    ------
    UsageError
        `what` is something else, or there is no `store`.
    StoreError
    """
    if isinstance(what, (EmbeddingStore, str, os.PathLike)):
        what, store = None, what
    if store is None:
        raise UsageError("Name the store whose items these are: show(what, store).")
    if not isinstance(n, int) or n < 1:
        raise UsageError(f"``n`` must be a whole number of at least 1, not {n!r}.")
    with using_store(store) as opened:
        origin = getattr(what, "origin", None)
        if origin is not None and origin.uuid != opened.uuid:
            raise UsageError(
                f"These results are of the store '{origin.path}'. Pass that store to show."
            )
        if what is None:
            total = len(opened)
            rows = np.linspace(0, total - 1, min(total, n)).round().astype(int).tolist()
            entries = [
                _Entry("items", row, (str(opened.key(row)), ", ".join(opened.labels_of(row))))
                for row in rows
            ]
            sections = [_Section(repr(opened).strip("<>"), entries)]
        else:
            sections = [*_sections(what, opened)]
            total = sum(len(each.entries) for each in sections)
        root = Path(media_root or opened.media_root or os.devnull)
        drawn = _drawn(sections, total, n, Pictures(opened, root, encode=as_webp))
        markup = tostring(drawn, encoding="unicode", method="html")
    shown = markup.encode("utf-8", "replace").decode()  # a lone surrogate: a question mark
    return Shown(shown, f"{counted(min(n, total), 'pictures')} of {total:,}")


def _sections(what: Any, store: EmbeddingStore) -> Iterator[_Section]:
    kind: type
    values: list[Any]
    if isinstance(what, DuplicateReport):
        kind, values = DuplicateGroup, [*what.groups]
    elif isinstance(what, Findings):
        kind, values = Finding, [*what]
    else:
        single = isinstance(what, (Hit, Finding, DuplicateGroup, ItemKey, ObjectKey))
        if not single and not isinstance(what, Iterable):
            raise UsageError(_NOT_SHOWN.format(type(what).__name__))
        values = [what] if single else [*what]
        kind = type(values[0]) if values else Hit
        if any(type(value) is not kind for value in values):
            raise UsageError("show takes values of one type: hits, findings, groups or keys.")

    if kind is DuplicateGroup:
        yield from (_of_group(group, store) for group in values)
    elif kind is Finding:
        yield from _of_findings(values, store)
    elif kind is Hit:
        entries = []
        for hit in values:
            shown = hit.text or ", ".join(hit.labels)
            key = _pictured(hit.key, hit.text)
            entries.append(_entry(key, store, f"{hit.similarity:.3f}", shown))
        yield _Section("", entries)
    elif kind in (ItemKey, ObjectKey):
        yield _Section("", [_entry(key, store) for key in values])
    else:
        raise UsageError(_NOT_SHOWN.format(kind.__name__))


def _entry(key: RowKey, store: EmbeddingStore, *lines: str) -> _Entry:
    """Find the row of a key; of an object that the store does not have, that of its item."""
    item, number = (key, -1) if isinstance(key, ItemKey) else (key.item, key.number)
    row = store.row(item) if item in store else -1
    objects = store.objects.of(row) if row >= 0 and store.has_table("objects") else range(0)
    if number in range(len(objects)):
        return _Entry("objects", objects[number], (str(key), *lines))
    return _Entry("items", row, (str(key), *lines))


def _pictured(key: RowKey, caption: object) -> RowKey:
    """Return the key of what is to be seen: of a caption, its item's."""
    return key if caption is None or isinstance(key, ItemKey) else key.item


def _of_group(group: DuplicateGroup, store: EmbeddingStore) -> _Section:
    title = f"{len(group.keys):,} alike, cosine {group.min_similarity:.3f} or more"
    members = zip(group.keys, group.splits, group.labels, group.facts, strict=True)
    entries = [
        _entry(
            _pictured(key, facts.get("text")),
            store,
            split.name.lower(),
            str(facts.get("text", ", ".join(labels))),
            "keep" if key == group.keep else "",
        )
        for key, split, labels, facts in members
    ]
    return _Section(title + ", across splits" * group.across_splits, entries)


def _of_findings(found: Iterable[Finding], store: EmbeddingStore) -> Iterator[_Section]:
    kinds: dict[str, _Section] = {}
    for row in found:
        key = row.key if row.object is None else ObjectKey(row.key, row.object)
        suggestion = f"{row.suggestion}?" if row.suggestion else ""
        entry = _entry(key, store, row.action or suggestion, row.reason)
        at = store.row(row.key) if row.key in store else -1
        if at < 0 or store.content_sha256[at].tobytes().hex() != row.content_sha256:
            entry = _Entry("items", -1, entry.lines)  # the picture would be that of another image
        kinds.setdefault(row.kind, _Section(row.kind)).entries.append(entry)
    yield from kinds.values()


def _drawn(sections: list[_Section], total: int, n: int, pictures: Pictures) -> Element:
    root = Element("div")
    left, room = n, _MAX_PICTURE_BYTES
    for section in sections:
        if left <= 0:
            break
        if section.title:
            SubElement(root, "p").text = section.title[:_MAX_LETTERS]
        row = SubElement(root, "div", style="display:flex;flex-wrap:wrap;gap:8px")
        for entry in section.entries[:left]:
            data = ""
            if room > 0 and entry.row >= 0:
                make = pictures.item if entry.of == "items" else pictures.object
                with suppress(ImageProblem):
                    data = b64encode(make(entry.row, _SIDE_PX)).decode()
            room -= len(data)
            figure = SubElement(row, "figure", style=_FIGURE)
            lines = [line[:_MAX_LETTERS] for line in entry.lines if line]
            if data:
                source = f"data:image/webp;base64,{data}"
                SubElement(figure, "img", src=source, alt=lines[0], style="max-width:100%")
            else:
                SubElement(figure, "div", style=_GONE).text = "no picture"
            for line in lines:
                SubElement(SubElement(figure, "div"), "bdi").text = line
        left -= len(section.entries)
    if total > n:
        SubElement(root, "p").text = f"{total - n:,} more. Show more with show(…, n={2 * n})."
    return root
