"""Escape names from a dataset before they reach a terminal or a spreadsheet."""

from __future__ import annotations

import re

CSV_ESCAPED_START = "[=+@'\t\r\n-]"
"""Regular expression of the first characters before which `csv_cell` puts an apostrophe."""


def printable(text: str) -> str:
    """Escape characters that could move a terminal's cursor or end a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def csv_cell(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would run, or that has an apostrophe there.

    A reader restores the text exactly by removing one leading apostrophe.
    """
    return f"'{text}" if re.match(CSV_ESCAPED_START, text) else text


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MARKS = {"e", "am", "pm", "a", "p", "h", "t", "z", "true", "false"}
_ESCAPE = re.compile(r"\\(\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def sheet_cell(text: str) -> str:
    r"""Escape a text so that a spreadsheet shows and saves it unchanged.

    Like `csv_cell`, with an apostrophe also before text that a spreadsheet takes for a number, a
    date or a boolean (``000123``, ``1e5``, ``mar-1``, ``true``). Control characters become ``\n``
    or ``\x1b``, and a backslash becomes two. `from_sheet_cell` restores the text.
    """
    escaped = text.replace("\\", "\\\\")
    escaped = escaped if escaped.isprintable() else printable(escaped)
    words = re.findall(r"[^\W\d_]+", escaped.lower())
    is_number = any(c.isdigit() for c in escaped) or words in (["true"], ["false"])
    if is_number and all(word in _MARKS or word.startswith(_MONTHS) for word in words):
        return f"'{escaped}"
    return csv_cell(escaped)


def from_sheet_cell(cell: str) -> str:
    """Restore a text that `sheet_cell` escaped; text typed by hand is unchanged."""
    text = cell.removeprefix("'")
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: found[0].encode().decode("unicode_escape"), text)
