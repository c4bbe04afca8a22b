import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.forecasts import ForecastRecord
from jobs.logs import JsonFormatter
from jobs.rows.database import Database
from jobs.settings import Settings
from service.app import create_app
from service.request_log import REQUEST_ID
from tests.in_process import InProcess, run_in_process
from tests.rows import create_key


@pytest.fixture
def lines() -> Iterator["Lines"]:
    """The log of the service as it is written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(lambda record: record.name != "httpx")  # the client of the test
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield Lines(stream)
    root.removeHandler(handler)
    root.setLevel(level)


class Lines:
    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def of_requests(self) -> list[dict[str, Any]]:
        return [line for line in self.all() if line["logger"] == "service.request_log"]


@pytest.fixture
def failing(settings: Settings, database: Database) -> Iterator[InProcess]:
    """A service with two routes that fail: unexpectedly, and because the disk is full."""
    app = create_app(settings, with_worker=False)

    @app.get("/unexpected")
    def fail() -> None:
        raise ArithmeticError("one of redis://:hunter2@host")

    with run_in_process(app) as api:
        yield api


def test_each_request_is_one_line_with_its_id(api: InProcess, lines: Lines) -> None:
    paths = ["/healthz", "/forecast", "/forecast/unknown", "/v1/models", "/no/such/path", "/a%0ab?key=hunter2"]
    ids = [api.get(path).headers[REQUEST_ID] for path in paths]
    written = lines.of_requests()
    assert [line["request_id"] for line in written] == ids
    assert len(set(ids)) == len(paths)
    assert [line["status"] for line in written] == [200, 200, 404, 200, 404, 404]
    assert [line["path"] for line in written] == [*paths[:5], "/a\nb"]
    assert all(0 < line["seconds"] < 30 and line["bytes"] > 0 for line in written)
    assert len(lines.text.splitlines()) == len(lines.all())
    assert "hunter2" not in lines.text


@pytest.mark.parametrize("sent", ["a-proper_id.1", "0" * 64])
def test_the_id_of_the_caller_is_used(api: InProcess, lines: Lines, sent: str) -> None:
    assert api.get("/healthz", headers={REQUEST_ID: sent}).headers[REQUEST_ID] == sent
    assert lines.of_requests()[0]["request_id"] == sent


@pytest.mark.parametrize("sent", ["short", "0" * 65, "a b c d e f", "ümläutümläut".encode(), "x\ty 12345678"])
def test_another_id_is_used_for_one_that_could_be_mistaken_in_a_log(
    api: InProcess, lines: Lines, sent: str | bytes
) -> None:
    used = api.get("/healthz", headers={REQUEST_ID: sent}).headers[REQUEST_ID]
    assert re.fullmatch("[0-9a-f]{16}", used)


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_trace_is_taken_up_and_sent_back(api: InProcess, lines: Lines) -> None:
    sent = f"00-{TRACE}-{SPAN}-01"
    answer = api.get("/v1/forecast/fc_none", headers={"traceparent": sent})
    assert (answer.headers["traceparent"], answer.headers[REQUEST_ID], answer.json()["trace_id"]) == (
        sent,
        TRACE,
        TRACE,
    )
    assert lines.of_requests()[0]["request_id"] == TRACE
    both = api.get("/healthz", headers={"traceparent": sent, REQUEST_ID: "a-proper_id.1"})
    assert (both.headers["traceparent"], both.headers[REQUEST_ID]) == (sent, "a-proper_id.1")


@pytest.mark.parametrize(
    "sent",
    [
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        "",
    ],
)
def test_a_trace_that_is_none_is_ignored(api: InProcess, sent: str) -> None:
    answer = api.get("/healthz", headers={"traceparent": sent})
    assert "traceparent" not in answer.headers
    assert re.fullmatch("[0-9a-f]{16}", answer.headers[REQUEST_ID])


def test_the_trace_id_of_every_problem_is_that_of_its_request_in_the_log(failing: InProcess, lines: Lines) -> None:
    problems = [
        failing.get("/forecast/unknown"),
        failing.get("/no/such/route"),
        failing.post("/forecast", json={"members": -1}),
        failing.post("/forecast", content=b"{", headers={"Content-Type": "application/json"}),
        failing.get("/forecast", headers={"Host": "elsewhere.example"}),
        failing.post("/forecast", json={}, headers={"Origin": "https://elsewhere.example"}),
        failing.get("/unexpected"),
        failing.get("/unexpected"),
    ]
    for problem, line in zip(problems, lines.of_requests(), strict=True):
        assert problem.json()["trace_id"] == problem.headers[REQUEST_ID] == line["request_id"]
        assert line["status"] == problem.status_code >= 400
    (first, *_) = [line for line in lines.all() if line["message"] == "Unexpected error"]
    assert first["request_id"] == problems[-2].json()["trace_id"]
    assert "ArithmeticError: one of redis://***@host" in first["exception"]
    assert "hunter2" not in lines.text


def test_a_request_names_its_key_and_its_forecast_but_never_the_secret(
    api: InProcess, database: Database, lines: Lines, submit_forecast: Callable[..., ForecastRecord]
) -> None:
    key, secret = create_key(database, "me")
    forecast = submit_forecast(owner=key.id)
    for headers in ({"Authorization": f"Bearer {secret}"}, {"PRIVATE-TOKEN": secret}):
        assert api.get(f"/forecast/{forecast.id}", headers=headers).status_code == 200
        line = lines.of_requests()[-1]
        assert (line["key_id"], line["forecast_id"]) == (key.id, forecast.id)
    assert api.get("/forecast", headers={"Authorization": "Bearer wc_wrong"}).status_code == 401
    assert (lines.of_requests()[-1]["key_id"], lines.of_requests()[-1]["forecast_id"]) == (None, None)
    assert secret not in lines.text
    assert "wc_" not in lines.text
