"""Schedules over HTTP: made, changed, paused, listed and deleted; what they submit, and their newest forecast."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select, update

from jobs.rows.database import Database
from jobs.rows.states import Data
from jobs.rows.tables import audit, forecasts
from jobs.schedule_runs import read_clock
from jobs.schedules import read_schedule
from jobs.settings import Settings
from service.app import create_app
from tests.clock import MovableClock
from tests.in_process import InProcess, run_in_process
from tests.receivers import SECRET
from tests.rows import create_key, limit_key, read_forecast, revoke_key, succeed
from tests.simulated import NAME, STEP, Waves, install, run_tick
from weather.upstream.dataset import Description

_SMALL: dict[str, Any] = {"model": "untrained", "members": 2, "lead_time": "12h", "sampler": {"nfe": 2}}
_HOUR = 3600


@pytest.fixture(autouse=True)
def _ten_minutes_after_a_cycle(database: Database, clock: MovableClock) -> None:
    """Move the clock on, so that no test begins shortly before the next cycle."""
    with database.read() as connection:
        clock.advance(6 * _HOUR - read_clock(connection) % (6 * _HOUR) + 600)


@pytest.fixture
def waves(api: InProcess, database: Database, tmp_path: Path) -> Waves:
    """A data set whose analyses the test adds."""
    waves = Waves(tmp_path)
    install(api, database, waves)
    return waves


def _body(**fields: Any) -> dict[str, Any]:
    return {"name": "north sea", "dataset": NAME, "forecast": _SMALL} | fields


def _make(api: InProcess, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    response = api.post("/v1/schedules", json=_body(**fields), headers=headers)
    assert response.status_code == 201, response.text
    view: dict[str, Any] = response.json()
    return view


def _runs(api: InProcess, view: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = api.get(f"/v1/schedules/{view['id']}/runs", **options).json()["runs"]
    return runs


def _cycle(database: Database) -> np.datetime64:
    """Return the present cycle of a schedule of every 6 hours."""
    with database.read() as connection:
        return np.datetime64(int(read_clock(connection) // (6 * _HOUR)) * 6 * _HOUR, "s")


def _problem(response: httpx.Response) -> tuple[int, str, list[str]]:
    problem = response.json()
    pointers = [error["pointer"] for error in problem["errors"]]
    return response.status_code, problem["type"].removeprefix("/problems/"), pointers


def test_a_schedule_submits_each_cycle_once_when_its_analyses_are_there(
    api: InProcess, database: Database, clock: MovableClock, waves: Waves
) -> None:
    view, first = _make(api), _cycle(database)
    assert view["next_run"] == str(first)
    run_tick(api)
    (waiting,) = _runs(api, view)
    assert (waiting["state"], waiting["init_time"], waiting["forecast"]) == ("waiting", str(first), None)
    waves.add(first - STEP)
    clock.advance(900)
    run_tick(api)
    assert _runs(api, view)[0]["state"] == "waiting"
    waves.add(first)
    clock.advance(900)
    outcomes = list[str]()
    for _ in range(3):
        run_tick(api, outcomes.append)
    (run,) = _runs(api, view)
    assert (run["state"], run["caught_up"], run["late"], run["attempts"]) == ("submitted", False, False, 0)
    assert outcomes == ["submitted"]
    forecast = api.get(f"/v1/forecast/{run['forecast']}").json()
    assert forecast["init_time"] == str(first)
    assert forecast["labels"] == {"schedule": view["id"]}
    source = {"source": "catalogue", "dataset": NAME, "init_time": str(first)}
    assert forecast["request"]["initial_state"] == source
    later = api.get(f"/v1/schedules/{view['id']}").json()
    assert (later["next_run"], later["counts"]) == (str(first + STEP), {"submitted": 1})
    assert later["newest_analysis"] == str(first)
    with database.read() as connection:
        actions = connection.execute(select(audit.c.actor, audit.c.action).order_by(audit.c.id)).all()
    assert [tuple(row) for row in actions] == [("local", "create_schedule"), ("local", "schedule")]


def test_a_schedule_is_late_after_the_hours_of_its_data_set_unless_it_says_others(
    api: InProcess, database: Database, waves: Waves
) -> None:
    waves.description = Description("Waves", "", "", late_hours=15)
    assert _make(api)["late_hours"] == 15
    run_tick(api)
    waves.add(_cycle(database) - STEP)
    assert f'warmcast_dataset_late_after_seconds{{dataset="{NAME}"}} 54000.0' in api.get("/metrics").text
    assert _make(api, name="other", late_hours=8)["late_hours"] == 8
    assert f'warmcast_dataset_late_after_seconds{{dataset="{NAME}"}} 28800.0' in api.get("/metrics").text
    waves.description = Description("Waves of past years", "", "")
    assert _make(api, name="past")["late_hours"] == 9


def test_the_newest_successful_forecast_has_a_stable_url(
    api: InProcess, database: Database, clock: MovableClock, waves: Waves
) -> None:
    view, first = _make(api, verify=False), _cycle(database)
    home = f"/v1/schedules/{view['id']}/latest"
    for path in ("", "/ensemble.zarr/zarr.json"):
        assert _problem(api.get(home + path)) == (404, "no-latest", [])
    waves.add(first - STEP, first)
    run_tick(api)
    older = _runs(api, view)[0]["forecast"]
    assert _problem(api.get(home)) == (404, "no-latest", [])
    succeed(database, read_forecast(database, older))
    latest = api.get(home)
    assert (latest.status_code, latest.json()["id"]) == (200, older)
    assert latest.headers["Content-Location"] == f"http://localhost/v1/forecast/{older}"
    redirect = api.get(f"{home}/summary.zarr/u10_mean/c/0%2F0?a=b%20c")
    assert redirect.status_code == 307
    assert redirect.headers["Location"] == f"http://localhost/v1/forecast/{older}/summary.zarr/u10_mean/c/0/0?a=b%20c"
    assert redirect.headers["Cache-Control"] == "no-store"
    waves.add(first + STEP)
    clock.advance(6 * _HOUR)
    run_tick(api)
    newer = _runs(api, view)[0]["forecast"]
    assert api.get(home).json()["id"] == older
    succeed(database, read_forecast(database, newer))
    assert api.get(home).json()["id"] == newer
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.id == newer).values(data=Data.DELETED))
    assert api.get(home).json()["id"] == older


def test_faults_of_a_schedule_are_named_together(api: InProcess, waves: Waves) -> None:
    del waves
    forecast = {"model": "untrained", "lead_time": "7h", "members": 5000}
    response = api.post("/v1/schedules", json=_body(every_hours=4, start="soon", forecast=forecast))
    expected = ["/every_hours", "/start", "/forecast/members", "/forecast/lead_time"]
    assert _problem(response) == (422, "validation", expected)


@pytest.mark.parametrize(
    ("fields", "pointer", "text"),
    [
        ({"dataset": "moon"}, "/dataset", "must be one of the catalogue: gfs, nature-run, waves. Got: 'moon'."),
        ({"offset_hours": 3}, "/offset_hours", "must be a multiple of 6"),
        ({"offset_hours": 6}, "/offset_hours", "must be less than `every_hours`, 6. Got: 6."),
        ({"start": "2020-01-01T00"}, "/start", "at most 400 cycles before now"),
        ({"stop": "2020-01-01T00"}, "/stop", "must be at or after the first cycle"),
        ({"verify": True, "forecast": _SMALL | {"members": 1}}, "/verify", "two or more members"),
        ({"name": "a\x00b"}, "/name", "printable"),
        ({"catch_up": 1}, "/catch_up", "greater than or equal to 2"),
        ({"wait_hours": 0.5}, "/wait_hours", "greater than or equal to 1"),
        ({"forecast": {"initial_state": {}}}, "/forecast/initial_state", "Unknown field. Expected one of: labels, "),
        ({"forecast": _SMALL | {"model": "moon"}}, "/forecast/model", "No checkpoint is named"),
    ],
)
def test_a_fault_of_a_schedule_names_its_field(
    api: InProcess, waves: Waves, fields: dict[str, Any], pointer: str, text: str
) -> None:
    del waves
    response = api.post("/v1/schedules", json=_body(**fields))
    assert _problem(response)[2] == [pointer], response.text
    assert text in response.text
    assert api.get("/v1/schedules").json()["schedules"] == []


def test_a_schedule_is_made_once_under_one_key(api: InProcess, waves: Waves) -> None:
    del waves
    headers = {"Idempotency-Key": "one"}
    first, again = (api.post("/v1/schedules", json=_body(), headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.json()["id"] == again.json()["id"]
    other = api.post("/v1/schedules", json=_body(wait_hours=6), headers=headers)
    assert _problem(other)[:2] == (422, "idempotency-key-reuse")
    assert _problem(api.post("/v1/schedules", json=_body())) == (422, "validation", ["/name"])


def test_a_schedule_is_changed_paused_and_resumed(
    api: InProcess, database: Database, clock: MovableClock, waves: Waves
) -> None:
    callback = {"url": "https://hooks.example.org/secret-path", "secret": SECRET}
    allowed = api.app.state.service.settings.replace(webhook_hosts="*")
    object.__setattr__(api.app.state.service, "settings", allowed)
    view, first = _make(api, forecast=_SMALL | {"callback": callback}), _cycle(database)
    home = f"/v1/schedules/{view['id']}"
    assert view["forecast"]["callback"] == {
        "host": "hooks.example.org",
        "events": ["alert", "successful", "failed", "dismissed"],
    }
    assert SECRET not in api.get(home).text
    assert api.patch(home, json={"state": "paused"}).json()["next_run"] is None
    waves.add(*(first + index * STEP for index in range(-1, 5)))
    clock.advance(18 * _HOUR)
    run_tick(api)
    assert _runs(api, view) == []
    resumed = api.patch(home, json={"state": "active", "catch_up": "all", "verify": False}).json()
    assert (resumed["next_run"], resumed["catch_up"], resumed["verify"]) == (str(first + 3 * STEP), "all", False)
    run_tick(api)
    (run,) = _runs(api, view)
    assert (run["init_time"], run["state"]) == (str(first + 3 * STEP), "submitted")
    with database.read() as connection:
        (row,) = connection.scalars(select(forecasts.c.callback))
    assert row["secret"] == SECRET
    changed = api.patch(home, json={"every_hours": 12, "stop": str(first + 9 * STEP)}).json()
    assert (changed["every_hours"], changed["stop"]) == (12, str(first + 9 * STEP))
    assert np.datetime64(changed["next_run"]) > first + 3 * STEP
    assert _problem(api.patch(home, json={"every_hours": 5})) == (422, "validation", ["/every_hours"])
    assert _problem(api.patch(home, json={"start": "2026-01-01"}))[2] == ["/start"]


def test_pages_of_schedules_and_runs_follow_each_other(
    api: InProcess, database: Database, clock: MovableClock, waves: Waves
) -> None:
    del waves
    made = [_make(api, name=str(index), start=str(_cycle(database) - 3 * STEP))["id"] for index in range(3)]
    page = api.get("/v1/schedules?limit=2").json()
    (following,) = (link["href"] for link in page["links"] if link["rel"] == "next")
    rest = api.get(following.removeprefix("http://localhost")).json()
    assert [view["id"] for view in page["schedules"] + rest["schedules"]] == made[::-1]
    run_tick(api)
    page = api.get(f"/v1/schedules/{made[0]}/runs?limit=3&state=waiting").json()
    (following,) = (link["href"] for link in page["links"] if link["rel"] == "next")
    rest = api.get(following.removeprefix("http://localhost")).json()
    assert (len(page["runs"]), len(rest["runs"])) == (3, 1)
    clock.advance(20 * _HOUR)
    run_tick(api)
    counts = api.get(f"/v1/schedules/{made[0]}").json()["counts"]
    assert counts.get("missed", 0) + counts.get("skipped", 0) >= 3


def test_a_deleted_schedule_submits_nothing_more(api: InProcess, database: Database, waves: Waves) -> None:
    view, first = _make(api), _cycle(database)
    waves.add(first - STEP, first)
    run_tick(api)
    forecast = _runs(api, view)[0]["forecast"]
    assert api.delete(f"/v1/schedules/{view['id']}").status_code == 204
    run_tick(api)
    assert _problem(api.get(f"/v1/schedules/{view['id']}")) == (404, "no-such-schedule", [])
    assert api.get(f"/v1/forecast/{forecast}").status_code == 200


def test_a_key_sees_and_changes_no_schedule_of_another(settings: Settings, database: Database, tmp_path: Path) -> None:
    keys = [create_key(database, name) for name in ("one", "two")]
    one, two = ({"Authorization": f"Bearer {secret}"} for _, secret in keys)
    with run_in_process(create_app(settings, with_worker=False)) as api:
        waves = Waves(tmp_path)
        install(api, database, waves)
        cycle = _cycle(database)
        waves.add(cycle - STEP, cycle)
        view = _make(api, one | {"Idempotency-Key": "k"}, verify=False)
        run_tick(api)
        succeed(database, read_forecast(database, _runs(api, view, headers=one)[0]["forecast"]))
        routes = [
            *(("GET", path) for path in ("", "/runs", "/latest", "/latest/ensemble.zarr/zarr.json")),
            *(("HEAD", path) for path in ("", "/runs", "/latest", "/latest/ensemble.zarr/zarr.json")),
            *(("PATCH", ""), ("DELETE", "")),
        ]
        for method, path in routes:
            options: Any = {"json": {"state": "paused"}} if method == "PATCH" else {}
            answer = api.request(method, f"/v1/schedules/{view['id']}{path}", headers=two, **options)
            missing = api.request(method, f"/v1/schedules/sc_none{path}", headers=two, **options)
            assert (answer.status_code, missing.status_code) == (404, 404), (method, path)
            assert answer.text.replace(view["id"], "")[:120] == missing.text.replace("sc_none", "")[:120]
        assert api.get("/v1/schedules", headers=two).json()["schedules"] == []
        assert api.get(f"/v1/schedules?before={view['id']}", headers=two).json()["schedules"] == []
        assert _make(api, two | {"Idempotency-Key": "k"})["id"] != view["id"]
        assert api.get(f"/v1/schedules/{view['id']}/latest", headers=one).status_code == 200
        assert api.get(f"/v1/schedules/{view['id']}", headers=one).json()["state"] == "active"


def test_limits_of_a_key_hold_for_its_schedules(
    settings: Settings, database: Database, clock: MovableClock, tmp_path: Path
) -> None:
    key, secret = create_key(database, "one", {"open_forecasts": 1, "forecast_evaluations": 50})
    headers = {"Authorization": f"Bearer {secret}"}
    with run_in_process(create_app(settings.replace(max_schedules=1), with_worker=False)) as api:
        waves = Waves(tmp_path)
        install(api, database, waves)
        first = _cycle(database)
        waves.add(*(first + index * STEP for index in range(-1, 3)))
        refused = api.post("/v1/schedules", json=_body(forecast=_SMALL | {"members": 20}), headers=headers)
        assert _problem(refused) == (403, "limit-exceeded", ["/forecast/members"])
        view = _make(api, headers)
        more = api.post("/v1/schedules", json=_body(name="more"), headers=headers)
        assert (_problem(more)[:2], more.json()["limit"]["name"]) == ((403, "limit-exceeded"), "schedules")
        run_tick(api)
        clock.advance(6 * _HOUR)
        run_tick(api)
        newest, _ = _runs(api, view, headers=headers)
        assert (newest["state"], newest["attempts"], newest["problem"]["type"]) == (
            "waiting",
            1,
            "/problems/limit-reached",
        )
        limit_key(database, key.id, {"open_forecasts": 2})
        clock.advance(300)
        run_tick(api)
        assert _runs(api, view, headers=headers)[0]["state"] == "submitted"
        revoke_key(database, key.id)
        run_tick(api)
        with database.read() as connection:
            stopped = read_schedule(connection, view["id"], key.id)
        assert (stopped.state, stopped.reason) == ("stopped", "The API key was revoked or has expired.")
