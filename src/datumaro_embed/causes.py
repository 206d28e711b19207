"""Group the many messages of failed items by their few causes."""

from __future__ import annotations

import re

_MAX_DETAIL = 120
# What differs from item to item: bracketed and quoted parts, and numbers that stand alone.
_BRACKETED = re.compile(r"(?:^|\s+)(\([^()]*\)|<[^<>]*>|\[[^\[\]]*\])")
_QUOTED = re.compile(r"""(?<!\w)b?('[^']*'|"[^"]*")(?!\w)""")
_NUMBER = re.compile(r"(?<![\w-])(0x[0-9a-f]+|\d[\d.,]*(?<![.,]))(?![\w-])")


def cause_of(error: str) -> str:
    """Return the part of an `ItemRecord.error` that other items with the same fault have too.

    The error is ``cause: detail``, or a message of another library. Nothing but the message counts,
    so that a store tells the causes that its run told.
    """
    head = error.partition(": ")[0]
    kept = head if " " in head else error  # not the name of an exception alone
    without = _QUOTED.sub("…", _BRACKETED.sub("", kept))
    return _NUMBER.sub("N", without).strip() or error.strip() or "no reason given"


def detail_of(error: str, cause: str) -> str:
    """Return what an error says beyond its cause, in a few words; empty where that is nothing."""
    detail = error.removeprefix(cause).removeprefix(":").strip()
    return detail if len(detail) <= _MAX_DETAIL else f"{detail[:_MAX_DETAIL]}…"
