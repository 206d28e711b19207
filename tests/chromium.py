"""Headless Chromium over its DevTools protocol: open a page, look, point, drag, take a picture.

Source: Chrome DevTools Protocol, domains Page, Runtime, Input, Network, Log, Emulation.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

__all__ = ["EXECUTABLE", "Browser", "Page", "open_browser", "open_page"]

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser")

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)
_TIMEOUT_S = 900.0  # of a busy machine


class Page:
    """One tab.

    Attributes
    ----------
    console : list of str
        Everything that scripts logged, and every error of theirs and of the browser's.
    requests : list of str
        Every address asked for.
    """

    def __init__(
        self, address: str, domains: Sequence[str] = ("Page", "Runtime", "Network", "Log")
    ) -> None:
        self._socket = websocket.create_connection(address, timeout=_TIMEOUT_S)
        self._numbers = itertools.count(1)
        self.console: list[str] = []
        self.requests: list[str] = []
        for domain in domains:
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call one method and return its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, facts = message.get("method"), message.get("params", {})
        if method == "Runtime.consoleAPICalled":
            self.console.append(json.dumps(facts["args"]))
        elif method == "Runtime.exceptionThrown":
            self.console.append(json.dumps(facts["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.console.append(facts["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])

    def go(self, url: str, *, width: int = 1400, height: int = 1000, dark: bool = False) -> None:
        """Open an address in a window of this size."""
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window, CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript and return its value."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str, timeout_s: float = _TIMEOUT_S) -> None:
        """Wait until an expression is true; what it names may not be there yet."""
        end = time.monotonic() + timeout_s
        holds = (
            f"(() => {{ try {{ return Boolean({condition}); }} catch (error) {{"
            " if (error instanceof TypeError) return false; throw error; } })()"
        )
        while not self.run(holds):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.05)

    def mouse(self, kind: str, x: float, y: float, *, pressed: bool = False) -> None:
        """Send one event: ``mouseMoved``, ``mousePressed`` or ``mouseReleased``."""
        button = {"button": "left", "clickCount": 1} if pressed else {}
        buttons = {"buttons": 1} if pressed and kind != "mouseReleased" else {}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button, **buttons)

    def wheel(self, x: float, y: float, down_px: float) -> None:
        """Turn the wheel over a place."""
        event = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": down_px}
        self.call("Input.dispatchMouseEvent", **event)

    def drag(self, corners: Sequence[tuple[float, float]]) -> None:
        """Press at the first corner, move over the others, let go at the last."""
        self.mouse("mouseMoved", *corners[0])
        self.mouse("mousePressed", *corners[0], pressed=True)
        for corner in corners[1:]:
            self.mouse("mouseMoved", *corner, pressed=True)
        self.mouse("mouseReleased", *corners[-1], pressed=True)

    def click(self, selector: str) -> None:
        """Click in the middle of the first element that is found."""
        self.wait_for(f"document.querySelector({selector!r})")
        box = self.run(
            f"(() => {{ const e = document.querySelector({selector!r});"
            "e.scrollIntoView({block: 'nearest', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        self.drag([box])

    def write(self, text: str) -> None:
        """Type a text where the focus is."""
        self.call("Input.insertText", text=text)

    def drop(self, path: Path, x: float, y: float) -> None:
        """Drag a file over the page and let it go."""
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def key(self, name: str, *, shift: bool = False) -> None:
        """Press and let go one key."""
        given: dict[str, Any] = {"key": name, "code": name, "modifiers": 8 if shift else 0}
        if name == "Enter":  # what a form, or a button, takes it for
            given |= {"text": "\r", "windowsVirtualKeyCode": 13}
        self.call("Input.dispatchKeyEvent", type="keyDown", **given)
        given.pop("text", None)
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)

    def screenshot(self, path: Path, *, full: bool = False, quality: int | None = None) -> None:
        """Write a picture: PNG, or WebP where a quality is given."""
        kind = {"format": "png"} if quality is None else {"format": "webp", "quality": quality}
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=full, **kind)
        path.write_bytes(b64decode(answer["data"]))

    def close(self) -> None:
        """Let go of the tab."""
        self._socket.close()


class Browser:
    """A browser whose pages share nothing but its process."""

    def __init__(self, port: str, path: str) -> None:
        self._port = port
        self._control = Page(f"ws://127.0.0.1:{port}{path}", domains=())

    @contextmanager
    def page(self) -> Iterator[Page]:
        """Open a tab with a profile of its own, and close it."""
        context = self._control.call("Target.createBrowserContext")
        tab = self._control.call("Target.createTarget", url="about:blank", **context)
        page = Page(f"ws://127.0.0.1:{self._port}/devtools/page/{tab['targetId']}")
        try:
            yield page
        finally:
            page.close()
            self._control.call("Target.disposeBrowserContext", **context)

    def close(self) -> None:
        """Let go of the browser."""
        self._control.close()


@contextmanager
def open_browser(*flags: str) -> Iterator[Browser]:
    """Start a browser, and end it."""
    assert EXECUTABLE
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [EXECUTABLE, *_FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            browser = Browser(*_address(Path(profile), process))
            try:
                yield browser
            finally:
                browser.close()
        finally:
            process.terminate()
            process.wait(timeout=_TIMEOUT_S)


@contextmanager
def open_page(*flags: str) -> Iterator[Page]:
    """Open a page of a browser of its own."""
    with open_browser(*flags) as browser, browser.page() as page:
        yield page


def _address(profile: Path, browser: subprocess.Popen[bytes]) -> list[str]:
    """Port and path of the browser's web socket, which it writes into the profile."""
    port_file = profile / "DevToolsActivePort"
    end = time.monotonic() + _TIMEOUT_S
    while not (port_file.exists() and port_file.read_text().count("\n")):
        assert browser.poll() is None, "Chromium ended by itself"
        assert time.monotonic() < end, "Chromium does not answer"
        time.sleep(0.05)
    return port_file.read_text().split("\n")[:2]
