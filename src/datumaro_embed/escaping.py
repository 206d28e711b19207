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
