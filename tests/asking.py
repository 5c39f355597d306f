"""What a client of a page says and hears, whole requests and others."""

import socket
from collections.abc import Iterator
from http.client import HTTPConnection


def ask(address: str, method: str, body: bytes | Iterator[bytes] = b"", **headers) -> tuple[int, str]:
    connection = HTTPConnection(address.split("/")[2], timeout=30)
    connection.request(method, "/", body, headers)
    answer = connection.getresponse()
    page = answer.read().decode()
    connection.close()
    return answer.status, page


def say(address: str, *pieces: bytes) -> socket.socket:
    """Return a connection on which a client has said `pieces`."""
    host, port = address.split("/")[2].split(":")
    client = socket.create_connection((host, int(port)), timeout=30)
    for piece in pieces:
        client.sendall(piece)
    return client


def head(first: str = "POST / HTTP/1.1", **headers: object) -> bytes:
    lines = [first, "Host: localhost", *(f"{name.replace('_', '-')}: {is_}" for name, is_ in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def heard(client: socket.socket) -> str:
    """Return all that the server says until it closes the connection."""
    with client, client.makefile("rb") as answer:
        return answer.read().decode()
