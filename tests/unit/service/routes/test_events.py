import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from jobs.forecasts import ForecastRecord
from jobs.retention import delete_data
from jobs.rows.database import Database
from jobs.rows.tables import events as event_rows
from jobs.settings import Settings
from service import lifespan
from service.routes import events
from tests.helpers import wait_until
from tests.in_process import InProcess
from tests.rows import cancel_forecast, claim_all, commit_lead_times, create_key, fail, revoke_key, succeed

Submit = Callable[..., ForecastRecord]

ALL_KINDS = ["accepted", "running", "lead_time", "lead_time", "lead_time", "lead_time", "successful"]


@dataclass(frozen=True)
class _Sent:
    """One event as it was sent."""

    id: int
    kind: str
    detail: Mapping[str, Any]


def _parse(text: str) -> list[_Sent]:
    """Return the events of a stream; comments, which keep a connection alive, are left out."""
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        for block in text.split("\n\n")
    ]
    return [_Sent(int(block["id"]), block["event"], json.loads(block["data"])) for block in blocks if block]


def _events(api: InProcess, forecast_id: str, last_id: int | None = None) -> list[_Sent]:
    headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
    response = api.get(f"/v1/forecast/{forecast_id}/events", headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    return _parse(response.text)


def test_all_events_are_sent_in_order_and_the_stream_ends_with_the_forecast(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    record = succeed(database, submit_forecast())
    sent = _events(api, record.id)
    assert [event.kind for event in sent] == ALL_KINDS
    ids = [event.id for event in sent]
    assert ids == sorted(set(ids))
    details = [event.detail for event in sent if event.kind == "lead_time"]
    assert details == [{"lead_times": number, "num_lead_times": 4} for number in (1, 2, 3, 4)]


def test_events_of_another_forecast_are_not_sent(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    first, second = submit_forecast(), submit_forecast()
    for record in (first, second):
        succeed(database, record)
    sent = [_events(api, record.id) for record in (first, second)]
    assert [[event.kind for event in of_one] for of_one in sent] == [ALL_KINDS, ALL_KINDS]
    assert not {event.id for event in sent[0]} & {event.id for event in sent[1]}


def test_a_reconnected_client_gets_exactly_the_events_that_it_missed(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    record = succeed(database, submit_forecast())
    sent = _events(api, record.id)
    for index, event in enumerate(sent):
        assert _events(api, record.id, event.id) == sent[index + 1 :]
    assert _events(api, record.id, 0) == sent
    assert _events(api, record.id, 2**63 - 1) == []


@pytest.mark.parametrize("last_id", ["-1", str(2**63), "abc", "1.5", ""])
def test_an_invalid_last_event_id_is_a_problem_that_names_it(
    api: InProcess, submit_forecast: Submit, last_id: str
) -> None:
    response = api.get(f"/v1/forecast/{submit_forecast().id}/events", headers={"Last-Event-ID": last_id})
    assert (response.status_code, response.json()["type"]) == (422, "/problems/validation")
    assert "Last-Event-ID" in response.json()["detail"]


def test_events_that_happen_while_a_client_listens_are_sent_once(
    api: InProcess, database: Database, submit_forecast: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "POLL_SECONDS", 0.01)
    reader, reads = api.app.state.service.events, []
    read = reader.read
    monkeypatch.setattr(reader, "read", lambda position: reads.append(1) or read(position))
    record = submit_forecast()
    stream = api.start("GET", f"/v1/forecast/{record.id}/events")
    wait_until(lambda: len(reads) > 2)
    claimed = claim_all(database)
    for number in range(1, 4):
        before = len(reads)
        commit_lead_times(database, number, claimed)
        wait_until(lambda before=before: len(reads) > before + 1)
        assert not stream.done()
    succeed(database, record, claimed=claimed)
    assert [event.kind for event in _parse(stream.result(30).text)] == ALL_KINDS


@pytest.mark.parametrize("end", ["dismissed", "failed"])
def test_the_last_event_says_how_a_forecast_ended_early(
    api: InProcess, database: Database, submit_forecast: Submit, end: str
) -> None:
    record = submit_forecast()
    claimed = commit_lead_times(database, 1)
    problem = {"type": "/problems/out-of-memory", "title": "No memory", "detail": "It\nhas two lines."}
    if end == "failed":
        fail(database, claimed[0], problem)
    else:
        cancel_forecast(database, record.id, record.owner)
    sent = _events(api, record.id)
    assert [event.kind for event in sent] == ["accepted", "running", "lead_time", end]
    assert sent[-1].detail == (problem if end == "failed" else {})


def test_events_outlive_the_data_of_a_forecast(
    api: InProcess, database: Database, submit_forecast: Submit, settings: Settings
) -> None:
    record = succeed(database, submit_forecast())
    delete_data(database, settings.storage.data, record.id, record.owner)
    assert [event.kind for event in _events(api, record.id)] == ALL_KINDS


def test_an_open_stream_ends_after_its_longest_time_and_can_be_continued(
    api: InProcess, database: Database, submit_forecast: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "POLL_SECONDS", 0.001)
    record = submit_forecast()
    monkeypatch.setattr(events, "MAX_STREAM_SECONDS", 0.05)
    first = _events(api, record.id)
    assert [event.kind for event in first] == ["accepted"]
    succeed(database, record)
    assert [event.kind for event in _events(api, record.id, first[-1].id)] == ALL_KINDS[1:]


def test_reading_events_writes_nothing(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    record = succeed(database, submit_forecast())
    for _ in range(3):
        _events(api, record.id)
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(event_rows)) == len(ALL_KINDS)


def test_a_stream_states_after_how_long_to_reconnect(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    record = succeed(database, submit_forecast())
    text = api.get(f"/v1/forecast/{record.id}/events").text
    assert text.count("retry: 2000\n") == len(ALL_KINDS)


def test_an_unknown_forecast_and_one_of_another_owner_have_no_stream(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    record = submit_forecast()
    _, secret = create_key(database, "desk")
    for forecast_id in (record.id, "fc_none"):
        response = api.get(f"/v1/forecast/{forecast_id}/events", headers={"PRIVATE-TOKEN": secret})
        assert (response.status_code, response.json()["type"]) == (404, "/problems/no-such-forecast")


def test_streams_hold_no_thread_while_the_database_does_not_answer(
    api: InProcess, database: Database, submit_forecast: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, waiting, read = threading.Event(), [], lifespan.list_new_events

    def read_late(connection: Connection, positions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], list[Any]]:
        waiting.append(1)
        assert answers.wait(30)
        return read(connection, positions)

    monkeypatch.setattr(lifespan, "list_new_events", read_late)
    record = succeed(database, submit_forecast())
    streams = [api.start("GET", f"/v1/forecast/{record.id}/events") for _ in range(60)]  # more than there are threads
    wait_until(lambda: waiting)
    assert api.start("GET", "/v1/forecast").result(10).status_code == 200
    answers.set()
    assert {len(_parse(stream.result(30).text)) for stream in streams} == {len(ALL_KINDS)}
    assert len(waiting) < 10


def test_a_stream_ends_after_its_key_was_revoked(
    api: InProcess, database: Database, submit_forecast: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(events, "KEY_SECONDS", 0.02)
    (revoked, first), (kept, second) = create_key(database, "desk"), create_key(database, "other")
    streams = [
        api.start("GET", f"/v1/forecast/{submit_forecast(owner=owner).id}/events", headers={"PRIVATE-TOKEN": secret})
        for owner, secret in ((revoked.id, first), (kept.id, second))
    ]
    revoke_key(database, revoked.id)
    assert [event.kind for event in _parse(streams[0].result(10).text)] == ["accepted"]
    assert not streams[1].done()
    revoke_key(database, kept.id)
    streams[1].result(10)
