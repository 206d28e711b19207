"""Functions that numba compiles, for the modules `*_numba`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled", "inlined"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(signature: str) -> Callable[[_Function], _Function]:
    """Compile a function for one signature, without the interpreter's lock; kept on disk."""

    def compile_(function: _Function) -> _Function:
        try:
            made = numba.njit(signature, nogil=True, cache=True)(function)
        except Exception:  # numba's cache is not writable, full or damaged
            made = numba.njit(signature, nogil=True)(function)
        return cast(_Function, made)

    return compile_


def inlined(function: _Function) -> _Function:
    """Compile a function into those that call it."""
    return cast(_Function, numba.njit(inline="always")(function))
