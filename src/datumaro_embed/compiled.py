"""Functions that numba compiles, for the modules `*_numba`, and whether they can be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np

__all__ = ["compiled", "faster", "inlined"]

_log = logging.getLogger(__name__)
_Function = TypeVar("_Function", bound=Callable[..., Any])
_Loops = TypeVar("_Loops")


def faster(
    load: Callable[[], _Loops],
    plain: _Loops,
    tried: Callable[[_Loops], Sequence[Any]],
    otherwise: str,
) -> _Loops:
    """Return what `load` gives, if numba works and it finds the same as `plain`; else `plain`.

    `tried`: what one of them finds in an example. `otherwise`: what happens else, for the log.
    """
    try:
        compiled_one = load()
        found = zip(tried(compiled_one), tried(plain), strict=True)
        if all(np.array_equal(one, other) for one, other in found):
            return compiled_one
        _log.debug("%s: numba's numbers differ", otherwise)
    except Exception as error:  # numba is optional: missing, too old for this numpy, no LLVM, …
        _log.debug("%s: %s", otherwise, error)
    return plain


def compiled(signature: str) -> Callable[[_Function], _Function]:
    """Compile a function for one signature, without the interpreter's lock; kept on disk."""
    import numba

    def compile_(function: _Function) -> _Function:
        try:
            made = numba.njit(signature, nogil=True, cache=True)(function)
        except Exception:  # numba's cache is not writable, full or damaged
            made = numba.njit(signature, nogil=True)(function)
        return cast(_Function, made)

    return compile_


def inlined(function: _Function) -> _Function:
    """Compile a function into those that call it."""
    import numba

    return cast(_Function, numba.njit(inline="always")(function))
