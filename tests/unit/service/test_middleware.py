import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from hypothesis import given, settings
from hypothesis.strategies import integers, lists

from service.metrics import Metrics
from service.middleware import BodyLimit, OriginGuard, RequestMetrics
from service.problems import QUEUE_FULL, ServiceError, add_handlers


def _app() -> FastAPI:
    """Return an application with a route that returns the length of its body, and one that returns a chunk."""
    app = FastAPI()
    add_handlers(app)

    @app.post("/length")
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


async def _chunks(sizes: tuple[int, ...]) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


@pytest.mark.parametrize(("sizes", "status"), [((10,), 200), ((4, 6), 200), ((11,), 413), ((6, 6), 413)])
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_body_may_have_as_many_bytes_as_the_limit(sizes: tuple[int, ...], status: int, is_declared: bool) -> None:
    app = _app()
    app.add_middleware(BodyLimit, max_bytes=10)
    content = b"x" * sum(sizes) if is_declared else _chunks(sizes)
    response = _request(app, "POST", "/length", content=content)
    assert response.status_code == status
    if status == 200:
        assert response.json() == 10
    else:
        assert response.json()["type"] == "/problems/too-large"
        assert "at most 10 bytes" in response.json()["detail"]
        assert [error["pointer"] for error in response.json()["errors"]] == [""]


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
    app = _app()
    app.add_middleware(OriginGuard, only_loopback=True, public_url="https://warmcast.example/weather")
    path = "/length" if method == "POST" else "/v1/forecast/1/ensemble.zarr/zarr.json"
    assert _request(app, method, path, headers=headers).status_code == status


def test_beyond_loopback_any_host_is_served() -> None:
    app = _app()
    app.add_middleware(OriginGuard, only_loopback=False, public_url=None)
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


async def _call(app: FastAPI, scope: dict[str, Any]) -> list[dict[str, Any]]:
    """Call an application with a request without a body, and return the messages that it sends."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await app(scope, receive, send)
    return sent


def _request_with(app: FastAPI, method: str, headers: dict[str, str], path: str = "/length") -> int:
    """Return the status of a request with headers and a method that HTTP clients would not send."""
    scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "query_string": b"", "headers": []}
    scope["headers"] = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return int(asyncio.run(_call(app, scope))[0]["status"])


def _guarded(*, only_loopback: bool = True, public_url: str | None = None) -> FastAPI:
    app = _app()
    app.add_middleware(OriginGuard, only_loopback=only_loopback, public_url=public_url)
    return app


@pytest.mark.parametrize("size", [9, 10, 11, 10**6])
def test_an_empty_declared_body_is_refused_by_its_declared_length_alone(size: int) -> None:
    app = _app()
    app.add_middleware(BodyLimit, max_bytes=10)
    status = _request_with(app, "POST", {"Content-Length": str(size)})
    assert status == (200 if size <= 10 else 413)


def test_a_refused_body_ends_the_connection_so_that_it_is_not_read() -> None:
    app = _app()
    app.add_middleware(BodyLimit, max_bytes=10)
    refused = _request(app, "POST", "/length", content=b"x" * 11)
    assert refused.headers["connection"] == "close"
    assert "Got: 11 bytes." in refused.json()["detail"]
    assert "connection" not in _request(app, "POST", "/length", content=b"x").headers


@pytest.mark.parametrize("declared", ["-1", "0x20", "+20", "many", ""])
def test_a_length_that_is_not_a_number_is_ignored(declared: str) -> None:
    app = _app()
    app.add_middleware(BodyLimit, max_bytes=10)
    assert _request_with(app, "POST", {"Content-Length": declared}) == 200


def test_a_declared_length_below_the_real_one_does_not_pass_the_limit() -> None:
    app = _app()
    app.add_middleware(BodyLimit, max_bytes=10)
    refused = _request(app, "POST", "/length", content=_chunks((6, 6)), headers={"Content-Length": "3"})
    assert refused.status_code == 413


@given(sizes=lists(integers(0, 8), max_size=8))
@settings(max_examples=30)
def test_the_limit_is_on_the_sum_of_the_chunks(sizes: list[int]) -> None:
    app = _app()
    app.add_middleware(BodyLimit, max_bytes=10)
    response = _request(app, "POST", "/length", content=_chunks(tuple(sizes)))
    assert response.status_code == (200 if sum(sizes) <= 10 else 413)


@pytest.mark.parametrize("middleware", ["body", "metrics", "origin"])
@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_messages_other_than_http_requests_pass_unchanged(middleware: str, kind: str) -> None:
    calls: list[tuple[Any, ...]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        calls.append((scope, receive, send))

    wrapped = {
        "body": BodyLimit(inner, max_bytes=1),
        "metrics": RequestMetrics(inner, Metrics()),
        "origin": OriginGuard(inner, only_loopback=True, public_url=None),
    }[middleware]
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
    assert _request_with(_guarded(), "GET", {"Host": host}, "/nothing") == (404 if is_served else 421)


def test_a_request_without_a_host_is_refused_on_loopback_only() -> None:
    assert _request_with(_guarded(), "GET", {}, "/nothing") == 421
    assert _request_with(_guarded(only_loopback=False), "GET", {}, "/nothing") == 404


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
    assert _request_with(app, "POST", {"Host": "localhost:8000", "Origin": origin}) == status


@pytest.mark.parametrize("origin", ["null", "", "http://[::1"])
def test_an_origin_without_a_host_is_foreign_even_to_a_service_without_a_host(origin: str) -> None:
    assert _request_with(_guarded(only_loopback=False), "POST", {"Host": "", "Origin": origin}) == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "get"])
def test_every_method_that_may_write_is_guarded(method: str) -> None:
    foreign = {"Host": "localhost", "Origin": "https://example.org"}
    assert _request_with(_guarded(), method, foreign) == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_pages_of_other_origins_may_read(method: str) -> None:
    foreign = {"Host": "localhost", "Origin": "https://example.org"}
    assert _request_with(_guarded(), method, foreign) == 405


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
        _request_with(app, f"METHOD{number}", {})
        _request_with(app, "GET", {}, f"/nothing/{number}")
        _request_with(app, "GET", {}, f"/v1/forecast/{number}/ensemble.zarr/zarr.json")
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
