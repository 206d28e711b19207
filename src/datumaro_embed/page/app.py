"""The routes: URLs and bodies in, JSON and bytes out. What they mean is in the other modules."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
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
from .cards import card, codes, groups, item, outline, overview, version
from .pictures import FULL_PX, SIDES_PX
from .rows import answer
from .session import EncoderLoading, Session

__all__ = ["make_app"]


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
        return _number(self.query.get(name, default))

    def json(self) -> dict[str, Any]:
        """Give the body; raises `UsageError`."""
        try:
            body = json.loads(self.body)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise UsageError("The body of the request is not a JSON object.")
        return body


Endpoint = Callable[[Asked, Session], Response]
Handler = Callable[[Request], Awaitable[Response]]

_MAX_CARDS, _MAX_GROUPS = 200, 100
_ASSETS = {
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
}
_BYTES = "application/octet-stream"
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def make_app(session: Session) -> Starlette:
    """Make the application of one session; `Guard` must stand before it."""
    turns = asyncio.Semaphore(usable_processors())

    def route(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
        return Route(path, _handled(endpoint, session), methods=[method])

    def picture(path: str, endpoint: Endpoint) -> Route:
        return Route(path, _in_turn(_handled(endpoint, session), turns))

    return Starlette(
        routes=[
            route("/", _page),
            route("/assets/{name}", _asset),
            route("/api/store", lambda _, session: _json(overview(session))),
            route("/api/summary", lambda _, session: _json(session.summary)),
            route("/api/rows", _rows),
            route("/api/cards", _cards),
            route("/api/item", _item),
            route("/api/map", _map),
            route("/api/codes", _codes),
            route("/api/groups", _groups),
            route("/api/decide", _decide, "POST"),
            route("/api/progress", _progress),
            route("/api/plan", lambda _, session: _json(session.plan)),
            route("/api/command", _command),
            route("/api/apply", _apply, "POST"),
            route("/api/image", _image, "POST"),
            route("/thumb/query/{name}/{v}", _query_thumbnail),
            picture("/thumb/{of}/{row:int}/{v}", _thumbnail),
            picture("/image/{row:int}/{v}", _full),
        ],
        exception_handlers={404: _nothing_there, Exception: _broken},
    )


def _in_turn(handle: Handler, turns: asyncio.Semaphore) -> Handler:
    """Limit pictures made at once to the number of processors, and skip closed requests.

    Scrolling requests hundreds of pictures and cancels most; other requests do not wait for them.
    """

    async def wait(request: Request) -> Response:
        async with turns:
            if await request.is_disconnected():
                return _error(499, "The browser closed the request.")
            return await handle(request)

    return wait


def _handled(endpoint: Endpoint, session: Session) -> Handler:
    """Answer in a thread, and turn errors into a sentence."""

    async def handle(request: Request) -> Response:
        body = await request.body() if request.method == "POST" else b""
        asked = Asked(request.path_params, request.query_params, body)
        return await run_in_threadpool(_answered, endpoint, asked, session)

    return handle


def _answered(endpoint: Endpoint, asked: Asked, session: Session) -> Response:
    try:
        return endpoint(asked, session)
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


def _nothing_there(_: Request, __: Exception) -> Response:
    return _error(404, "There is nothing at this address.")


def _broken(_: Request, __: Exception) -> Response:
    return _error(500, "The server failed. See the error in the terminal.")


def _page(_: Asked, __: Session) -> Response:
    content = files(__package__).joinpath("assets", "page.html").read_bytes()
    return Response(content, media_type="text/html; charset=utf-8")


def _asset(asked: Asked, _: Session) -> Response:
    name = asked.path["name"]
    if name not in _ASSETS:
        return _error(404, f"There is no asset {name!r}.")
    content = files(__package__).joinpath("assets", name).read_bytes()
    return Response(content, media_type=_ASSETS[name])


def _rows(asked: Asked, session: Session) -> Response:
    started = time.monotonic()
    found = answer(session, asked.query)
    headers = {
        "X-Query-Ms": f"{1000 * (time.monotonic() - started):.0f}",
        "X-Count": str(len(found.rows)),
        "X-Scored": "0" if found.similarities is None else "1",
    }
    return Response(found.to_bytes(), media_type=_BYTES, headers=headers)


def _cards(asked: Asked, session: Session) -> Response:
    of = asked.of
    rows = [_number(text) for text in asked.query.get("rows", "").split(",") if text]
    if len(rows) > _MAX_CARDS:
        raise UsageError(f"{len(rows)} cards are too many; the limit is {_MAX_CARDS}.")
    for row in rows:
        session.check_row(of, row)
    return _json([card(session, of, row) for row in rows])


def _item(asked: Asked, session: Session) -> Response:
    row = asked.number("row")
    session.check_row("items", row)
    return _json(item(session, row))


def _map(asked: Asked, session: Session) -> Response:
    of = asked.of
    session.table(of)
    found = session.maps.get(of)
    if found is None:
        return _json({"progress": session.tasks["map"].to_json()}, 202)
    headers = {"X-Method": found.method, "X-Final": str(int(found.is_final))}
    return Response(found.to_bytes(), media_type=_BYTES, headers=headers)


def _codes(asked: Asked, session: Session) -> Response:
    values, names = codes(session, asked.of, asked.query.get("by", "label"))
    if asked.query.get("names"):
        return _json(names)
    return Response(values.astype("<u2").tobytes(), media_type=_BYTES)


def _groups(asked: Asked, session: Session) -> Response:
    kind, decided = asked.query.get("kind", ""), asked.query.get("decided", "")
    if asked.query.get("outline"):
        return _json(outline(session, kind))
    found = groups(
        session,
        kind,
        offset=asked.number("offset", "0"),
        limit=min(asked.number("limit", "20"), _MAX_GROUPS),
        decided={"yes": True, "no": False}.get(decided),
    )
    return _json(found)


def _decide(asked: Asked, session: Session) -> Response:
    session.refuse_replaced()
    entries = asked.json().get("set")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError("A decision is {set: [{of, row, action}]}.")
    before = session.decisions.decide(entries)
    decisions = session.decisions
    return _json(
        {
            "previous": before,
            "decided": decisions.n_decided,
            "problems": decisions.problems(),
            "kinds": decisions.kinds(),
        }
    )


def _progress(_: Asked, session: Session) -> Response:
    return _json({name: task.to_json() for name, task in session.tasks.items()})


def _command(_: Asked, session: Session) -> Response:
    dataset = session.dataset or "DATASET"
    words = ["datumaro-embed", "apply", str(session.decisions.path), dataset, "-o", "OUT"]
    return _json({"command": shlex.join(words)})


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


def _thumbnail(asked: Asked, session: Session) -> Response:
    of, row = asked.path["of"], asked.path["row"]
    side = asked.number("size", "320")
    if side not in SIDES_PX:
        raise UsageError(f"size is {side}. Choose of {', '.join(map(str, SIDES_PX))}.")
    table = session.check_row(of, row)
    _check_version(asked, session, table.item_row(row))
    make = session.pictures.item if of == "items" else session.pictures.object
    return Response(make(row, side), media_type="image/jpeg", headers=_FOREVER)


def _full(asked: Asked, session: Session) -> Response:
    row = asked.path["row"]
    session.check_row("items", row)
    _check_version(asked, session, row)
    data = session.pictures.item(row, FULL_PX)
    return Response(data, media_type="image/jpeg", headers=_FOREVER)


def _check_version(asked: Asked, session: Session, row: int) -> None:
    """Refuse the URL of another image: the browser keeps pictures by their URL."""
    if asked.path["v"] != version(session.store.content_sha256[row].tobytes()):
        raise UsageError("This address belongs to another picture. Reload the page.")


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text, re.ASCII):
        raise UsageError(f"{text[:20]!r} is not a row.")
    return int(text)
