"""`datumaro-embed explore`: a page on localhost to see a dataset, search it and decide.

`serving` starts the server, `guard` stands before it, `app` has its routes. `session` is what is
open: `decisions` the findings file, `pictures` the images, `maps` the projections; `rows` and
`cards` answer what the page asks, `tasks` and `worker` do what takes long.
"""

from ..errors import MissingExtraError

try:
    from .serving import Explorer, explore
except ModuleNotFoundError as error:
    if error.name not in ("starlette", "uvicorn"):
        raise
    raise MissingExtraError(
        f"{error.name} is not installed. Run: pip install 'datumaro-embed[explore]'",
        extra="explore",
    ) from error

__all__ = ["Explorer", "explore"]
