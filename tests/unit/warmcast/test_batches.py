"""Batches of the client: what each verb sends, how a batch is followed, and the objects and commands of batches."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from typer.testing import CliRunner

from tests.unit.warmcast.scripted import BROKEN, REFUSED, Run, answer, problem
from warmcast import batches, remote_batch_commands
from warmcast.async_client import AsyncClient
from warmcast.cli import app
from warmcast.client import Client
from warmcast.errors import ForecastFailedError, ServiceProblemError, ServiceUnreachableError, WaitTimeoutError
from warmcast.exchange import Service

BATCH = "/batch/ba_1"


@pytest.fixture
def service() -> Service:
    return Service("http://service", None, 60.0)


def _batch(status: str, lead_times: int = 0, **fields: Any) -> dict[str, Any]:
    """Return the status document of a batch of two forecasts."""
    detail = {"lead_times": lead_times, "num_lead_times": 4, "eta_seconds": 8.0}
    parts = [{"id": f"fc_{n}", "index": n, "status": status, "error": None} for n in (0, 1)]
    parts = [part | {"progress": 0, "init_time": "2018-09-15T00:00:00"} for part in parts]
    document = {"id": "ba_1", "status": status, "progress_detail": detail, "counts": {status: 2}, "parts": parts}
    return document | {"num_parts": 2, "links": []} | fields


def _event(event_id: int, kind: str) -> bytes:
    return f"event: {kind}\r\ndata: {{}}\r\nid: {event_id}\r\n\r\n".encode()


def _follow(service: Service, *results: Any) -> Run:
    return Run(batches.follow_batch(service, "ba_1"), results)


def test_a_batch_is_read_when_a_forecast_begins_or_ends_and_between_only_from_time_to_time(service: Service) -> None:
    run = _follow(
        service,
        *[answer(_batch("accepted")), answer(), _event(1, "accepted"), b": ping\n\n", _event(2, "running")],
        *[answer(_batch("running")), _event(3, "lead_time"), _event(4, "lead_time"), _event(5, "successful")],
        *[answer(_batch("running", 2)), _event(6, "lead_time") + _event(7, "successful")],
        answer(_batch("successful", 4)),
    )
    assert [info["status"] for info in run.emitted] == ["accepted", "running", "running", "successful"]
    assert [request.path for request in run.requests] == [BATCH, f"{BATCH}/events", BATCH, BATCH, BATCH]
    assert run.pauses == []


def test_a_stream_that_breaks_is_opened_again_after_its_last_event(service: Service) -> None:
    run = _follow(
        service,
        *[answer(_batch("running")), answer(), _event(7, "running"), answer(_batch("running", 1)), BROKEN],
        *[REFUSED, answer(_batch("running", 2)), answer(), b": ping\n\n", b""],
        *[answer(_batch("running", 2)), answer(), _event(9, "dismissed"), answer(_batch("dismissed", 2))],
    )
    streams = [request for request in run.requests if request.path == f"{BATCH}/events"]
    assert [request.headers["Last-Event-ID"] for request in streams] == ["0", "7", "7"]
    assert [info["progress_detail"]["lead_times"] for info in run.emitted] == [0, 1, 2, 2, 2]
    assert run.pauses == [0.2, 0.2, 0.2]


@pytest.mark.parametrize("refusal", [problem(404, "not-found"), problem(405), BROKEN, answer(status=502)])
def test_without_a_stream_a_batch_is_read_from_time_to_time(service: Service, refusal: Any) -> None:
    run = _follow(
        service,
        *[answer(_batch("running")), refusal, *[answer(_batch("running", 1))] * 2, answer(_batch("successful", 4))],
    )
    assert [request.path for request in run.requests].count(f"{BATCH}/events") == 1
    assert run.pauses[-2:] == [2.0, 2.0]
    assert run.emitted[-1]["status"] == "successful"


def test_a_key_that_is_revoked_ends_the_following(service: Service) -> None:
    with pytest.raises(ServiceProblemError):
        _follow(service, answer(_batch("running")), problem(401, "unauthorized"))


def test_following_and_waiting_end_at_their_timeouts(service: Service) -> None:
    running = answer(_batch("running"))
    with pytest.raises(WaitTimeoutError, match="Batch ba_1 is running after 0 s"):
        Run(batches.follow_batch(service, "ba_1", 0.0), [running])
    with pytest.raises(WaitTimeoutError, match="Batch ba_1 is running after 0 s"):
        Run(batches.wait_for_batch(service, "ba_1", 0.0), [running])
    run = Run(batches.wait_for_batch(service, "ba_1", 60.0), [running, REFUSED, answer(_batch("successful"))])
    assert (run.result["status"], run.pauses) == ("successful", [2.0, 0.2])


def test_a_batch_whose_forecasts_failed_names_the_first_error() -> None:
    failed = _batch("failed", counts={"failed": 1, "successful": 1})
    failed["parts"][1]["error"] = {"detail": "The disk is full."}
    with pytest.raises(ForecastFailedError, match=r"1 failed, 1 successful.*batch restart ba_1.*The disk is full"):
        batches.require_batch_success(failed)
    batches.require_batch_success(_batch("successful"))


def test_a_submission_has_a_key_that_makes_it_repeatable(service: Service) -> None:
    run = Run(
        batches.submit_batch(service, {"dataset": "gfs", "init_times": []}, members=2, seed=None),
        [BROKEN, answer(_batch("accepted"), 202)],
    )
    first, second = run.requests
    assert first == second
    assert (first.method, first.path, len(first.headers["Idempotency-Key"])) == ("POST", "/batch", 36)
    assert first.json == {"initial_states": {"dataset": "gfs", "init_times": []}, "members": 2}


class FakeService:
    """A transport that answers as a service with one batch does, and notes the requests."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.status = "running"

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        path = request.url.path.removeprefix("/v1")
        self.requests.append(f"{request.method} {path}")
        if path.endswith("/events"):
            self.status = "successful"
            return httpx.Response(200, stream=httpx.ByteStream(_event(1, "accepted") + _event(2, "successful")))
        if path.endswith("/verify"):
            return httpx.Response(200, json={"starts": ["fc_0"]})
        if path == "/batch" and request.method == "GET":
            return httpx.Response(200, json={"batches": [_batch(self.status)]})
        if request.method == "DELETE" and not request.url.params:
            return httpx.Response(204)
        self.status = "dismissed" if request.method == "DELETE" else self.status
        return httpx.Response(200, json=_batch(self.status))


VERBS = [
    *("POST /batch", "GET /batch/ba_1", "GET /batch/ba_1/events", "GET /batch/ba_1", "GET /batch/ba_1"),
    *("POST /batch/ba_1/verify", "GET /batch", "GET /batch/ba_1", "POST /batch/ba_1/restart"),
    *("DELETE /batch/ba_1", "GET /batch/ba_1", "DELETE /batch/ba_1"),
]


def test_every_method_of_a_batch_sends_its_request(tmp_path: Path) -> None:
    (tmp_path / "truth.nc").write_bytes(b"CDF")
    fake = FakeService()
    with Client("http://service") as client:
        client._http = httpx.Client(transport=httpx.MockTransport(fake))
        batch = client.batch([{"source": "forecast", "id": "fc_9"}], members=2)
        assert [info["status"] for info in client.follow_batch(batch.id)] == ["running", "successful"]
        assert batch.wait().status == "successful"
        assert batch.verify([tmp_path / "truth.nc"], reference="waves") == {"starts": ["fc_0"]}
        assert [each.id for each in client.batches(limit=1)] == ["ba_1"]
        assert client.find_batch("ba_1").restart().parts[1]["id"] == "fc_1"
        assert batch.cancel().refresh().status == "dismissed"
        batch.delete()
    assert fake.requests == VERBS
    assert repr(batch) == "<RemoteBatch ba_1: dismissed, 2 forecasts>"
    assert batch.summary_url == "http://service/v1/batch/ba_1/summary.zarr"


def test_every_method_of_a_batch_of_the_asynchronous_client_sends_the_same(tmp_path: Path) -> None:
    (tmp_path / "truth.nc").write_bytes(b"CDF")
    fake = FakeService()

    async def run() -> None:
        async with AsyncClient("http://service") as client:
            client._http = httpx.AsyncClient(transport=httpx.MockTransport(fake))
            batch = await client.batch([{"source": "forecast", "id": "fc_9"}], members=2)
            statuses = [info["status"] async for info in client.follow_batch(batch.id)]
            assert statuses == ["running", "successful"]
            assert (await batch.wait()).status == "successful"
            assert await batch.verify([tmp_path / "truth.nc"], reference="waves") == {"starts": ["fc_0"]}
            assert [each.id for each in await client.batches(limit=1)] == ["ba_1"]
            assert (await (await client.find_batch("ba_1")).restart()).parts[1]["id"] == "fc_1"
            assert (await (await batch.cancel()).refresh()).status == "dismissed"
            await batch.delete()

    anyio.run(run)
    assert fake.requests == VERBS


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command of batches against the service with one batch; return the result and the requests."""
    fake = FakeService()

    class FakeClient(Client):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._http = httpx.Client(transport=httpx.MockTransport(fake))

    monkeypatch.setattr(remote_batch_commands, "Client", FakeClient)

    def invoke(*arguments: str) -> tuple[Any, list[str]]:
        fake.requests.clear()
        return CliRunner().invoke(app, ["batch", *arguments]), [*fake.requests]

    return invoke


def test_the_commands_of_batches_print_the_batch_and_its_forecasts(
    commands: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "batch.json").write_text(json.dumps({"initial_states": [], "members": 2}))
    for arguments, requests in (
        (["submit", str(tmp_path / "batch.json"), "--key", "one"], ["POST /batch"]),
        (["status", "ba_1"], ["GET /batch/ba_1"]),
        (["watch", "ba_1"], ["GET /batch/ba_1", "GET /batch/ba_1/events", "GET /batch/ba_1"]),
        (["restart", "ba_1"], ["GET /batch/ba_1", "POST /batch/ba_1/restart"]),
        (["cancel", "ba_1"], ["GET /batch/ba_1", "DELETE /batch/ba_1"]),
        (["delete", "ba_1"], ["GET /batch/ba_1", "DELETE /batch/ba_1", "GET /batch/ba_1"]),
    ):
        result, sent = commands(*arguments)
        assert result.exit_code == 0, result.output
        assert sent == requests
        assert "0/4 lead times  2 forecasts: 2 " in result.output
        assert "fc_1" in result.output
        printed, _ = commands(*arguments, "--json")
        assert json.loads(printed.output)["id"] == "ba_1"
    listed, sent = commands("list", "--limit", "1")
    assert (listed.output.split()[0], sent) == ("ba_1", ["GET /batch"])


def test_a_file_that_is_no_batch_is_refused_before_anything_is_sent(
    commands: Callable[..., Any], tmp_path: Path
) -> None:
    for content in ("{", "[]", '{"members": 2}'):
        (tmp_path / "batch.json").write_text(content)
        result, sent = commands("submit", str(tmp_path / "batch.json"))
        assert (result.exit_code, sent) == (2, [])


def test_a_service_that_stays_away_ends_the_following(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("warmcast.exchange.time.monotonic", lambda: float(next(clock)))
    with pytest.raises(ServiceUnreachableError, match="has not answered for"):
        _follow(service, answer(_batch("running")), answer(), _event(1, "running"), *[REFUSED] * 20)
