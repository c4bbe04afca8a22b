import asyncio
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, Query
from sqlalchemy.exc import OperationalError

from jobs.errors import ForecastNotFoundError
from service.problems import QUEUE_FULL, UNAUTHORIZED, ServiceError, add_handlers
from storage.errors import WarmcastError
from weather.errors import InputCorruptError

_ERRORS = {
    "queue": ServiceError(QUEUE_FULL, "Full."),
    "key": ServiceError(UNAUTHORIZED, "No key."),
    "forecast": ForecastNotFoundError("No forecast `fc_1`."),
    "file": InputCorruptError("a.grib2", ["`a.grib2` is damaged."]),
    "unlisted": WarmcastError("Unlisted."),
    "database": OperationalError("SELECT 1", {}, Exception("locked")),
    "storage": ConnectionError("refused"),
    "fault": RuntimeError("a secret"),
}


def _get(path: str) -> httpx.Response:
    app = FastAPI()
    add_handlers(app)

    @app.get("/error/{name}")
    async def fail(name: str) -> None:
        raise _ERRORS[name]

    @app.get("/number")
    async def number(value: Annotated[int, Query(ge=0)]) -> int:
        return value

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    return asyncio.run(get())


@pytest.mark.parametrize(
    ("name", "status", "slug"),
    [
        ("queue", 429, "queue-full"),
        ("key", 401, "unauthorized"),
        ("forecast", 404, "no-such-forecast"),
        ("file", 422, "input-corrupt"),
        ("unlisted", 500, "internal"),
        ("database", 503, "unavailable"),
        ("storage", 503, "unavailable"),
        ("fault", 500, "internal"),
    ],
)
def test_every_error_is_a_problem_document(name: str, status: int, slug: str) -> None:
    response = _get(f"/error/{name}")
    problem = response.json()
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert (problem["status"], problem["type"]) == (status, f"/problems/{slug}")
    assert problem["retryable"] == ("retry-after" in response.headers)
    assert response.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert "secret" not in response.text


def test_a_problem_points_at_each_invalid_value() -> None:
    problem = _get("/number?value=-1").json()
    assert problem["errors"] == [
        {"pointer": "?value", "detail": "Input should be greater than or equal to 0. Got: '-1'."}
    ]
    assert "`?value`" in problem["detail"]


def test_an_unknown_path_is_a_problem() -> None:
    assert _get("/nothing").json()["type"] == "/problems/not-found"
