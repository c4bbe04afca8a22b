import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from service.metrics import Metrics
from service.middleware import BodyLimit, OriginGuard, RequestMetrics
from service.problems import add_handlers


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
