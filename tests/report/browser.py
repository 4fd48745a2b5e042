"""A headless Chromium driven over its DevTools protocol through two pipes: no port, no driver, no network."""

import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections import deque
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--no-zygote",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
TALL = 12_000  # pixels: all of a page is in the window, so all of it is drawn
PATIENCE = 60  # seconds for one answer, on a machine with other things to do


def installed():
    """The path of a Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """`send` commands and get their answers; events wait in `events` until somebody takes them."""

    def __init__(self, program, profile):
        reading, answers = map(_high, os.pipe())
        commands, self._commands = map(_high, os.pipe())
        self._answers, self._rest, self._count, self._inbox = reading, b"", 0, deque()
        self.events = []
        moved = [(os.POSIX_SPAWN_DUP2, commands, 3), (os.POSIX_SPAWN_DUP2, answers, 4)]
        silence = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
        arguments = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = os.posix_spawn(program, arguments, os.environ, file_actions=moved + silence, setpgroup=0)
        os.close(commands)
        os.close(answers)

    def send(self, method, session=None, **parameters):
        """The result of a command."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        os.write(self._commands, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def _receive(self):
        end = time.monotonic() + PATIENCE
        while not self._inbox:
            if not select.select([self._answers], [], [], max(end - time.monotonic(), 0))[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self._answers, 1 << 20)
            if not part:
                raise RuntimeError("the browser ended")
            *whole, self._rest = (self._rest + part).split(b"\0")
            self._inbox.extend(map(json.loads, whole))
        return self._inbox.popleft()

    def close(self):
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._commands)
        os.close(self._answers)


class Tab:
    """An open page: what it complained about, what it asked for, and what its script says."""

    def __init__(self, browser):
        self._browser = browser
        self._target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.send("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        return self._browser.send(method, self._session, **parameters)

    def look(self, *, width=1280, height=TALL, dark=False, touch=False):
        """Set the size of the window, and light or dark, and wait until the page shows it."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.settle()

    def open(self, path):
        """Load the file and wait until the plots in the window are drawn."""
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.run(
            "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', () => done()))"
        )
        self.settle()

    def settle(self):
        """Wait for two frames: observers and redrawing come before the second."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    def run(self, script):
        """The value of a JavaScript expression, or of what it promises."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", "an error in the page"))
        return answer["result"].get("value")

    def middle(self, element):
        """Where in the window the middle of a JavaScript expression's element is."""
        middle = "(({ x, y, width, height }) => [x + width / 2, y + height / 2])"
        return self.run(f"{middle}({element}.getBoundingClientRect())")

    def click(self, element):
        """Move the mouse onto the middle of a JavaScript expression's element, and click."""
        x, y = self.middle(element)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)
            self.settle()

    def swipe(self, element, pixels):
        """Put a finger onto the middle of a JavaScript expression's element, and move it up."""
        x, y = self.middle(element)
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        for step in range(10):
            points = [{"x": x, "y": y - pixels * (step + 1) / 10}]
            self.send("Input.dispatchTouchEvent", type="touchMove", touchPoints=points)
            self.settle()
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.settle()

    def complaints(self):
        """Errors and warnings on the page's console, thrown ones too."""
        found = []
        for method, values in self._events():
            match method:
                case "Runtime.exceptionThrown":
                    found.append(values["exceptionDetails"]["exception"].get("description"))
                case "Runtime.consoleAPICalled" if values["type"] in ("error", "warning", "assert"):
                    found.append(str(values["args"]))
                case "Log.entryAdded" if values["entry"]["level"] in ("error", "warning"):
                    found.append(values["entry"]["text"])
        return found

    def requests(self):
        """The addresses that the page asked for, other than inline data."""
        asked = (values["request"]["url"] for method, values in self._events() if method == "Network.requestWillBeSent")
        return [address for address in asked if not address.startswith(("data:", "blob:"))]

    def _events(self):
        return [
            (event["method"], event["params"])
            for event in self._browser.events
            if event.get("sessionId") == self._session
        ]

    def close(self):
        self._browser.send("Target.closeTarget", targetId=self._target)


@contextmanager
def running(program):
    """A browser with an empty profile, ended afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        try:
            yield browser
        finally:
            browser.close()


def _high(descriptor):
    """The same file under a number that 3 and 4 cannot collide with, closed in children."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return copy
