"""Chromium for the tests of a page, driven by its own DevTools protocol over a pipe."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image

CHROMIUM = shutil.which("chromium")


@contextmanager
def browsing(folder: Path) -> Iterator["Tab"]:
    """Run Chromium with its profile in `folder` until the block ends, and give a tab of it."""
    commands, ours = os.pipe()
    answers, theirs = os.pipe()
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-pipe",
        f"--user-data-dir={folder}",
    ]
    connected = f'exec "$0" "$@" 3< /dev/fd/{commands} 4> /dev/fd/{theirs}'  # as that option wants it
    assert CHROMIUM
    process = subprocess.Popen(
        ["sh", "-c", connected, CHROMIUM, *options], pass_fds=(commands, theirs), stderr=subprocess.DEVNULL
    )
    os.close(commands)
    os.close(theirs)
    with open(ours, "wb", buffering=0) as sent, open(answers, "rb") as received:
        yield Tab(sent, received)
    process.wait(timeout=30)  # it ends where the pipe does


class Tab:
    """A tab of the browser, and the errors that it has reported so far."""

    def __init__(self, sent, received) -> None:
        self.sent, self.received, self.session, self.number = sent, received, {}, 0
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters, **self.session}
        self.sent.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def receive(self) -> dict:
        message = b""
        while not message.endswith(b"\0"):
            part = self.received.read1(1)
            assert part, "Chromium has ended"
            message += part
        message = json.loads(message[:-1])
        if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.errors.append(json.dumps(message["params"]))
        return message

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.wait("document.readyState == 'complete' && location.href != 'about:blank'")
        self.errors.clear()

    def run(self, script: str) -> object:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self, condition: str) -> None:
        for _ in range(300):
            if self.run(condition):
                return
            time.sleep(0.1)
        raise AssertionError(f"not so after 30 seconds: {condition}; {self.errors}")

    def choose(self, *files: Path) -> None:
        """Choose `files` with the page's file button."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        button = self.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=button, files=[str(file.absolute()) for file in files])

    def drop(self, *files: Path) -> None:
        """Drop `files` in the middle of the window."""
        data = {"items": [], "files": [str(file.absolute()) for file in files], "dragOperationsMask": 1}
        for event in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=event, x=200, y=200, data=data)

    def screenshot(self) -> Image.Image:
        return Image.open(BytesIO(base64.b64decode(self.call("Page.captureScreenshot")["data"])))
