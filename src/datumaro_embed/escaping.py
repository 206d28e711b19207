"""Names from a dataset are data: escaped before a terminal or a spreadsheet gets them."""

from __future__ import annotations

__all__ = ["csv_cell", "printable"]

_FORMULA_STARTS = ("=", "+", "-", "@", "'", "\t", "\r", "\n")


def printable(text: str) -> str:
    """Escape what could move a terminal's cursor or end a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def csv_cell(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would run as a formula, and escape controls.

    A reader takes one leading apostrophe away to get the text back.
    """
    escaped = printable(text)
    return f"'{escaped}" if text.startswith(_FORMULA_STARTS) else escaped
