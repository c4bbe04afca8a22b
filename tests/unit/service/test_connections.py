import asyncio
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any, cast

import pytest
import uvicorn

from service import connections
from service.connections import Connections, allow_connections
from tests.helpers import wait_until

Connect = Callable[[], socket.socket]

_MAXIMUM = 8
_BODY = b"x" * 10_000_000
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    """Respond at once; to `/slow` after the body of the request, to `/large` with 10 MB."""
    if scope["path"] == "/slow":
        while (await receive()).get("more_body"):
            pass
    body = _BODY if scope["path"] == "/large" else b"done"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Open connections to a server with short limits of time and few connections."""
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(connections, "SEND_SECONDS", 0.5)
    protocol = cast(type[asyncio.Protocol], Connections(_MAXIMUM).open)
    config = uvicorn.Config(_answer, http=protocol, lifespan="off", log_level="error", timeout_keep_alive=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as opened:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        wait_until(lambda: server.started, 10)
        yield lambda: opened.enter_context(closing(socket.create_connection(listener.getsockname(), 10)))
        server.should_exit = True
        opened.close()
        thread.join()


def _seconds_until_closed(client: socket.socket) -> float:
    """Return the seconds until the server closes a connection; raises `TimeoutError` after 10 s."""
    began = time.monotonic()
    _received_bytes(client)
    return time.monotonic() - began


def _received_bytes(client: socket.socket) -> int:
    """Return the number of bytes that the server sends until it closes a connection."""
    received = 0
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            received += len(part)
    return received


def _is_answered(client: socket.socket, request: bytes = _REQUEST, times: int = 1) -> bool:
    """Return whether a request is answered, or the server has closed the connection."""
    received = b""
    try:
        client.sendall(request)
        while received.count(b"done") < times:
            received += (part := client.recv(65536))
            if not part:
                return False
    except (ConnectionResetError, BrokenPipeError):
        return False
    return received.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("beginning", [b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_connection_without_complete_headers_is_closed(connect: Connect, beginning: bytes) -> None:
    client = connect()
    client.sendall(beginning)
    assert 0.1 < _seconds_until_closed(client) < 5


@pytest.mark.parametrize("has_request", [False, True])
def test_headers_that_arrive_byte_by_byte_have_no_more_time(connect: Connect, has_request: bool) -> None:
    client = connect()
    if has_request:
        assert _is_answered(client)
    began = time.monotonic()
    with suppress(ConnectionResetError, BrokenPipeError):
        for byte in _REQUEST * 10:
            client.sendall(bytes([byte]))
            time.sleep(0.05)
    assert time.monotonic() - began < 5


def test_a_connection_without_a_further_request_is_closed(connect: Connect) -> None:
    client = connect()
    assert _is_answered(client)
    assert 0.5 < _seconds_until_closed(client) < 5


def test_a_request_whose_body_is_slow_is_not_cut_off_by_the_limit_of_its_headers(connect: Connect) -> None:
    client = connect()
    client.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
    time.sleep(0.8)
    assert _is_answered(client, b"x")


def test_requests_are_answered_one_after_another_and_in_advance(connect: Connect) -> None:
    client = connect()
    assert all(_is_answered(client) for _ in range(3))
    assert _is_answered(client, _REQUEST * 5, times=5)
    assert _is_answered(client)


def test_a_client_that_does_not_receive_its_response_is_cut_off(connect: Connect) -> None:
    client = connect()
    client.sendall(_REQUEST.replace(b"/", b"/large", 1))
    time.sleep(2)
    assert _received_bytes(client) < len(_BODY)


def test_a_client_that_receives_slowly_gets_the_whole_response(connect: Connect) -> None:
    client = connect()
    client.sendall(_REQUEST.replace(b"/", b"/large", 1))
    received = 0
    while part := client.recv(1_000_000):
        received += len(part)
        time.sleep(0.05)
    assert received >= len(_BODY)


def test_idle_connections_give_way_to_new_ones_and_busy_ones_do_not(connect: Connect) -> None:
    busy = connect()
    busy.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert busy.recv(65536).startswith(b"HTTP/1.1 100 ")  # the server has the headers
    idle = [connect() for _ in range(3 * _MAXIMUM)]
    started = [connect() for _ in range(_MAXIMUM)]
    for client in started:
        client.sendall(b"GET")
    assert all(_seconds_until_closed(client) < 0.4 for client in idle[:_MAXIMUM])
    assert _is_answered(connect())
    assert _is_answered(busy, b"x")


def test_a_connection_is_refused_while_all_are_busy(connect: Connect) -> None:
    busy = [connect() for _ in range(_MAXIMUM)]
    for client in busy:
        client.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
    time.sleep(0.3)
    refused = connect()
    assert not _is_answered(refused)
    assert all(_is_answered(client, b"x") for client in busy)
    assert _is_answered(connect())


def test_the_number_of_connections_fits_into_the_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"now": (1024, 1_048_576)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, value: limits.update(now=value))
    assert allow_connections() == 4000
    assert limits["now"] == (4256, 1_048_576)
    for soft, hard, expected in ((1024, 1024, 768), (256, 256, 128), (1024, 2000, 1744), (-1, -1, 4000)):
        limits["now"] = (soft, hard)
        assert allow_connections() == expected
        assert limits["now"][0] in (hard, 4256)
