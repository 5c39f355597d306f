"""A server for one page, that no client can keep from answering the others.

Every request has to be here, as a whole and in memory, by a deadline. Where places or memory run out, the
connection that has waited longest for its client ends: a client that means it is served long before. Neither
Werkzeug's development server nor waitress has a deadline, or a limit to what all bodies take together.
"""

import io
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import flask

PLACES = 128  # connections, each with a thread
SECONDS = 60  # for a request to come, and then for its answer to go: 100 MB through a slow tunnel
GRACE = 0.2  # seconds in which no client's connection ends for want of places
BODIES = 400  # MB, of all requests together
PIECE = 2**16  # bytes


class Ended(Exception):
    """The client has taken too long, or longest of all where its place was needed."""


class Stream(io.RawIOBase):
    """What a client sends until `deadline`, in seconds of the monotonic clock; raises Ended after it."""

    def __init__(self, client: socket.socket, server: "Server") -> None:
        self.client, self.server = client, server
        self.deadline = time.monotonic() + SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            self.client.settimeout(max(self.deadline - time.monotonic(), 1e-3))
            count = self.client.recv_into(buffer)
        except TimeoutError:
            raise Ended from None
        if self.client not in self.server.waiting:
            raise Ended
        return count


class Server(ThreadingMixIn, WSGIServer):
    """A server of `app` at `address`; `largest` is how many bytes a body may have."""

    daemon_threads = True
    request_queue_size = PLACES

    def __init__(self, address: tuple[str, int], app: flask.Flask) -> None:
        self.app, self.largest = app, app.config["MAX_CONTENT_LENGTH"]
        self.change = threading.Condition()
        self.held: dict[socket.socket, int] = {}  # each connection, with the bytes that are here of its body
        # Those that wait for their client, the longest first: how they are ended, and from when on they may be.
        self.waiting: dict[socket.socket, tuple[int, float]] = {}
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.change:
            while len(self.held) >= PLACES:
                self.end_longest()
                self.change.wait(GRACE)
            self.held[request] = 0
            self.waiting[request] = socket.SHUT_RD, time.monotonic() + GRACE
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self.change:
            self.held.pop(request, None)
            self.waiting.pop(request, None)
            self.change.notify_all()

    def hold(self, client: socket.socket, count: int) -> None:
        """Note that `count` more bytes of a body are here, and make room where that is too much."""
        with self.change:
            self.held[client] += count
            while sum(self.held.values()) > BODIES * 10**6 and client in self.waiting:
                if not self.end_longest():
                    self.change.wait(GRACE)

    def end_longest(self) -> bool:
        """End the connection that has waited longest, and return False where none may be ended yet."""
        client, (how, from_when) = next(iter(self.waiting.items()), (None, (0, 0)))
        if client is None or from_when > time.monotonic():
            return False
        del self.waiting[client]
        self.held[client] = 0
        with suppress(OSError):  # it has gone
            client.shutdown(how)
        return True

    @contextmanager
    def working(self, client: socket.socket) -> Iterator[None]:
        """In the block it is not the client that is waited for."""
        with self.change:
            self.waiting.pop(client, None)
        try:
            yield
        finally:
            with self.change:
                self.waiting[client] = socket.SHUT_RDWR, time.monotonic() + GRACE


class Handler(WSGIRequestHandler):
    """One request of one connection, which then closes."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    error_content_type = "text/html; charset=utf-8"
    error_message_format = '<main id="results"><article class="problem"><p>%(explain)s</p></article></main>'
    requestline = request_version = command = ""  # of a request whose first line does not come

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(Stream(self.connection, self.server), PIECE)

    def handle(self) -> None:
        with suppress(OSError):  # the client is gone
            try:
                self.raw_requestline = self.rfile.readline(PIECE + 1)
                if len(self.raw_requestline) > PIECE:
                    self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
                elif self.parse_request() and (body := self.read_body()) is not None:
                    self.answer(body)
            except Ended:
                self.send_error(
                    HTTPStatus.REQUEST_TIMEOUT,
                    explain=f"The request did not come within {SECONDS} s, or others needed its place.",
                )
            self.linger()

    def read_body(self) -> io.BytesIO | None:
        """Return the body, empty where it is larger than the page takes and says so; None after an error is sent."""
        body, length = io.BytesIO(), self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"[0-9]{1,18}", length):
            self.send_error(HTTPStatus.LENGTH_REQUIRED, explain="A request has to say how long it is.")
            return None
        left = int(length)
        if left > self.server.largest:
            return body
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while left:
            piece = self.rfile.read(min(left, PIECE))
            if not piece:
                self.send_error(HTTPStatus.BAD_REQUEST, explain="The request is shorter than it says.")
                return None
            self.server.hold(self.connection, len(piece))
            left -= body.write(piece)
        body.seek(0)
        return body

    def answer(self, body: io.BytesIO) -> None:
        environ = self.get_environ() | {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": body,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        with self.server.working(self.connection):
            response = flask.Response.from_app(self.server.app, environ, buffered=True)
        self.connection.settimeout(SECONDS)
        self.send_response(response.status_code)
        for name, value in response.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.get_data())

    def linger(self) -> None:
        """Read what the client still sends: a browser shows no answer where it cannot send to the end."""
        self.connection.shutdown(socket.SHUT_WR)
        stream, waste = Stream(self.connection, self.server), bytearray(PIECE)
        with suppress(Ended):
            while stream.readinto(waste):
                pass

    def log_message(self, format: str, *args: object) -> None:
        """Write no line a request."""
