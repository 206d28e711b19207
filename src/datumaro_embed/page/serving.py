"""`explore`: the server of one session, in a thread, on the loopback alone."""

from __future__ import annotations

import html
import os
import secrets
import socket
import threading
import webbrowser
from pathlib import Path

import uvicorn

from ..errors import UsageError
from ..store import EmbeddingStore
from .app import make_app
from .guard import Guard
from .session import Session

__all__ = ["Explorer", "explore"]

_HOST = "127.0.0.1"
_GRACE_S = 2


class Explorer:
    """A running explorer; a context manager. In a notebook it shows itself.

    Attributes
    ----------
    url : str
        Its address, with the token without which it answers nothing.
    findings : Path
        Where decisions are saved.
    read_only : str
        Why decisions cannot be saved; empty where they can.
    """

    def __init__(self, session: Session, port: int, *, framed: bool = False) -> None:
        self._session, self.findings = session, session.decisions.path
        self._socket = listening_at(port)
        port = self._socket.getsockname()[1]
        token = secrets.token_urlsafe(16)
        self.url = f"http://{_HOST}:{port}/{token}/"
        self.read_only = session.decisions.read_only
        app = Guard(make_app(session), token=token, port=port, framed=framed)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        session.start()
        self._thread.start()

    def wait(self) -> None:
        """Return when the explorer is stopped, or raise what a signal raises."""
        while self._thread.is_alive():
            self._thread.join(timeout=0.5)

    def stop(self) -> None:
        """End the server; every decision is on disk already."""
        self._server.should_exit = True
        self._thread.join(timeout=10 * _GRACE_S)  # it closes the socket
        self._session.close()

    def __enter__(self) -> Explorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Explorer at {self.url}>"

    def _repr_html_(self) -> str:
        url = html.escape(self.url, quote=True)
        return f'<iframe src="{url}" width="100%" height="800" style="border:0"></iframe>'


def explore(
    store: EmbeddingStore | str | os.PathLike[str],
    *,
    findings: str | os.PathLike[str] | None = None,
    media_root: str | os.PathLike[str] | None = None,
    port: int = 0,
    browser: bool = False,
    framed: bool = True,
) -> Explorer:
    """Serve a page to view and search a store, and to decide on its findings.

    Parameters
    ----------
    store : EmbeddingStore or path
    findings : path, optional
        Findings file, where decisions are saved; ``STORE.findings.csv`` unless given. Where it is
        missing, an audit makes it in the background.
    media_root : path, optional
        Folder of the images, if it has moved.
    port : int
        Of 127.0.0.1; 0 is any that is free.
    browser : bool
        Open the page in the browser.
    framed : bool
        A page of this machine, such as a notebook, may show it in a frame.

    Returns
    -------
    Explorer
        Runs in threads of this process until its `stop`.

    Raises
    ------
    UsageError
        The port is taken; the findings are of another store; no such folder.
    StoreError
        The store cannot be read.
    """
    path = Path(store.path if isinstance(store, EmbeddingStore) else store)
    session = Session(
        path,
        findings=None if findings is None else Path(findings),
        media_root=None if media_root is None else Path(media_root),
    )
    try:
        explorer = Explorer(session, port, framed=framed)
    except BaseException:
        session.close()
        raise
    if browser:
        webbrowser.open(explorer.url)
    return explorer


def listening_at(port: int) -> socket.socket:
    """Listen at a port of 127.0.0.1, any if it is 0; raises `UsageError`."""
    if not 0 <= port <= 65_535:
        raise UsageError(f"``port`` must be from 0 to 65535 (0: a free port), not {port}.")
    listening = socket.socket(proto=socket.IPPROTO_TCP)  # else asyncio leaves Nagle's delay on
    if os.name == "posix":  # else a port that another program has would be shared
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, port))
        listening.listen()  # who asks before the server runs is answered then
    except OSError as error:
        listening.close()
        raise UsageError(
            f"Port {port} cannot be used ({error.strerror}). Choose another ``port``, or leave it "
            "out for a free one."
        ) from error
    return listening
