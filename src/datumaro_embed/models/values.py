"""What a JSON file may hold where a number, a name or a choice is expected.

JSON knows no ranges: a length of 10**12 is a number too, and the library that is given it aborts.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["choice", "mapping", "numbers", "real", "text", "whole"]


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` if it is an integer from `low` to `high`; neither a float nor a boolean.

    Raises
    ------
    ValueError
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _unfit(name, value, f"a whole number from {low} to {high}")
    return value


def real(name: str, value: Any, low: float, high: float) -> float:
    """Return `value` as a float if it is a number from `low` to `high`, finite and no boolean.

    Raises
    ------
    ValueError
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or not math.isfinite(value):
        raise _unfit(name, value, f"a number from {low:g} to {high:g}")
    return float(value)


def numbers(name: str, values: Any, low: float, high: float) -> tuple[float, float, float]:
    """Return three numbers, of R, G and B (see `real`).

    Raises
    ------
    ValueError
    """
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise _unfit(name, values, "a list of three numbers")
    red, green, blue = (real(name, value, low, high) for value in values)
    return red, green, blue


def text(name: str, value: Any) -> str:
    """Return `value` if it is a string that UTF-8 can hold (JSON can hold half a surrogate pair).

    Raises
    ------
    ValueError
    """
    if not isinstance(value, str) or any("\ud800" <= char <= "\udfff" for char in value):
        raise _unfit(name, value, "a string")
    return value


def choice(name: str, value: Any, choices: Collection[str]) -> str:
    """Return `value` if it is one of `choices`.

    Raises
    ------
    ValueError
    """
    if not isinstance(value, str) or value not in choices:
        raise _unfit(name, value, f"one of {', '.join(choices)}")
    return value


def mapping(name: str, value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a JSON object.

    Raises
    ------
    ValueError
    """
    if not isinstance(value, Mapping):
        raise _unfit(name, value, "a JSON object")
    return value


def _unfit(name: str, value: Any, wanted: str) -> ValueError:
    return ValueError(f"{name} is {reprlib.repr(value)}, not {wanted}")
