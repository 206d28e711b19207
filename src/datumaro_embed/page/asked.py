"""What a request asks: the parts of its URL, and its body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams

from ..errors import UsageError

__all__ = ["BYTES", "Asked", "number"]

BYTES = "application/octet-stream"
"""Media type of arrays."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks: its URL's parts and its body."""

    path: Mapping[str, Any]
    query: QueryParams
    body: bytes = b""

    @property
    def of(self) -> str:
        """The table."""
        return self.query.get("of", "items")

    def number(self, name: str, default: str = "") -> int:
        """Give a whole number of the query; raises `UsageError`."""
        return number(self.query.get(name, default))

    def json(self) -> dict[str, Any]:
        """Give the body; raises `UsageError`."""
        try:
            body = json.loads(self.body)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise UsageError("The body of the request is not a JSON object.")
        return body


def number(text: str) -> int:
    """Read a whole number; raises `UsageError`."""
    if not re.fullmatch("[0-9]{1,9}", text, re.ASCII):
        raise UsageError(f"{text[:20]!r} is not a row.")
    return int(text)
