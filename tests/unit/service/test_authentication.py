import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.datastructures import Headers

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.settings import Settings
from service.app import create_app
from tests.in_process import InProcess, run_in_process
from tests.rows import create_key

Submit = Callable[..., ForecastRecord]


def _unread(api: InProcess, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], int]:
    """Return the status and headers of a response, and how many parts of a body without end the service received."""
    received, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "query_string": b"", "state": {}}
    scope |= {"headers": [(b"host", b"localhost"), *pairs], "scheme": "http", "server": ("localhost", 80)}
    api._portal.call(api.app, scope, receive, send)
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, received


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain"])
@pytest.mark.parametrize("length", [{"Content-Length": "400000000"}, {"Transfer-Encoding": "chunked"}])
def test_without_a_key_no_body_is_read_and_the_connection_closes(
    api: InProcess, database: Database, submit_forecast: Submit, kind: str, length: dict[str, str]
) -> None:
    create_key(database, "desk")
    forecast = f"/v1/forecast/{submit_forecast().id}"
    for path in ("/v1/forecast", "/inspect", f"{forecast}/verify", f"{forecast}/replay", forecast, "/nothing"):
        for method in ("POST", "DELETE", "PROPFIND"):
            status, headers, parts = _unread(api, method, path, {"Content-Type": kind, **length})
            assert (status, headers["connection"], parts) == (401, "close", 0), (method, path)
    wrong = {"Authorization": "Bearer wc_wrong", "Content-Type": kind, **length}
    status, headers, parts = _unread(api, "POST", "/v1/forecast", wrong)
    assert (status, headers["connection"], parts) == (401, "close", 0)


def test_a_body_that_is_too_large_is_refused_unread_once_the_key_is_known(api: InProcess, database: Database) -> None:
    _, secret = create_key(database, "desk")
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    status, answered, parts = _unread(api, "POST", "/v1/forecast", headers | {"Content-Length": "600000000"})
    assert (status, answered["connection"], parts) == (413, "close", 0)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data-2; boundary=x"])
@pytest.mark.parametrize("length", [{"Content-Length": "400000000"}, {"Transfer-Encoding": "chunked"}])
def test_no_route_receives_more_than_a_request_of_what_is_no_upload(
    api: InProcess, submit_forecast: Submit, kind: str, length: dict[str, str]
) -> None:
    """The routes that take files took JSON of the same size."""
    record = submit_forecast()
    routes = [path for path, methods in api.app.openapi()["paths"].items() if "post" in methods]
    assert len(routes) >= 4
    for route in routes:
        path = route.format(forecast_id=record.id, batch_id="ba_none", model="untrained")
        status, _, parts = _unread(api, "POST", path, {"Content-Type": kind, **length})
        assert 400 <= status < 500, path
        assert parts <= 2, path


def test_the_key_is_checked_before_the_path_the_query_and_the_method(api: InProcess, database: Database) -> None:
    create_key(database, "desk")
    for method, path in (
        ("GET", "/nothing"),
        ("PATCH", "/v1/models"),
        ("GET", "/v1/forecast?limit=many"),
        ("GET", "/v1/forecast/fc_none?unknown=1"),
        ("GET", "http://localhost//healthz"),
        ("GET", "/healthz/"),
        ("GET", "/v1/healthz"),
    ):
        assert api.request(method, path).status_code == 401, path


@pytest.mark.parametrize(("docs", "status"), [("public", 200), ("key", 401)])
def test_the_description_of_the_api_follows_the_setting(
    settings: Settings, database: Database, docs: str, status: int
) -> None:
    _, secret = create_key(database, "desk")
    with run_in_process(create_app(settings.replace(docs=docs), with_worker=False)) as api:
        for path in ("/docs", "/docs/swagger-ui.css", "/openapi.json"):
            assert api.get(path).status_code == status, path
            assert api.get(path, headers={"PRIVATE-TOKEN": secret}).status_code == 200


def test_a_key_is_read_from_the_database_once_for_requests_at_the_same_time(
    api: InProcess, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = create_key(database, "desk")
    reads: list[Any] = []
    callers = api.app.state.service.callers
    read = callers._findings._load

    def count(inquiries: Any) -> Any:
        reads.append(inquiries)
        return read(inquiries)

    monkeypatch.setattr(callers._findings, "_load", count)

    async def request_all() -> None:
        headers = {"Authorization": f"Bearer {secret}"}
        await asyncio.gather(*(callers.find_caller(Headers(headers)) for _ in range(20)))

    api._portal.call(request_all)
    assert reads == [((secret, None),)]


def test_a_request_that_reads_a_forecast_takes_one_read_with_its_key(
    api: InProcess, database: Database, submit_forecast: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = create_key(database, "desk")
    record, headers = submit_forecast(owner=key.id), {"Authorization": f"Bearer {secret}"}
    service, reads = api.app.state.service, list[Any]()
    read = service.forecasts._load
    monkeypatch.setattr(service.forecasts, "_load", lambda ids: reads.append(ids) or read(ids))  # type: ignore[func-returns-value]
    for path in (f"/v1/forecast/{record.id}", f"/forecast/{record.id}/log"):
        assert api.get(path, headers=headers).status_code == 200
    assert api.get("/v1/forecast/fc_none", headers=headers).status_code == 404
    assert not reads
