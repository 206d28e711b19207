"""What stands before every request, and what every answer says.

The server listens on the loopback only, but every page that the browser shows can send requests to
it. The token in the path keeps other pages, and other users of the machine, from addresses that
they do not know; the Host header keeps away names that a foreign DNS server points at 127.0.0.1
(rebinding); the Origin header of a POST keeps away forms of other pages (CSRF).
"""

from __future__ import annotations

from secrets import compare_digest

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

_MAX_JSON_BYTES, _MAX_IMAGE_BYTES = 16 * 2**20, 64 * 2**20
_IMAGE_ROUTE = "/api/image"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_NOTEBOOKS = " http://localhost:* http://127.0.0.1:*"


class Guard:
    """Passes on only what our own page asks; every answer gets the security headers.

    Parameters
    ----------
    token : str
        First part of every path.
    port : int
        That the server listens on.
    framed : bool
        Notebooks on this machine may show the page in a frame.
    """

    def __init__(self, app: ASGIApp, *, token: str, port: int, framed: bool = False) -> None:
        self._app, self._prefix = app, f"/{token}"
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._headers = {
            "Content-Security-Policy": _POLICY + (_NOTEBOOKS if framed else ""),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "cross-origin" if framed else "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if scope["type"] != "http":
            return
        refused = self._refusal(scope)
        app = self._app if refused is None else refused
        scope = dict(scope, root_path=self._prefix)
        await app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if host not in self._hosts:
            return _refused(421, "This server answers only to the address that it printed.")
        start, rest = path[: len(self._prefix)], path[len(self._prefix) :]
        if not (compare_digest(start.encode(), self._prefix.encode()) and rest.startswith("/")):
            return _refused(404, "Open the address that `datumaro-embed explore` printed.")
        if scope["method"] != "POST":
            return None
        if headers.get("origin") != f"http://{host}":
            return _refused(403, "Another page may not change anything here.")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_image = rest == _IMAGE_ROUTE
        expected = kind.startswith("image/") if is_image else kind == "application/json"
        if not expected:
            return _refused(415, f"The content type {kind!r} is not accepted here.")
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return _refused(411, "The request does not say how long it is.")
        limit = _MAX_IMAGE_BYTES if is_image else _MAX_JSON_BYTES
        if int(length) > limit:
            return _refused(413, f"The request has {int(length):,} bytes; the limit is {limit:,}.")
        return None


def _refused(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)
