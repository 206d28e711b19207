"""A client of `datumaro-embed explore`: plain HTTP, nothing normalised on the way."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPResponse
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from PIL import Image

__all__ = ["Client", "large_png", "wait_for"]

TIMEOUT_S = 900.0  # of a busy machine, where audits and UMAPs come last (`nice`)


class Client:
    """Asks the explorer at an address, as a browser that has the page open does."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.port is not None
        self.port, self.base = parts.port, parts.path
        self.host = parts.netloc

    def request(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[HTTPResponse, bytes]:
        """Send a request as it is: the path is the whole one, Host among the headers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            sent = {"Host": self.host} | dict(headers or {})
            if body is not None:
                sent.setdefault("Content-Length", str(len(body)))
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def get(self, path: str, status: int = 200, **query: Any) -> bytes:
        """Get the bytes at a path below the token."""
        search = f"?{urlencode(query, doseq=True)}" if query else ""
        response, body = self.request(f"{self.base}{path}{search}")
        assert response.status == status, (response.status, body[:500])
        return body

    def json(self, path: str, status: int = 200, **query: Any) -> Any:
        """Get JSON."""
        return json.loads(self.get(path, status, **query))

    def rows(self, **query: Any) -> list[int]:
        """Rows in order."""
        return self.scored(**query)[0]

    def scored(self, **query: Any) -> tuple[list[int], list[float]]:
        """Rows in order, and their cosines where there are any."""
        search = urlencode(query, doseq=True)
        response, body = self.request(f"{self.base}api/rows?{search}")
        assert response.status == 200, body
        count = int(response.headers["X-Count"])
        cosines = np.frombuffer(body[4 * count :], "<f4").tolist()
        assert bool(cosines) == (response.headers["X-Scored"] == "1" and count > 0)
        return np.frombuffer(body[: 4 * count], "<i4").tolist(), cosines

    def picture(self, path: str, **query: Any) -> Image.Image:
        """Get a picture."""
        return Image.open(BytesIO(self.get(path, **query)))

    def post(self, path: str, content: Any, status: int = 200, **headers: str) -> Any:
        """Post JSON, or the bytes of an image, as our own page does."""
        is_image = isinstance(content, bytes)
        body = content if is_image else json.dumps(content).encode()
        kind = "image/jpeg" if is_image else "application/json"
        sent = {"Origin": f"http://{self.host}", "Content-Type": kind} | headers
        response, answer = self.request(
            f"{self.base}{path}", method="POST", body=body, headers=sent
        )
        assert response.status == status, (response.status, answer[:500])
        return json.loads(answer)

    def decide(self, *entries: dict[str, Any], status: int = 200) -> Any:
        """Post decisions."""
        return self.post("api/decide", {"set": entries}, status)

    def wait_for_task(self, name: str) -> dict[str, Any]:
        """Wait until something in the background is done, or has failed."""
        found: dict[str, Any] = {}

        def has_ended() -> bool:
            found.update(self.json("api/progress")[name])
            return found["state"] in ("done", "failed")

        wait_for(has_ended)
        return found


def wait_for(condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    """Wait until something is true."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.02)


def large_png(path: Path, width: int = 20_000, height: int = 10_000) -> None:
    """Write 200 megapixels in some kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    packed = zlib.compress(bytes((1 + width // 8) * height))
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
