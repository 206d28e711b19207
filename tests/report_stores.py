"""Stores for the tests of pages: hostile strings, many points; and a page's tags and text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from datumaro_embed import AnnotationRecord, Categories, ItemKey, ItemRecord, Split, Status
from store_support import create_store

__all__ = ["HOSTILE", "OUR_TAGS", "Outline", "hostile_store", "many_points"]

HOSTILE = (
    "<script>window.pwned = 1</script>",
    '"/><img src=x onerror="window.pwned = 1">',
    "</script><script>window.pwned = 1</script>",
    "<!--<script>",
    "'; window.pwned = 1; '",
    "javascript:window.pwned=1",
    "&lt;b&gt; &amp;",
    "\u2028\u2029\u202e",
)
"""Names that would run, or break the page, where one place forgot to escape."""

OUR_TAGS = "html meta title link style div noscript script"


class Outline(HTMLParser):
    """Tags, attributes and text of a page, as a browser's tokenizer sees them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.words.append(data)


def hostile_store(folder: Path) -> Path:
    """Write a store whose every string is hostile, one failed item and one group among them."""
    path = folder / "hostile.h5"
    rng = np.random.default_rng(0)
    with create_store(path, dim=8, run_fingerprint=HOSTILE[0]) as writer:
        for number, name in enumerate(sorted(HOSTILE)):
            failed = number == 3
            record = ItemRecord(
                key=ItemKey(HOSTILE[1], name),
                split=Split.TRAIN if number % 2 else Split.VAL,
                path=name,
                width=10,
                height=20,
                status=Status.UNREADABLE if failed else Status.OK,
                error=name if failed else "",
                attributes={name: name},
                annotations=(AnnotationRecord("bbox", label=number, coords=(1, 2, 3, 4)),),
            )
            vector = rng.standard_normal(8) if number > 1 else np.ones(8)
            writer.append(record, None if failed else vector / np.linalg.norm(vector))
        writer.set_categories(Categories(HOSTILE))
        writer.seal(
            {"model": {"name": HOSTILE[1]}, "media_root": HOSTILE[2], "created": HOSTILE[0]}
        )
    return path


def many_points(folder: Path, n_rows: int, n_labels: int = 10) -> Path:
    """Write a store of `n_rows` random vectors, a cluster for each label, without media."""
    path = folder / "many.h5"
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((n_labels, 16))
    labels = rng.integers(n_labels, size=n_rows)
    vectors = centres[labels] + 0.4 * rng.standard_normal((n_rows, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with create_store(path, dim=16) as writer:
        for row, (label, vector) in enumerate(zip(labels.tolist(), vectors, strict=True)):
            annotation = AnnotationRecord("label", label=label)
            key = ItemKey("train", f"{row:07d}")
            writer.append(ItemRecord(key, Split.TRAIN, annotations=(annotation,)), vector)
        writer.set_categories(Categories(tuple(f"label {number}" for number in range(n_labels))))
        writer.seal({})
    return path
