"""Headless Chromium, driven over a pipe by the DevTools protocol: no driver to match versions with, no port, no package.

    with Browser() as browser:
        page = browser.open(Path("page.html"))
        assert page.js("document.title") == "..."
        page.click(100, 200)

The protocol is Chromium's own (--remote-debugging-pipe: JSON messages that end in NUL, in on descriptor 3, out on 4).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb",
    "--force-device-scale-factor=1", "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60.0  # seconds for one answer


def find_browser() -> str | None:
    """The path of a Chromium ($GEOC_CHROMIUM, or one that is installed), or None."""
    named = os.environ.get("GEOC_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


class BrowserError(RuntimeError):
    """The browser refused a command, a script raised, or nothing was heard of it."""


class Browser:
    """A browser of its own, with a profile that goes with it."""

    def __init__(self, *flags: str) -> None:
        self._profile = tempfile.mkdtemp(prefix="geoc-browser-")
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        path = find_browser()
        assert path is not None, "no Chromium is installed"
        # The shell puts the pipes where Chromium looks for them, whatever this process has open.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", path, *_FLAGS, *flags,
             f"--user-data-dir={self._profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = ours_in, ours_out
        self._rest = b""
        self._count = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(BrowserError, OSError):
            self.send("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    def send(self, method: str, parameters: dict[str, Any] | None = None, session: str = "") -> dict[str, Any]:
        """One command, and its result. What is heard in between is kept in `events`."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        end = monotonic() + PATIENCE
        while True:
            heard = self._hear(end)
            if heard.get("id") == self._count:
                if "error" in heard:
                    raise BrowserError(f"{method}: {heard['error']['message']}")
                found: dict[str, Any] = heard["result"]
                return found
            self.events.append(heard)

    def wait(self, method: str) -> dict[str, Any]:
        """The next event of a kind; those before it are kept."""
        end = monotonic() + PATIENCE
        while True:
            for place, event in enumerate(self.events):
                if event.get("method") == method:
                    return self.events.pop(place)
            self.events.append(self._hear(end))

    def _hear(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - monotonic()))
            data = os.read(self._in, 1 << 20) if ready else b""
            if not data:
                raise BrowserError("nothing is heard of the browser" if not ready else "the browser is gone")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def open(self, path: Path, fragment: str = "", width: int = 1400, height: int = 900, dark: bool = False) -> Page:
        """A file in a new tab, loaded."""
        target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(self, target, session)
        page.send("Page.enable")
        page.send("Runtime.enable")
        page.send("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.send("Emulation.setEmulatedMedia", {"features": [scheme]})
        page.go(path.resolve().as_uri() + (f"#{fragment}" if fragment else ""))
        return page


class Page:
    """A tab."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self.browser, self._target, self.session = browser, target, session

    def send(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """A command to this tab."""
        return self.browser.send(method, parameters, self.session)

    def go(self, address: str) -> None:
        """Load an address, and wait until that is done."""
        self.browser.events.clear()
        self.send("Page.navigate", {"url": address})
        self.browser.wait("Page.loadEventFired")

    def close(self) -> None:
        """Close the tab. Raises BrowserError for an error that a script of the page left."""
        errors = [e["params"]["exceptionDetails"] for e in self.browser.events if e.get("method") == "Runtime.exceptionThrown"]
        self.browser.send("Target.closeTarget", {"targetId": self._target})
        if errors:
            raise BrowserError(f"the page raised {errors[0].get('exception', {}).get('description', errors[0]['text'])}")

    def js(self, expression: str) -> Any:
        """The value of an expression, as JSON gives it; promises are waited for. Raises BrowserError if it raises."""
        result = self.send("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in result:
            raise BrowserError(result["exceptionDetails"].get("exception", {}).get("description", expression))
        return result["result"].get("value")

    def until(self, expression: str, seconds: float = 20.0) -> Any:
        """Wait until an expression is true; its value. Raises BrowserError when it stays false."""
        end = monotonic() + seconds
        while not (value := self.js(expression)):
            if monotonic() > end:
                raise BrowserError(f"never true: {expression}")
            sleep(0.02)
        return value

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A mouse event: mousePressed, mouseReleased, mouseMoved, mouseWheel."""
        self.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **more})

    def click(self, x: float, y: float, count: int = 1) -> None:
        """Press and release the left button, `count` times in a row."""
        for number in range(1, count + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, x, y, button="left", clickCount=number)

    def click_on(self, selector: str) -> None:
        """Click the middle of the first element that a selector finds."""
        found = json.dumps(selector)
        x, y = self.js(
            f"(() => {{ const e = document.querySelector({found}); e.scrollIntoView({{block: 'nearest'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        self.click(x, y)

    def key(self, key: str) -> None:
        """Press a key, as `KeyboardEvent.key` names it."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        code = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}.get(key, 0)
        self.send("Input.dispatchKeyEvent", {"type": "keyDown", "key": key, "windowsVirtualKeyCode": code, **text})
        self.send("Input.dispatchKeyEvent", {"type": "keyUp", "key": key, "windowsVirtualKeyCode": code})

    def type(self, text: str) -> None:
        """Type text into what has the focus."""
        self.send("Input.insertText", {"text": text})

    def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", {"format": "png"})["data"])
