"""A headless Chromium, driven through its DevTools pipe: no package is needed."""

import base64
import contextlib
import fcntl
import functools
import http.server
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMEOUT_S = 120
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-quic", "--hide-scrollbars"),
    "--disable-dev-shm-usage",
)
_NO_GPU = ("--disable-gpu",)
_SOFTWARE_GPU = (  # WebGPU computed on the processor
    *("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"),
    "--enable-features=Vulkan",
)


def executable() -> str | None:
    """Path of a Chromium or Chrome; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Chrome:
    """A browser; a context manager that ends it.

    Args:
      profile: an empty folder.
      software_gpu: whether WebGPU has an adapter, which computes on the processor;
        else it has none.
    """

    def __init__(self, profile: Path, software_gpu: bool = False):
        self._events: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._count = 0
        self._requests: list[str] = []
        self._errors: list[str] = []
        take, self._send = os.pipe()
        self._take, give = os.pipe()
        flags = (*_FLAGS, *(_SOFTWARE_GPU if software_gpu else _NO_GPU))
        command = [executable(), *flags, f"--user-data-dir={profile}", "about:blank"]
        self._process = _started(command, take, give)
        os.close(take)
        os.close(give)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Chrome":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self.call("Browser.close")
        _ended(self._process)
        os.close(self._send)

    def call(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Calls a method of the DevTools protocol and returns its result."""
        with self._changed:
            self._count += 1
            number = self._count
        self._write(number, method, session, params)
        with self._changed:
            done = self._changed.wait_for(lambda: number in self._answers, TIMEOUT_S)
            if not done:
                raise RuntimeError(f"{method}: no answer within {TIMEOUT_S} s")
            answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _write(self, number, method, session, params):
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._send, data) :]

    def _read(self):
        rest = b""
        while piece := os.read(self._take, 1 << 20):
            *whole, rest = (rest + piece).split(b"\0")
            for text in whole:
                self._receive(json.loads(text))
        os.close(self._take)

    def _receive(self, message):
        with self._changed:
            if "id" in message:
                self._answers[message["id"]] = message
            self._note(message)
            self._changed.notify_all()

    def _note(self, message):
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self._requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                text = details.get("exception", {}).get("description", "")
                self._errors.append(text or details["text"])
            case "Runtime.consoleAPICalled" if params["type"] == "error":
                self._errors.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self._errors.append(params["entry"]["text"])
            case "Target.attachedToTarget":
                # Workers: what they load and say counts as the page's.
                for method in ("Network.enable", "Runtime.enable", "Log.enable"):
                    self._count += 1
                    self._write(self._count, method, params["sessionId"], {})

    def open(self, url: str, **screen: Any) -> "Page":
        """Opens a page in a new tab; `screen` as of `Page.resize`."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, session["sessionId"])
        self._requests.clear()
        self._errors.clear()
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            page.call(f"{domain}.enable")
        page.call(
            "Target.setAutoAttach",
            autoAttach=True,
            waitForDebuggerOnStart=False,
            flatten=True,
        )
        page.resize(**screen)
        page.call("Page.navigate", url=url)
        return page

    @property
    def requests(self) -> list[str]:
        """Addresses that were asked for since the last page was opened."""
        return list(self._requests)

    @property
    def errors(self) -> list[str]:
        """Errors of the console since then, also those of the security policy."""
        return list(self._errors)

    def forget_errors(self) -> None:
        """Forgets the errors so far."""
        self._errors.clear()


def _started(command: list[str], take: int, give: int) -> int:
    """Starts a program that reads commands at descriptor 3 and answers at 4."""
    # Out of the way of 3 and 4, which are replaced.
    high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 10) for one in (take, give)]
    actions = [(os.POSIX_SPAWN_DUP2, one, to) for to, one in enumerate(high, 3)]
    for stream in (1, 2):
        actions.append((os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0))
    try:
        return os.posix_spawn(command[0], command, os.environ, file_actions=actions)
    finally:
        for one in high:
            os.close(one)


def _ended(process: int, timeout_s: float = 10.0) -> None:
    """Waits for a process, and kills it after a while."""
    end = time.monotonic() + timeout_s
    while os.waitpid(process, os.WNOHANG)[0] == 0:
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return
        time.sleep(0.02)


class Page:
    """A tab; see `Chrome.open`."""

    def __init__(self, chrome: Chrome, session: str):
        self._chrome, self._session = chrome, session

    def call(self, method: str, **params: Any) -> Any:
        """Calls a method of the DevTools protocol for this tab."""
        return self._chrome.call(method, self._session, **params)

    def resize(self, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Size of the window in CSS pixels, a phone's below 600, and its colors."""
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression, or of the promise that it is."""
        found = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details))
        return found["result"].get("value")

    def wait(self, expression: str, timeout_s: float = TIMEOUT_S) -> Any:
        """Waits until an expression is true, and returns its value."""
        end = time.monotonic() + timeout_s
        while not (value := self.run(expression)):
            if time.monotonic() > end:
                text = self.run("document.body.innerText")
                raise TimeoutError(f"{expression} is not true: {text}")
            time.sleep(0.05)
        return value

    def text(self, selector: str) -> str:
        """The text of an element, as it is shown."""
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def choose(self, selector: str, *files: Path) -> None:
        """Chooses files in an input, as its dialog does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)
        names = [os.fspath(path) for path in files]
        self.call("DOM.setFileInputFiles", files=names, nodeId=node["nodeId"])

    def drop(self, *files: Path) -> None:
        """Drags files into the middle of the window and drops them."""
        names = [os.fspath(path) for path in files]
        data = {"items": [], "files": names, "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)

    def press(self, key: str, code: int) -> None:
        """Presses and releases a key; `code` is its number on Windows."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="rawKeyDown", **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def picture(self, path: Path, whole: bool = True) -> None:
        """Saves a screenshot as PNG, of the whole page or of the window."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))


class _Handler(http.server.SimpleHTTPRequestHandler):
    isolated = False

    def end_headers(self):
        if self.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder: Path, isolated: bool = False) -> Iterator[str]:
    """Serves a folder and gives its address.

    Args:
      folder: to serve.
      isolated: whether with the headers that allow threads.
    """
    kind = type("Handler", (_Handler,), {"isolated": isolated})
    handler = functools.partial(kind, directory=os.fspath(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
