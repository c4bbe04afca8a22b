"""HTTP clients on bare sockets, which take next to no time from the server that they measure."""

import selectors
import socket
from collections.abc import Sequence

_END = b"\r\n\r\n"
_OK = (b"200", b"304")


def poll(port: int, path: str, headers: Sequence[str], clients: int, polls: int) -> None:
    """Send `polls` requests to a port of this machine, each when the same client's last one is answered.

    Raises `AssertionError` if a response has another status than 200 or 304.
    """
    request = _request(port, path, headers)
    remaining, unsent = polls, polls
    received: dict[socket.socket, bytes] = {}
    with selectors.DefaultSelector() as selector:
        for _ in range(min(clients, polls)):
            client = _connect(port)
            selector.register(client, selectors.EVENT_READ)
            received[client] = b""
            client.send(request)
            unsent -= 1
        while remaining:
            for key, _ in selector.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                received[ready] += ready.recv(65536)
                if _is_complete(received[ready]):
                    received[ready] = b""
                    remaining -= 1
                    if unsent:
                        ready.send(request)
                        unsent -= 1
    for client in received:
        client.close()


def request_once(port: int, path: str, *headers: str) -> dict[str, str]:
    """Send one request and return the headers of its response, whose names are in small letters."""
    received = b""
    with _connect(port) as client:
        client.send(_request(port, path, headers))
        while not _is_complete(received):
            received += client.recv(65536)
    lines = received.partition(_END)[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _request(port: int, path: str, headers: Sequence[str]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers]
    return "\r\n".join(lines).encode() + _END


def _connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _is_complete(received: bytes) -> bool:
    """Return whether a response is complete; it must give its length, unless it is a 304."""
    head, end, body = received.partition(_END)
    if not end:
        return False
    status = head[9:12]
    assert status in _OK, received
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return status == b"304" or len(body) >= int(lengths[0].partition(b":")[2])
