import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers

from jobs.dispatching.live_workers import Machine
from jobs.forecasts import ForecastRecord
from jobs.planning.estimates import Speed
from jobs.request import ForecastRequest, Output
from jobs.rows.database import Database
from jobs.rows.states import Data, Phase, Priority, Status
from service.outlooks import Outlook, read_outlooks
from service.views import ForecastView, QueuePlace, eta_seconds, format_time, seconds_per_lead, view_forecast
from tests.clock import MovableClock
from tests.rows import commit_lead_times, read_forecast, record_heartbeat, record_speed
from weather.manifest import Sampling
from weather.readers.provenance import ChosenSource

Submit = Callable[..., ForecastRecord]

NOW = 1_800_000_000.0
MACHINE = Machine("cpu: a processor", 1)
REQUEST = ForecastRequest(
    checkpoint="untrained",
    checkpoint_digest="0" * 64,
    initial_state_digest="1" * 64,
    sources=("a.grib2",),
    init_time="2018-09-15T00:00:00",
    lead_hours=24,
    members=5,
    group_size=2,
    seed=2**63 - 1,
    sampling=Sampling(nfe=2),
)


def _record(**changes: object) -> ForecastRecord:
    """Return the record of a forecast of 4 lead times, accepted 100 s before `NOW`; `changes` replace its fields."""
    record = ForecastRecord(
        id="fc_1",
        owner="local",
        request=REQUEST,
        status=Status.ACCEPTED,
        priority=Priority.NORMAL,
        lead_times=0,
        num_lead_times=4,
        error=None,
        receipt=None,
        data=Data.AVAILABLE,
        created=NOW - 100,
        started=None,
        finished=None,
        number=1,
        damaged_files=0,
        mode=None,
        labels={},
        retention_hours=None,
        phase=None,
    )
    return replace(record, **changes)


def _view(**changes: object) -> ForecastView:
    return view_forecast(_record(**changes), "http://here", NOW, None, None)


def _running(lead_times: int, seconds: float, num_lead_times: int = 4) -> ForecastRecord:
    return _record(status=Status.RUNNING, started=NOW - seconds, lead_times=lead_times, num_lead_times=num_lead_times)


def test_before_the_first_lead_time_the_plan_is_the_remaining_time() -> None:
    assert eta_seconds(_record(), NOW, Outlook(12.34)) == 12.3
    assert eta_seconds(_running(0, 50), NOW, Outlook(12.34)) == 12.3
    assert eta_seconds(_record(), NOW, Outlook(0.0)) == 0


def test_without_a_plan_the_remaining_time_is_unknown_until_the_first_lead_time() -> None:
    assert eta_seconds(_record(), NOW, None) is None
    assert eta_seconds(_running(0, 50), NOW, None) is None
    assert eta_seconds(_running(1, 50), NOW, None) == 150


def test_the_pace_of_the_lead_times_precedes_the_plan() -> None:
    assert eta_seconds(_running(3, 30), NOW, Outlook(9999.0)) == 10
    assert eta_seconds(_running(4, 30), NOW, Outlook(9999.0)) == 0


@pytest.mark.parametrize("status", [Status.SUCCESSFUL, Status.FAILED, Status.DISMISSED])
def test_an_ended_forecast_has_no_time_left(status: Status) -> None:
    assert eta_seconds(_record(status=status, lead_times=2, started=NOW - 50, finished=NOW), NOW, Outlook(100.0)) == 0


def test_a_clock_that_is_behind_the_database_gives_no_negative_time() -> None:
    assert eta_seconds(_running(1, -5), NOW, None) == 0


@given(done=integers(1, 100), remaining=integers(0, 100), seconds=floats(0, 1e6))
def test_the_remaining_time_is_that_of_equal_lead_times(done: int, remaining: int, seconds: float) -> None:
    eta = eta_seconds(_running(done, seconds, done + remaining), NOW, None)
    assert eta == pytest.approx(seconds * remaining / done, abs=0.06, rel=1e-6)


@given(done=integers(0, 1000), remaining=integers(0, 1000))
def test_progress_is_a_whole_percentage_that_is_100_only_when_all_is_done(done: int, remaining: int) -> None:
    if done + remaining:
        progress = _view(status=Status.RUNNING, started=NOW, lead_times=done, num_lead_times=done + remaining).progress
        assert 0 <= progress <= 100
        assert (progress == 100) == (remaining == 0)
        assert progress == floor(Fraction(100 * done, done + remaining))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1.9999, "1970-01-01T00:00:01.999Z"),
        (951_782_400.5, "2000-02-29T00:00:00.500Z"),
        (1_800_000_000.0, "2027-01-15T08:00:00.000Z"),
    ],
)
def test_times_are_written_in_utc_with_milliseconds(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


@given(floats(0, 4e9))
def test_a_written_time_is_read_back_within_a_millisecond(seconds: float) -> None:
    text = format_time(seconds)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    read = datetime.fromisoformat(text)
    assert read.tzinfo == UTC
    assert -1e-6 < seconds - read.timestamp() < 0.001 + 1e-6


def test_a_waiting_forecast_has_neither_started_nor_finished() -> None:
    view = _view()
    assert (view.created, view.started, view.finished) == (format_time(NOW - 100), None, None)
    assert (view.status, view.progress, view.warnings, view.error) == ("accepted", 0, [], None)
    assert view.progress_detail.model_dump(exclude_none=True) == {"lead_times": 0, "num_lead_times": 4}
    assert view.queue == QueuePlace(position=None, estimated_wait_seconds=None)


def test_an_ended_forecast_has_all_its_times() -> None:
    view = _view(status=Status.SUCCESSFUL, started=NOW - 60, finished=NOW, lead_times=4)
    assert (view.started, view.finished) == (format_time(NOW - 60), format_time(NOW))
    assert (view.progress, view.progress_detail.eta_seconds) == (100, 0)


def test_the_view_survives_json_with_the_largest_seed() -> None:
    view = _view()
    assert ForecastView.model_validate_json(view.model_dump_json()) == view
    assert view.request.seed == 2**63 - 1


def test_a_failed_forecast_keeps_its_problem_and_its_progress() -> None:
    problem = {"type": "/problems/out-of-memory", "detail": "The GPU is full."}
    view = _view(status=Status.FAILED, error=problem, lead_times=2, started=NOW - 60, finished=NOW)
    assert (view.error, view.progress) == (problem, 50)


@pytest.mark.parametrize(
    ("lost", "text"), [([3], "Members 3 "), ([3, 7], "Members 3, 7 "), (list(range(4)), "Members 0, 1, 2, 3 ")]
)
def test_a_forecast_with_lost_members_has_a_warning_that_names_them(lost: list[int], text: str) -> None:
    view = _view(status=Status.SUCCESSFUL, receipt={"nonfinite_members": lost}, finished=NOW)
    (warning,) = view.warnings
    assert warning.code == "members-lost"
    assert text.removeprefix("Members") in warning.message


def test_warnings_about_the_initial_state_precede_lost_members() -> None:
    request = REQUEST.model_copy(update={"warnings": ("It is in the future.", "It is calm.")})
    view = _view(status=Status.SUCCESSFUL, request=request, receipt={"nonfinite_members": [3]}, finished=NOW)
    assert [warning.code for warning in view.warnings] == ["initial-state", "initial-state", "members-lost"]
    assert [warning.message for warning in view.warnings[:2]] == list(request.warnings)
    assert [warning.code for warning in _view(request=request).warnings] == ["initial-state", "initial-state"]


@pytest.mark.parametrize("receipt", [None, {}, {"nonfinite_members": []}])
def test_a_complete_ensemble_has_no_warning(receipt: dict[str, object] | None) -> None:
    assert _view(status=Status.SUCCESSFUL, receipt=receipt, finished=NOW).warnings == []


def _relations(view: ForecastView) -> dict[str, str]:
    relations = {link.rel: link.href for link in view.links}
    assert len(relations) == len(view.links)
    return relations


def test_links_are_absolute_and_below_the_forecast() -> None:
    home = "http://here/v1/forecast/fc_1"
    relations = _relations(_view(status=Status.SUCCESSFUL, finished=NOW, receipt={}))
    assert relations["self"] == home
    assert relations["data"] == f"{home}/ensemble.zarr"
    assert relations["summary"] == f"{home}/summary.zarr"
    assert relations["enclosure"] == f"{home}/ensemble.zarr.zip"
    assert relations["describedby"] == f"{home}/receipt"
    assert all(href == home or href.startswith(f"{home}/") for href in relations.values())


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.RUNNING, Status.FAILED, Status.DISMISSED])
def test_only_a_successful_forecast_links_to_its_zip_and_receipt(status: Status) -> None:
    assert not {"enclosure", "describedby"} & set(_relations(_view(status=status)))


def test_the_data_of_a_forecast_without_stored_members_is_its_summary() -> None:
    request = REQUEST.model_copy(update={"output": Output(members=False)})
    relations = _relations(_view(request=request, status=Status.SUCCESSFUL, finished=NOW, receipt={}))
    assert relations["data"] == relations["summary"]
    assert "enclosure" not in relations


def _measure(database: Database, record: ForecastRecord, seconds: float) -> None:
    """Record a live worker that takes `seconds` for each lead time of a group of the forecast."""
    speed = Speed(record.request.group_size, 0.0, seconds / record.request.sampling.nfe, 0.0, None)
    record_heartbeat(database, "worker", "cpu", {}, MACHINE)
    record_speed(database, record.request.checkpoint_digest, MACHINE, speed, 1)


def _planned(database: Database, records: Sequence[ForecastRecord], now: float) -> dict[str, float]:
    """Return the planned seconds until the end, of the forecasts that have some."""
    outlooks = read_outlooks(database, records, now)
    return {forecast_id: each.seconds for forecast_id, each in outlooks.items() if each.seconds is not None}


def test_a_waiting_forecast_has_a_place_and_a_wait_until_it_starts(database: Database, submit_forecast: Submit) -> None:
    first, second = submit_forecast(), submit_forecast()
    _measure(database, first, 2.0)
    outlooks = read_outlooks(database, [second, first], NOW)
    places = [view_forecast(each, "", NOW, outlooks[each.id], None).queue for each in (first, second)]
    assert [place and place.model_dump() for place in places] == [
        {"position": 0, "estimated_wait_seconds": 0},
        {"position": 1, "estimated_wait_seconds": pytest.approx(24)},
    ]
    assert _view(status=Status.RUNNING, started=NOW).queue is None
    assert _view(status=Status.FAILED, finished=NOW).queue is None


@pytest.mark.parametrize("status", list(Status))
def test_only_a_running_forecast_has_a_phase(status: Status) -> None:
    assert (_view(status=status, phase=Phase.ROLLOUT).phase is not None) == (status == Status.RUNNING)


def test_the_pace_is_that_of_the_complete_lead_times(database: Database) -> None:
    assert (seconds_per_lead(_running(0, 50), NOW), seconds_per_lead(_record(), NOW)) == (None, None)
    assert seconds_per_lead(_running(3, 30), NOW) == 10
    assert seconds_per_lead(_record(started=NOW - 50, finished=NOW - 10, lead_times=4), NOW) == 10


@pytest.mark.parametrize(("done", "time"), [(0, None), (1, "2018-09-15T06:00:00"), (4, "2018-09-16T00:00:00")])
def test_the_progress_has_the_valid_time_of_the_last_complete_lead_time(done: int, time: str | None) -> None:
    assert _view(status=Status.RUNNING, started=NOW, lead_times=done).progress_detail.valid_time == time


def test_without_measurements_nothing_is_planned(database: Database, submit_forecast: Submit) -> None:
    assert _planned(database, [submit_forecast()], NOW) == {}
    assert read_outlooks(database, [], NOW) == {}


def test_a_waiting_forecast_is_planned_after_those_before_it(database: Database, submit_forecast: Submit) -> None:
    first, second = submit_forecast(), submit_forecast()
    _measure(database, first, 2.0)
    planned = _planned(database, [second, first], NOW)
    alone = 3 * 4 * 2.0  # groups, lead times, seconds of each
    assert planned == pytest.approx({first.id: alone, second.id: 2 * alone})


def test_a_running_forecast_without_a_lead_time_is_planned_from_its_start(
    database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    record = submit_forecast()
    _measure(database, record, 2.0)
    commit_lead_times(database, 0)
    running = read_forecast(database, record.id)
    assert running.started is not None
    assert _planned(database, [running], running.started + 10)[record.id] == pytest.approx(24 - 10)
    assert _planned(database, [running], running.started + 1000)[record.id] == 0


def test_only_forecasts_without_a_lead_time_or_an_end_are_planned(database: Database, submit_forecast: Submit) -> None:
    record = submit_forecast()
    _measure(database, record, 2.0)
    commit_lead_times(database, 1)
    ended = _record(id="fc_ended", status=Status.DISMISSED)
    assert _planned(database, [read_forecast(database, record.id), ended], NOW) == {}


def test_a_waiting_forecast_has_no_plan_while_no_worker_is_alive(
    database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    record = submit_forecast()
    _measure(database, record, 2.0)
    assert set(_planned(database, [record], NOW)) == {record.id}
    clock.advance(31)
    assert _planned(database, [record], NOW) == {}


def test_a_forecast_shows_what_was_chosen_from_its_files() -> None:
    chosen = ChosenSource(file="a.grib2", variables=("u10", "v10"), valid_time="2018-09-15T00:00:00", step_hours=6.0)
    assert _view(request=REQUEST.model_copy(update={"choice": (chosen,)})).sources == [chosen]
    assert _view().sources == []
