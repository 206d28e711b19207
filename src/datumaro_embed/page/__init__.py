"""One page about a store: live on localhost (`explore`) and frozen in a file (`write_report`).

Live: `serving` starts the server, `guard` stands before it, `app` has its routes. `session` is what
is open: `decisions` the findings file, `pictures` the images, `maps` the projections; `rows` and
`cards` answer what the page asks (`asked`), `tasks` and `worker` do what takes long. Frozen:
`frozen` puts the same facts into the page itself, whose script answers from them. `notebook` is for
a few pictures below a cell.
"""

from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError
from .frozen import ReportOptions, ReportSummary, write_report
from .notebook import Shown, show

if TYPE_CHECKING:
    from .serving import Explorer, explore

__all__ = [
    "Explorer",
    "ReportOptions",
    "ReportSummary",
    "Shown",
    "explore",
    "show",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import the server when it is asked for: a report needs none of its extra."""
    if name not in ("Explorer", "explore"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from . import serving
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise MissingExtraError(
            f"{error.name} is not installed. Run: pip install 'datumaro-embed[explore]'",
            extra="explore",
        ) from error
    return getattr(serving, name)
