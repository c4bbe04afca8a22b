"""Requests that no HTTP library sends, as bytes over a socket: each is answered or refused, and none is a 500."""

import re
import socket
import time
from contextlib import suppress
from itertools import product

import pytest

from tests.served import Served

_VALUES = (
    b"", b" ", b"\t", b"x", b"*", b"-1", b"0", b"9" * 400, b"1e999", b"NaN", b"null", b"\xff\xfe", b"\xc3\x28",
    b"\xed\xa0\x80", b"%00", b"%", b"../../etc/passwd", b"'", b'"', b"a" * 8000, b",,,;;;===", b"bytes=0-",
    b"bytes=-", b"bytes=9-1,2-", b"bytes=" + b"0-1," * 900, b'W/"', b'"' * 3000, b"http://[::1",
    b"http://user:pw@host:99999/", b"for=\"[::1]:x\";proto=ftp", b"Bearer", b"Bearer ", b"Bearer \xff",
    b"Basic eDp5", b"gzip;q=2,*;q=-1", b"100-continue", b"200-ok", b"chunked, chunked",
)  # fmt: skip
_HEADERS = (
    b"Host Origin Forwarded X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host Range If-Range If-None-Match Accept TE "
    b"If-Modified-Since Accept-Encoding Expect Authorization PRIVATE-TOKEN Idempotency-Key Last-Event-ID X-Request-ID "
    b"Via Cookie Upgrade Content-Type Content-Length Transfer-Encoding Content-Encoding Connection "
    b"Date X-HTTP-Method-Override"
).split()
_TARGETS = (
    b"*", b"//", b"/%00", b"/v1/forecast/%00", b"/v1/forecast/%ff%fe", b"/v1/forecast/%2e%2e/%2e%2e",
    b"/v1/models/%00", b"/v1/models/..%2f..%2fetc", b"/v1/forecast?before=%00",
    b"/v1/forecast?limit=" + b"9" * 5000, b"/v1/forecast?status=%ED%A0%80", b"/v1/forecast?" + b"a=1&" * 2000,
    b"/v1/forecast?%ff=%fe", b"/v1/forecast?=&=&&;", b"http://other.example/v1/models", b"localhost:80",
    b"/v1/forecast/" + b"a" * 9000, b"/docs/%00", b"/docs/..%2f..", b"/v1/models?model=%F0%9F%98%80",
    b"/v1/forecast/fc_none/ensemble.zarr/%00", b"/v1/forecast/fc_none/plots/maps.png?bbox=%00&lead_time=%00",
    b"/v1/forecast/fc_none/plots/maps.png?lead_time=" + b"9" * 300 + b"h", b"/inspect?model=%00",
    b"/v1/inspect?init_time=%00",
)  # fmt: skip
_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"get", b"X" * 300)


def _send(served: Served, request: bytes) -> bytes:
    """Send bytes and return the response until the connection closes or it is complete."""
    host, port = served.url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), 10) as client:
        client.sendall(request)
        client.settimeout(5)
        try:
            while part := client.recv(65536):
                received += part
                if _is_whole(received, is_head=request.startswith(b"HEAD")):
                    break
        except ConnectionResetError:
            pass
    return received


def _is_whole(received: bytes, *, is_head: bool) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    size = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(end) and (is_head or b" 304 " in head or (size is not None and len(body) >= int(size[1])))


def _check(served: Served, request: bytes) -> None:
    answer = _send(served, request)
    status = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    assert status is not None, (request[:300], answer[:300])
    assert int(status[1]) < 500, (request[:300], answer[:1000])
    for secret in (str(served.data).encode(), b"Traceback", b"sqlite"):
        assert secret not in answer, request[:300]


@pytest.mark.parametrize("header", _HEADERS)
def test_no_header_is_a_fault_of_the_service(served: Served, header: bytes) -> None:
    host = b"" if header == b"Host" else b"Host: localhost\r\n"
    for value in _VALUES:
        request = b"GET /v1/forecast/fc_none HTTP/1.1\r\n" + host + header + b": " + value
        _check(served, request + b"\r\nConnection: close\r\n\r\n")


def test_no_path_query_or_method_is_a_fault_of_the_service(served: Served) -> None:
    for method, target in product(_METHODS, _TARGETS):
        body = b"Content-Type: application/json\r\nContent-Length: 2\r\n" if method in (b"POST", b"PUT") else b""
        end = b"Host: localhost\r\nConnection: close\r\n" + body + b"\r\n" + (b"{}" if body else b"")
        _check(served, method + b" " + target + b" HTTP/1.1\r\n" + end)
    exported = served.client.get("/metrics").text
    methods = set(re.findall(r'warmcast_http_request_seconds_count\{[^}]*method="([^"]*)"', exported))
    assert methods <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}
    assert exported.count("\n") < 4000


def test_a_refusal_precedes_100_continue(served: Served) -> None:
    for path, size, status in ((b"/v1/forecast", b"900000000", b"413"), (b"/v1/nothing", b"5", b"404")):
        head = (
            b"POST "
            + path
            + b" HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n"
        )
        answer = _send(served, head + b"Content-Length: " + size + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 " + status), answer
        assert b"connection: close" in answer.lower()


def test_a_large_body_that_is_refused_is_not_received(served: Served) -> None:
    request = b"PUT /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n"
    host, port = served.url.removeprefix("http://").split(":")
    sent, began = 0, time.monotonic()
    with socket.create_connection((host, int(port)), 10) as client, suppress(ConnectionError, TimeoutError):
        client.sendall(request)
        while sent < 100_000_000:
            sent += client.send(b"x" * 65536)
    assert sent < 50_000_000
    assert time.monotonic() - began < 10
