import json
from collections.abc import Callable
from typing import Any

import pytest

from jobs.dispatching.leases import claim
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import EventKind
from tests.clock import MovableClock
from tests.in_process import InProcess
from tests.rows import append_event, cancel_forecast, commit_lead_times, fail, list_events, retry_or_fail, succeed

Submit = Callable[..., ForecastRecord]

_PROBLEM = {
    "type": "worker-lost",
    "detail": "Errno 2: '/srv/data/forecasts/fc_1/c' on POST /forecast",
    "retryable": True,
}


def _read(api: InProcess, record: ForecastRecord, query: str = "") -> list[dict[str, Any]]:
    response = api.get(f"/v1/forecast/{record.id}/log{query}")
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def _messages(api: InProcess, record: ForecastRecord) -> list[str]:
    return [line["message"] for line in _read(api, record)]


def test_a_log_tells_of_each_event_in_order(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    record = submit_forecast(warnings=("It is unusual.",))
    succeed(database, record, {"nonfinite_members": [1, 2]})
    lines = _read(api, record)
    assert [line["kind"] for line in lines] == [
        "accepted", "warning", "running", *["lead_time"] * 4, "successful", "warning",
    ]  # fmt: skip  # in order
    assert [line["level"] for line in lines if line["kind"] == "warning"] == ["warning", "warning"]
    assert (lines[1]["message"], lines[5]["message"]) == ("It is unusual.", "Lead time 3 of 4 is complete.")
    assert "Members 1, 2 " in lines[-1]["message"]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_a_log_begins_after_a_line_or_a_time(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    record = submit_forecast()
    commit_lead_times(database, 2)
    lines = _read(api, record)
    for index, line in enumerate(lines):
        assert _read(api, record, f"?since={line['id']}") == lines[index + 1 :]
        assert _read(api, record, f"?since={line['time']}") == [each for each in lines if each["time"] > line["time"]]
    assert _read(api, record, "?since=2018-09-15T00:00") == lines
    assert _read(api, record, "?since=2999-01-01") == []


@pytest.mark.parametrize("since", ["", "yesterday", "-1", "9" * 30, "2018-13-01"])
def test_a_wrong_time_is_named(api: InProcess, submit_forecast: Submit, since: str) -> None:
    refused = api.get(f"/v1/forecast/{submit_forecast().id}/log?since={since}")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "?since")


def test_a_worker_that_is_lost_or_fails_is_a_warning_without_its_name(
    api: InProcess, database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    record = submit_forecast()
    commit_lead_times(database, 1, claim(database, "secret-host-1", 30.0, 5))
    clock.advance(1e6 + 1)
    claimed = claim(database, "secret-host-2", 30.0, 5)
    retry_or_fail(database, claimed, _PROBLEM, 5, 0.0)
    again = claim(database, "secret-host-3", 30.0, 5)
    assert again
    warnings = [line["message"] for line in _read(api, record) if line["level"] == "warning"]
    assert warnings == [
        "A worker was lost; another continues after lead time 1 of 4.",
        "A worker has failed (worker-lost); its work is tried again.",
    ]
    assert "secret" not in api.get(f"/v1/forecast/{record.id}/log").text


def test_a_failure_is_an_error_without_paths(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    record = submit_forecast()
    fail(database, claim(database, "worker", 30.0, 3)[0], _PROBLEM)
    last = _read(api, record)[-1]
    assert (last["level"], last["kind"]) == ("error", "failed")
    assert last["message"] == "The forecast has failed: Errno 2: '…' on POST /forecast"


def test_the_log_of_a_job_is_the_same(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    record = submit_forecast(warnings=("It is unusual.",))
    cancel_forecast(database, record.id, record.owner)
    log = api.get(f"/api/retrieve/v1/jobs/{record.id}?log=true").json()["metadata"]["log"]
    assert log == [[line["time"], f"{line['level'].upper()}: {line['message']}"] for line in _read(api, record)]


@pytest.mark.parametrize("kind", list(EventKind))
def test_every_kind_of_event_has_a_sentence(
    api: InProcess, database: Database, submit_forecast: Submit, kind: EventKind
) -> None:
    record = submit_forecast()
    append_event(database, record.id, kind)
    message = _messages(api, record)[-1]
    assert message.endswith(".") or kind == EventKind.FAILED
    assert list_events(database, record.id)[-1].kind == kind
