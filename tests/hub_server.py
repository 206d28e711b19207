"""A small server on 127.0.0.1 that is shaped like the Hugging Face hub, and can misbehave."""

from __future__ import annotations

import functools
import hashlib
import json
import mmap
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LARGE = (".onnx", ".onnx_data", ".bin", ".safetensors")


class HubServer:
    """Serves folders as repositories, at one commit; a context manager. Also a proxy to itself.

    Parameters
    ----------
    repositories : mapping of str to Path
        ``"org/name"`` → folder.
    faults : mapping of str to str, optional
        File name → ``"cut"`` (the connection ends half-way), ``"cut once"``, ``"corrupt"`` (a
        flipped byte), ``"500"``, ``"stall"``; ``"*"`` → ``"gated"``, ``"html"`` or ``"500"`` for
        the list of files.
    """

    def __init__(self, repositories: dict[str, Path], faults: dict[str, str] | None = None) -> None:
        self.repositories = repositories
        self.faults = dict(faults or {})
        self.requests: list[str] = []
        self.hosts: set[str | None] = set()
        self.commit = COMMIT
        self.tokens: set[str | None] = set()
        self._http = _Server(("127.0.0.1", 0), self)
        self.stalled = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stalled.set()
        self._http.shutdown()
        self._http.server_close()


def listing(repo_id: str, folder: Path) -> dict[str, Any]:
    """Return what the hub's API says of a repository, with its files' digests."""
    siblings = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        size, digest = path.stat().st_size, digest_of(path)
        entry = {"rfilename": path.relative_to(folder).as_posix(), "size": size, "blobId": digest}
        if path.suffix in _LARGE:
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\n"
            entry["blobId"] = git_sha1(f"{pointer}size {size}\n".encode())
            entry["lfs"] = {"sha256": digest, "size": size, "pointerSize": 130}
        siblings.append(entry)
    facts = {"private": False, "downloads": 0, "likes": 0, "tags": [], "gated": False}
    return {"_id": "1", "id": repo_id, "modelId": repo_id, "sha": COMMIT, **facts} | {
        "siblings": siblings
    }


def digest_of(path: Path) -> str:
    """Return a file's digest on the hub: sha256 of a large one, git's sha1 of another.

    It is remembered, as a client does not wait long for an answer, and a file may have gigabytes.
    """
    return _digest(path, path.stat().st_mtime_ns, path.stat().st_size)


@functools.cache
def _digest(path: Path, *_: int) -> str:
    data = contents(path)
    return hashlib.sha256(data).hexdigest() if path.suffix in _LARGE else git_sha1(data)


def contents(path: Path) -> memoryview:
    """Return a file's bytes, mapped, not read."""
    if not path.stat().st_size:
        return memoryview(b"")
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def git_sha1(data: bytes | memoryview) -> str:
    """Return the name that git gives to a file of these bytes."""
    digest = hashlib.sha1(b"blob %d\0" % len(data))
    digest.update(data)
    return digest.hexdigest()


@contextmanager
def clients_of(hub: HubServer, cache: Path) -> Iterator[None]:
    """Point this process's hub client, which reads the environment once, at a server."""
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.url)
        url = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "".join((hub.url, *url[1:])))
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        yield


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], hub: HubServer) -> None:
        super().__init__(address, _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> HubServer:
        assert isinstance(self.server, _Server)
        return self.server.hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        self.hub.tokens.add(self.headers.get("Authorization"))
        self.hub.hosts.add(self.headers.get("Host"))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._list(match[1], match[2])
        elif match := re.fullmatch(r"/((?:[^/]+/)?[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[3], body)
        else:
            self._error(404, "EntryNotFound")

    def _list(self, repo_id: str, revision: str | None) -> None:
        fault = self.hub.faults.get("*")
        if fault == "gated":
            self._error(403, "GatedRepo")
        elif fault == "500":
            self._error(500, "")
        elif fault == "html":
            self._send(200, b"<html>please log in</html>", {"Content-Type": "text/html"})
        elif repo_id not in self.hub.repositories:
            self._error(404, "RepoNotFound")
        elif revision not in {None, "main", self.hub.commit}:
            self._error(404, "RevisionNotFound")
        else:
            facts = listing(repo_id, self.hub.repositories[repo_id]) | {"sha": self.hub.commit}
            self._send(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

    def _file(self, repo_id: str, name: str, body: bool) -> None:
        path = self.hub.repositories[repo_id] / name
        if not path.is_file():
            self._error(404, "EntryNotFound")
            return
        data, etag = contents(path), digest_of(path)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self.hub.commit, "Accept-Ranges": "bytes"}
        if not body:
            headers["Content-Length"] = str(len(data))
            self._send(200, b"", headers)
            return
        self._body(name, data, headers)

    def _body(self, name: str, data: memoryview, headers: dict[str, str]) -> None:
        fault = self.hub.faults.get(name)
        start = 0
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if fault == "500":
            self._error(500, "")
            return
        if fault == "corrupt":
            middle = len(data) // 2
            flipped = bytes([data[middle] ^ 1])
            data = memoryview(bytes(data[:middle]) + flipped + bytes(data[middle + 1 :]))
        data = data[start:]
        headers["Content-Length"] = str(len(data))
        if fault in {"cut", "cut once", "stall"}:
            data = data[: len(data) // 2]
        if fault == "cut once":
            del self.hub.faults[name]
        self._send(206 if start else 200, data, headers)
        if fault == "stall":
            self.hub.stalled.wait(300)
        if fault in {"cut", "cut once"}:
            self.close_connection = True
            self.connection.close()

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, data: bytes | memoryview, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()
