"""Names from a dataset are data: escaped before a terminal or a spreadsheet gets them."""

from __future__ import annotations

import re

CSV_ESCAPED_START = "[=+@'\t\r\n-]"
"""Regular expression of the signs before which `csv_cell` puts an apostrophe."""


def printable(text: str) -> str:
    """Escape what could move a terminal's cursor or end a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def csv_cell(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would run as a formula, and before its own kind.

    So a reader gets the text back, exactly, who takes one leading apostrophe away.
    """
    return f"'{text}" if re.match(CSV_ESCAPED_START, text) else text


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MARKS = {"e", "am", "pm", "a", "p", "h", "t", "z", "true", "false"}
_ESCAPE = re.compile(r"\\(\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def sheet_cell(text: str) -> str:
    r"""Escape a text so that a spreadsheet shows it and saves it again as it is.

    As `csv_cell`; an apostrophe also stands before what a spreadsheet takes for a number, a date or
    a truth value (``000123``, ``1e5``, ``mar-1``, ``true``). Control characters become ``\n`` or
    ``\x1b``, a backslash two. `from_sheet_cell` gives the text back.
    """
    escaped = text.replace("\\", "\\\\")
    escaped = escaped if escaped.isprintable() else printable(escaped)
    words = re.findall(r"[^\W\d_]+", escaped.lower())
    is_number = any(c.isdigit() for c in escaped) or words in (["true"], ["false"])
    if is_number and all(word in _MARKS or word.startswith(_MONTHS) for word in words):
        return f"'{escaped}"
    return csv_cell(escaped)


def from_sheet_cell(cell: str) -> str:
    """Give the text that `sheet_cell` escaped; one typed by hand stays as it is."""
    text = cell.removeprefix("'")
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: found[0].encode().decode("unicode_escape"), text)
