"""Group the error messages of failed items by cause."""

from __future__ import annotations

import re

_MAX_DETAIL = 120
# Parts of a message that differ between items: brackets, quotes, and standalone numbers.
_BRACKETED = re.compile(r"(?:^|\s+)(\([^()]*\)|<[^<>]*>|\[[^\[\]]*\])")
_QUOTED = re.compile(r"""(?<!\w)b?('[^']*'|"[^"]*")(?!\w)""")
_NUMBER = re.compile(r"(?<![\w-])(0x[0-9a-f]+|\d[\d.,]*(?<![.,]))(?![\w-])")


def cause_of(error: str) -> str:
    """Return the part of an `ItemRecord.error` that all items with the same fault share.

    The error is ``cause: detail``, or the message of another library. Only the message is used, so
    `info` on a store shows the same causes as the run that wrote it.
    """
    head = error.partition(": ")[0]
    kept = head if " " in head else error  # a single word is an exception's name
    without = _QUOTED.sub("…", _BRACKETED.sub("", kept))
    return _NUMBER.sub("N", without).strip() or error.strip() or "no reason given"


def detail_of(error: str, cause: str) -> str:
    """Return the rest of an error after its cause, shortened; may be empty."""
    detail = error.removeprefix(cause).removeprefix(":").strip()
    return detail if len(detail) <= _MAX_DETAIL else f"{detail[:_MAX_DETAIL]}…"
