import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from hypothesis import given, settings
from hypothesis.strategies import integers, lists
from starlette.middleware.exceptions import ExceptionMiddleware

from service import middleware
from service.metrics import Metrics
from service.middleware import MAX_JSON_BYTES, BodyLimit, RequestGuard, RequestMetrics
from service.problems import QUEUE_FULL, ServiceError, add_handlers

MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


def _app() -> FastAPI:
    """Return an application with a route that returns the length of its body, and one that returns a chunk."""
    app = FastAPI()
    add_handlers(app)

    @app.post("/length")
    @app.post("/v1/inspect")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.get("/v1/forecast/{forecast_id}/ensemble.zarr/{key}")
    async def chunk() -> Response:
        return Response(b"chunk")

    return app


def _request(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    return asyncio.run(request())


def _limited(max_upload_bytes: int = 10) -> FastAPI:
    app = _app()
    app.add_middleware(BodyLimit, max_upload_bytes=max_upload_bytes)
    return app


async def _chunks(sizes: tuple[int, ...]) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


@pytest.mark.parametrize(("sizes", "status"), [((10,), 200), ((4, 6), 200), ((11,), 413), ((6, 6), 413)])
@pytest.mark.parametrize("is_declared", [True, False])
def test_an_upload_may_have_as_many_bytes_as_the_setting(
    sizes: tuple[int, ...], status: int, is_declared: bool
) -> None:
    content = b"x" * sum(sizes) if is_declared else _chunks(sizes)
    response = _request(_limited(), "POST", "/v1/inspect", content=content, headers=MULTIPART)
    assert response.status_code == status
    if status == 200:
        assert response.json() == 10
    else:
        assert response.json()["type"] == "/problems/too-large"
        assert "at most 10 bytes" in response.json()["detail"]
        assert [error["pointer"] for error in response.json()["errors"]] == [""]


@pytest.mark.parametrize("size", [MAX_JSON_BYTES, MAX_JSON_BYTES + 1])
@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/length", {"Content-Type": "application/json"}),
        ("/length", MULTIPART),
        ("/v1/inspect", {"Content-Type": "application/json"}),
        ("/v1/inspect", {"Content-Type": "application/json; a=multipart/form-data"}),
        ("/v1/inspect", {"Content-Type": "multipart/form-data-2"}),
        ("/v1/inspect", {}),
    ],
)
def test_a_body_that_is_no_upload_may_have_100_kilobytes(
    path: str, headers: dict[str, str], is_declared: bool, size: int
) -> None:
    content = b"x" * size if is_declared else _chunks((size - 1, 1))
    response = _request(_limited(10**9), "POST", path, content=content, headers=headers)
    assert response.status_code == (200 if size == MAX_JSON_BYTES else 413)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 200),
        ("POST", {"Origin": "http://localhost"}, 200),
        ("POST", {"Origin": "https://example.org"}, 403),
        ("POST", {"Host": "attacker.example"}, 421),
        ("POST", {"Host": "warmcast.example", "Origin": "https://warmcast.example"}, 200),
        ("GET", {"Origin": "https://example.org"}, 200),
        ("GET", {"Host": "attacker.example"}, 421),
    ],
)
def test_only_pages_of_the_service_may_write_and_only_known_hosts_are_served(
    method: str, headers: dict[str, str], status: int
) -> None:
    app = _guarded(public_url="https://warmcast.example/weather")
    path = "/length" if method == "POST" else "/v1/forecast/1/ensemble.zarr/zarr.json"
    assert _request(app, method, path, headers=headers).status_code == status


def test_beyond_loopback_any_host_is_served() -> None:
    app = _guarded(only_loopback=False)
    assert _request(app, "POST", "/length", headers={"Host": "warmcast.example"}).status_code == 200


def test_requests_are_counted_by_route_and_bytes_of_stores_are_summed() -> None:
    app, metrics = _app(), Metrics()
    app.add_middleware(RequestMetrics, metrics=metrics)
    for path in ("/v1/forecast/1/ensemble.zarr/a", "/v1/forecast/2/ensemble.zarr/b", "/nothing"):
        _request(app, "GET", path)
    _request(app, "POST", "/length", content=b"abc")

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    count = "warmcast_http_request_seconds_count"
    assert value(count, route="/forecast/{forecast_id}/ensemble.zarr/{key}", method="GET", code="200") == 2
    assert value(count, route="none", method="GET", code="404") == 1
    assert value(count, route="/length", method="POST", code="200") == 1
    assert value("warmcast_chunk_bytes_sent_total") == 2 * len(b"chunk")


def _exchange(
    app: FastAPI,
    method: str,
    headers: dict[str, str],
    path: str,
    parts: Sequence[bytes] = (),
    *,
    seconds: float = 0.0,
    has_end: bool = True,
    query: str = "",
) -> tuple[int, int]:
    """Send a request that HTTP clients would not send; return the status, and how many parts of its body were received.

    Each part takes `seconds`; without `has_end` no part is the last one, and after them nothing arrives.
    """
    sent: list[Any] = []
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        if not waiting and not has_end:
            await asyncio.sleep(60)
        await asyncio.sleep(seconds)
        part = waiting.pop(0) if waiting else b""
        return {"type": "http.request", "body": part, "more_body": bool(waiting) or not has_end}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": method, "path": path}
    scope["query_string"] = query.encode()
    scope["headers"] = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    asyncio.run(app(scope, receive, send))
    return int(sent[0]["status"]), len(parts) - len(waiting)


def _status(app: FastAPI, method: str, headers: dict[str, str], path: str = "/length") -> int:
    return _exchange(app, method, headers, path)[0]


def _guarded(*, only_loopback: bool = True, public_url: str | None = None) -> FastAPI:
    app = _app()
    app.add_middleware(RequestGuard, only_loopback=only_loopback, public_url=public_url)
    handlers = {kind: handler for kind, handler in app.exception_handlers.items() if kind is not Exception}
    app.add_middleware(ExceptionMiddleware, handlers=handlers)
    return app


@pytest.mark.parametrize("size", [9, 10, 11, 10**6, 10**30])
def test_a_body_is_refused_by_its_declared_length_before_any_of_it_is_received(size: int) -> None:
    headers = {"Content-Length": str(size), **MULTIPART}
    status, received = _exchange(_limited(), "POST", headers, "/v1/inspect", [b"x" * 20])
    assert (status, received) == ((413, 1) if size <= 10 or size > 10**20 else (413, 0))


def test_the_connection_closes_after_a_response_that_leaves_a_body_unread() -> None:
    app = _limited()
    refused = _request(app, "POST", "/v1/inspect", content=b"x" * 11, headers=MULTIPART)
    assert refused.headers["connection"] == "close"
    assert "Got: 11." in refused.json()["detail"]
    assert "connection" not in _request(app, "POST", "/v1/inspect", content=b"x").headers
    assert "connection" not in _request(app, "GET", "/nothing").headers
    for method, path in (("POST", "/nothing"), ("PUT", "/length"), ("GET", "/v1/forecast/1/ensemble.zarr/zarr.json")):
        assert _request(app, method, path, content=b"x").headers["connection"] == "close", path
        assert _request(app, method, path, content=_chunks((1,))).headers["connection"] == "close", path


@pytest.mark.parametrize("declared", ["-1", "0x20", "+20", "many", "", "9" * 5000])
def test_a_length_that_is_not_a_number_is_ignored(declared: str) -> None:
    status, _ = _exchange(_limited(), "POST", {"Content-Length": declared}, "/v1/inspect", [b"x" * 10])
    assert status == 200


def test_a_declared_length_below_the_real_one_does_not_pass_the_limit() -> None:
    headers = {"Content-Length": "3", **MULTIPART}
    refused = _request(_limited(), "POST", "/v1/inspect", content=_chunks((6, 6)), headers=headers)
    assert refused.status_code == 413


@given(sizes=lists(integers(0, 8), max_size=8))
@settings(max_examples=30)
def test_the_limit_is_on_the_sum_of_the_chunks(sizes: list[int]) -> None:
    response = _request(_limited(), "POST", "/v1/inspect", content=_chunks(tuple(sizes)), headers=MULTIPART)
    assert response.status_code == (200 if sum(sizes) <= 10 else 413)


@pytest.mark.parametrize("parts", [[], [b"x"] * 4])
def test_a_body_that_arrives_too_slowly_is_refused(parts: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "_BODY_SECONDS", 0.05)
    status, received = _exchange(
        _limited(), "POST", {"Content-Length": "9"}, "/v1/inspect", parts, seconds=0.02, has_end=False
    )
    assert status == 408
    assert received <= 4


def test_a_large_body_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "_BODY_SECONDS", 0.25)
    monkeypatch.setattr(middleware, "_BODY_BYTES_PER_SECOND", 0.001)
    status, received = _exchange(_limited(), "POST", {"Content-Length": "4"}, "/v1/inspect", [b"x"] * 4, seconds=0.1)
    assert (status, received) == (200, 4)


@pytest.mark.parametrize("name", ["body", "metrics", "guard"])
@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_messages_other_than_http_requests_pass_unchanged(name: str, kind: str) -> None:
    calls: list[tuple[Any, ...]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        calls.append((scope, receive, send))

    wrapped = {
        "body": BodyLimit(inner, max_upload_bytes=1),
        "metrics": RequestMetrics(inner, Metrics()),
        "guard": RequestGuard(inner, only_loopback=True, public_url=None),
    }[name]
    scope, receive, send = {"type": kind}, object(), object()
    asyncio.run(wrapped(scope, receive, send))
    assert [tuple(map(id, call)) for call in calls] == [(id(scope), id(receive), id(send))]


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:80", True),
        ("[::1]", True),
        ("[::1]:8000", True),
        ("", False),
        ("127.0.0.2", False),
        ("localhost.", False),
        ("localhost.example", False),
        ("notlocalhost", False),
        ("[::1", False),
        ("[localhost]", False),
        ("[::2]", False),
    ],
)
def test_on_loopback_only_names_of_this_machine_are_served_and_malformed_ones_refused(
    host: str, is_served: bool
) -> None:
    assert _status(_guarded(), "GET", {"Host": host}, "/nothing") == (404 if is_served else 421)


def test_a_request_without_a_host_is_refused_on_loopback_only() -> None:
    assert _status(_guarded(), "GET", {}, "/nothing") == 421
    assert _status(_guarded(only_loopback=False), "GET", {}, "/nothing") == 404


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200),
        ("https://localhost:8000", 200),
        ("http://localhost", 403),
        ("http://localhost:8001", 403),
        ("http://127.0.0.1:8000", 403),
        ("http://localhost:8000.example", 403),
        ("http://user@localhost:8000", 403),
        ("null", 403),
        ("", 403),
        ("http://[::1", 403),
        ("localhost:8000", 403),
    ],
)
@pytest.mark.parametrize("only_loopback", [True, False])
def test_an_origin_must_be_equal_to_the_host_and_port(only_loopback: bool, origin: str, status: int) -> None:
    app = _guarded(only_loopback=only_loopback)
    assert _status(app, "POST", {"Host": "localhost:8000", "Origin": origin}) == status


@pytest.mark.parametrize("origin", ["null", "", "http://[::1"])
def test_an_origin_without_a_host_is_foreign_even_to_a_service_without_a_host(origin: str) -> None:
    assert _status(_guarded(only_loopback=False), "POST", {"Host": "", "Origin": origin}) == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "get"])
def test_every_method_that_may_write_is_guarded(method: str) -> None:
    foreign = {"Host": "localhost", "Origin": "https://example.org"}
    assert _status(_guarded(), method, foreign) == 403


@pytest.mark.parametrize("only_loopback", [True, False])
@pytest.mark.parametrize(
    "host",
    [
        "[", "]", "[::1", "::1", "[x]", "a b", "a/b", "a\\b", "a@b", "me:pass@localhost", "a:b", "a:1:2", ":80",
        "a:123456", "\xfc.example", "a?b", "a#b", "a,b", "'", '"', "<script>", "%00", "x" * 300,
    ],
)  # fmt: skip
def test_a_malformed_host_is_refused(only_loopback: bool, host: str) -> None:
    app = _guarded(only_loopback=only_loopback)
    assert _status(app, "GET", {"Host": host}, "/nothing") == (421 if only_loopback else 400)


@pytest.mark.parametrize("host", ["warmcast.example", "a_b.example:80", "10.0.0.1:8000", "[2001:db8::1]:443"])
def test_any_other_host_is_served_beyond_loopback(host: str) -> None:
    assert _status(_guarded(only_loopback=False), "GET", {"Host": host}, "/nothing") == 404


@pytest.mark.parametrize(("path", "query"), [("/a\0b", ""), ("/\0", ""), ("/nothing", "a=%00"), ("/nothing", "%00")])
def test_a_path_or_query_with_nul_is_refused(path: str, query: str) -> None:
    assert _exchange(_guarded(), "GET", {"Host": "localhost"}, path, query=query)[0] == 400


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_pages_of_other_origins_may_read(method: str) -> None:
    foreign = {"Host": "localhost", "Origin": "https://example.org"}
    assert _status(_guarded(), method, foreign) == 405


def test_a_refusal_names_the_expected_and_the_received_value() -> None:
    host = _request(_guarded(), "GET", "/nothing", headers={"Host": "attacker.example"}).json()
    assert (host["type"], host["retryable"]) == ("/problems/foreign-host", False)
    assert "localhost, 127.0.0.1. Got: 'attacker.example'." in host["detail"]
    origin = _request(_guarded(), "POST", "/length", headers={"Origin": "https://example.org"}).json()
    assert origin["type"] == "/problems/foreign-origin"
    assert "Got: 'https://example.org'." in origin["detail"]


def _measured(app: FastAPI, metrics: Metrics) -> set[tuple[str, str, str]]:
    """Return route, method and code of every series of requests."""
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    counts = [sample.labels for sample in samples if sample.name == "warmcast_http_request_seconds_count"]
    return {(labels["route"], labels["method"], labels["code"]) for labels in counts}


def test_no_caller_can_create_series_by_unknown_paths_and_methods() -> None:
    app, metrics = _app(), Metrics()
    app.add_middleware(RequestMetrics, metrics=metrics)
    for number in range(20):
        _status(app, f"METHOD{number}", {})
        _status(app, "GET", {}, f"/nothing/{number}")
        _status(app, "GET", {}, f"/v1/forecast/{number}/ensemble.zarr/zarr.json")
    assert _measured(app, metrics) == {
        ("/length", "other", "405"),
        ("none", "GET", "404"),
        ("/forecast/{forecast_id}/ensemble.zarr/{key}", "GET", "200"),
    }


def test_a_request_that_fails_is_measured_with_its_status() -> None:
    app, metrics = _app(), Metrics()
    app.add_middleware(RequestMetrics, metrics=metrics)

    @app.get("/full")
    async def fail() -> None:
        raise ServiceError(QUEUE_FULL, "Full.")

    assert _request(app, "GET", "/full").status_code == 429
    assert _measured(app, metrics) == {("/full", "GET", "429")}


def test_streamed_bytes_of_a_store_are_summed_as_they_are_sent() -> None:
    app, metrics = _app(), Metrics()
    app.add_middleware(RequestMetrics, metrics=metrics)

    @app.get("/v1/forecast/{forecast_id}/ensemble.zarr.zip")
    async def archive() -> Response:
        return StreamingResponse(iter([b"abc", b"", b"de"]))

    assert _request(app, "GET", "/v1/forecast/1/ensemble.zarr.zip").content == b"abcde"
    assert metrics.registry.get_sample_value("warmcast_chunk_bytes_sent_total") == 5
    assert (
        metrics.registry.get_sample_value(
            "warmcast_http_request_seconds_count",
            {"route": "/forecast/{forecast_id}/ensemble.zarr.zip", "method": "GET", "code": "200"},
        )
        == 1
    )
