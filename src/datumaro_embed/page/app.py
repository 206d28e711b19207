"""The routes: URLs and bodies in, JSON and bytes out. What they mean is in the other modules."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import (
    DatumaroEmbedError,
    StoreLockedError,
    StoreReplacedError,
    StoreWriteError,
    UsageError,
)
from ..images import ImageProblem
from ..parallel import usable_processors
from .asked import BYTES, Asked, number
from .cards import card, codes, groups, item, overview, version
from .pictures import FULL_PX, SIDES_PX
from .rows import answer
from .session import EncoderLoading, Session

__all__ = ["make_app"]


Endpoint = Callable[[Asked, Session], Any]
"""Gives a response, or what is one as JSON."""

_MAX_CARDS = 200
_ASSETS = {
    "": ("page.html", "text/html; charset=utf-8"),
    "app.js": ("app.js", "text/javascript; charset=utf-8"),
    "app.css": ("app.css", "text/css; charset=utf-8"),
}
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def make_app(session: Session) -> Starlette:
    """Make the application of one session; `Guard` must stand before it."""
    # Scrolling requests hundreds of pictures and cancels most. Those made at once are limited to
    # the number of processors, and closed requests skipped; other requests do not wait for them.
    turns = asyncio.Semaphore(usable_processors())

    def route(
        path: str, endpoint: Endpoint, method: str = "GET", *, in_turn: bool = False
    ) -> Route:
        async def handle(request: Request) -> Response:
            body = await request.body() if request.method == "POST" else b""
            asked = Asked(request.path_params, request.query_params, body)
            async with turns if in_turn else nullcontext():
                if in_turn and await request.is_disconnected():
                    return _error(499, "The browser closed the request.")
                return await run_in_threadpool(_answered, endpoint, asked, session)

        return Route(path, handle, methods=[method])

    return Starlette(
        routes=[
            route("/", _asset),
            route("/assets/{name}", _asset),
            route("/api/store", overview),
            route("/api/summary", lambda _, session: session.summary),
            route("/api/rows", answer),
            route("/api/cards", _cards),
            route("/api/item", item),
            route("/api/map", _map),
            route("/api/codes", codes),
            route("/api/groups", groups),
            route("/api/decide", _decide, "POST"),
            route("/api/progress", _progress),
            route("/api/plan", lambda _, session: session.plan),
            route("/api/command", _command),
            route("/api/apply", _apply, "POST"),
            route("/api/image", _image, "POST"),
            route("/thumb/query/{name}/{v}", _query_thumbnail),
            route("/thumb/{of}/{row:int}/{v}", _picture, in_turn=True),
            route("/image/{row:int}/{v}", _picture, in_turn=True),
        ],
        exception_handlers={404: _failed, Exception: _failed},
    )


def _answered(endpoint: Endpoint, asked: Asked, session: Session) -> Response:
    """Answer in a thread, and turn errors into a sentence."""
    try:
        found = endpoint(asked, session)
        return found if isinstance(found, Response) else _json(found)
    except EncoderLoading:
        state = session.tasks["encoder"].to_json()
        return _json({"error": "The model is loading.", "progress": state}, 503)
    except (StoreLockedError, StoreReplacedError) as error:
        return _error(409, error)
    except StoreWriteError as error:
        return _error(507, error)
    except DatumaroEmbedError as error:
        return _error(400, error)
    except ImageProblem as problem:
        return _error(404, problem)


def _json(content: Any, status: int = 200) -> JSONResponse:
    """Give JSON in ASCII: a name with half a surrogate pair is one that browsers take."""
    response = JSONResponse(None, status)
    response.body = json.dumps(content, separators=(",", ":")).encode()
    response.headers["content-length"] = str(len(response.body))
    return response


def _error(status: int, error: Exception | str) -> JSONResponse:
    return _json({"error": str(error)}, status)


def _failed(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _error(404, "There is nothing at this address.")
    return _error(500, "The server failed. See the error in the terminal.")


def _asset(asked: Asked, _: Session) -> Response:
    name = asked.path.get("name", "")
    if name not in _ASSETS:
        return _error(404, f"There is no asset {name!r}.")
    file, media_type = _ASSETS[name]
    content = files(__package__).joinpath("assets", file).read_bytes()
    return Response(content, media_type=media_type)


def _cards(asked: Asked, session: Session) -> list[dict[str, Any]]:
    rows = [number(text) for text in asked.query.get("rows", "").split(",") if text]
    if len(rows) > _MAX_CARDS:
        raise UsageError(f"{len(rows)} cards are too many; the limit is {_MAX_CARDS}.")
    for row in rows:
        session.check_row(asked.of, row)
    return [card(session, asked.of, row) for row in rows]


def _map(asked: Asked, session: Session) -> Response:
    of = asked.of
    session.table(of)
    found = session.maps.get(of)
    if found is None:
        return _json({"progress": session.tasks["map"].to_json()}, 202)
    headers = {"X-Method": found.method, "X-Final": str(int(found.is_final))}
    return Response(found.to_bytes(), media_type=BYTES, headers=headers)


def _decide(asked: Asked, session: Session) -> dict[str, Any]:
    session.refuse_replaced()
    entries = asked.json().get("set")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError("A decision is {set: [{of, row, action}]}.")
    decisions = session.decisions
    return {
        "previous": decisions.decide(entries),
        "decided": decisions.n_decided,
        "problems": decisions.problems(),
        "kinds": decisions.kinds(),
    }


def _progress(_: Asked, session: Session) -> dict[str, Any]:
    return {name: task.to_json() for name, task in session.tasks.items()}


def _command(_: Asked, session: Session) -> dict[str, str]:
    dataset = session.dataset or "DATASET"
    words = ["datumaro-embed", "apply", str(session.decisions.path), dataset, "-o", "OUT"]
    return {"command": shlex.join(words)}


def _apply(asked: Asked, session: Session) -> Response:
    body = asked.json()
    dataset, out, form = (body.get(name) or "" for name in ("dataset", "out", "format"))
    dataset = dataset or session.dataset or ""
    if not all(isinstance(text, str) for text in (dataset, out, form)) or not out or not dataset:
        raise UsageError("Give the output folder (out) and the dataset.")
    session.refuse_replaced()
    session.carry_out(dataset, out, form or None, dry_run=body.get("dry_run") is not False)
    return _json({}, 202)


def _image(asked: Asked, session: Session) -> Response:
    try:
        name, v = session.add_image(asked.body)
    except ImageProblem as problem:
        return _error(400, problem)
    return _json({"id": name, "v": v})


def _query_thumbnail(asked: Asked, session: Session) -> Response:
    found = session.image(asked.path["name"])
    return Response(found.jpeg, media_type="image/jpeg", headers=_FOREVER)


def _picture(asked: Asked, session: Session) -> Response:
    """Give a thumbnail of a row of a table, or the whole picture of an item."""
    of, row, side = asked.path.get("of", "items"), asked.path["row"], FULL_PX
    if "of" in asked.path:
        side = asked.number("size", "320")
        if side not in SIDES_PX:
            raise UsageError(f"size is {side}. Choose of {', '.join(map(str, SIDES_PX))}.")
    item_row = session.check_row(of, row).item_row(row)
    # Refuse the URL of another image: the browser keeps pictures by their URL.
    if asked.path["v"] != version(session.store.content_sha256[item_row].tobytes()):
        raise UsageError("This address belongs to another picture. Reload the page.")
    make = session.pictures.item if of == "items" else session.pictures.object
    return Response(make(row, side), media_type="image/jpeg", headers=_FOREVER)
