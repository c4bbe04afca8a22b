from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.dispatching.live_workers import Machine
from jobs.errors import DeadlineError
from jobs.planning.estimates import Speed
from jobs.rows.database import Database
from jobs.settings import Settings
from service.app import create_app
from service.dependencies import Service
from service.faults import RequestFaultsError
from service.problems import ServiceError
from service.requests import ForecastBody
from service.submission import CheckedBody, accept, check_body, estimate
from storage.errors import ConfigurationError
from storage.paths import DiskPath
from tests.helpers import random_state
from tests.in_process import run_in_process
from tests.rows import record_heartbeat, record_speed, save_batch_size
from tests.served import small_request
from weather.errors import StoreError

Open = Callable[..., Service]

STATE = random_state()


@pytest.fixture
def open_service(settings: Settings, database: Database) -> Iterator[Open]:
    """Open a service with other settings."""
    running = []

    def open_service(**values: Any) -> Service:
        app = create_app(settings.replace(**values), with_worker=False)
        running.append(run_in_process(app))
        running[-1].__enter__()
        service: Service = app.state.service
        return service

    yield open_service
    for context in running:
        context.__exit__(None, None, None)


def _check(service: Service, **fields: Any) -> CheckedBody:
    return check_body(service, "local", ForecastBody.model_validate(small_request(**fields)))


def _accept(service: Service, key: str | None = None, **fields: Any) -> Any:
    record, _ = accept(service, "local", _check(service, **fields), STATE, key)
    return record.request


def _measure(database: Database, digest: str, group_size: int, seconds: float) -> None:
    """Record a live worker that takes so many seconds for each evaluation of a group."""
    machine = Machine("cpu: a processor", 1)
    record_heartbeat(database, "worker", "cpu", {}, machine)
    record_speed(database, digest, machine, Speed(group_size, 0.0, seconds, 0.0, None), 1)


def test_limits_on_members_and_lead_time_include_their_ends(open_service: Open) -> None:
    service = open_service(max_members=4, max_lead_hours=48)
    for fields in ({"members": 4}, {"members": [1, 5, 9, 11]}, {"lead_time": "48h"}, {"lead_time": "2d"}):
        _check(service, **fields)
    for fields, location in (
        ({"members": 5}, ("body", "members")),
        ({"members": [1, 2, 3, 4, 5]}, ("body", "members")),
        ({"lead_time": "54h"}, ("body", "lead_time")),
        ({"lead_time": "3d"}, ("body", "lead_time")),
    ):
        with pytest.raises(ConfigurationError, match=rf"`{location[1]}` must be at most (4 members|48h)\.") as raised:
            _check(service, **fields)
        assert raised.value.location == location


@pytest.mark.parametrize(("text", "hours"), [("6h", 6), ("30", 30), ("1d", 24), ("15d", 360), (" 12h ", 12)])
def test_lead_times_are_hours_or_days(open_service: Open, text: str, hours: int) -> None:
    assert _check(open_service(), lead_time=text).lead_hours == hours


def test_all_faults_of_a_body_are_reported_together(open_service: Open) -> None:
    wrong = {"members": 2000, "lead_time": "7h", "sampler": {"solver": "midpoint", "nfe": 3}}
    with pytest.raises(RequestFaultsError) as raised:
        _check(open_service(), **wrong)
    assert {error.location for error in raised.value.errors} == {
        ("body", "members"),
        ("body", "lead_time"),
        ("body", "sampler", "nfe"),
    }


def test_the_size_limit_is_on_all_bytes_before_compression_and_includes_its_end(open_service: Open) -> None:
    free = open_service()
    plan = estimate(free, "local", _check(free, members=5), STATE)
    exact = open_service(max_store_bytes=plan.uncompressed_bytes)
    assert estimate(exact, "local", _check(exact, members=5), STATE).uncompressed_bytes == plan.uncompressed_bytes
    less = open_service(max_store_bytes=plan.uncompressed_bytes - 1)
    for submit in (estimate, lambda *arguments: accept(*arguments, None)):
        with pytest.raises(ServiceError, match=f"Got: {plan.uncompressed_bytes} bytes, of 5 members and 4 lead times"):
            submit(less, "local", _check(less, members=5), STATE)


def test_missing_options_of_the_sampler_are_those_of_the_checkpoint(open_service: Open) -> None:
    service = open_service()
    own = _check(service, sampler={}).manifest.sampling
    assert _check(service, sampler={}).sampling == own
    changed = _check(service, sampler={"solver": "euler", "nfe": 5, "warmth": 0.5}).sampling
    assert (changed.solver, changed.nfe, changed.warmth, changed.power) == ("euler", 5, 0.5, own.power)


def test_an_automatic_nfe_is_at_most_that_of_the_checkpoint_in_whole_steps(open_service: Open) -> None:
    service = open_service()
    own = _check(service).manifest.sampling
    for solver, per_step in (("euler", 1), ("midpoint", 2)):
        nfe = _check(service, sampler={"solver": solver, "nfe": "auto"}).sampling.nfe
        assert (nfe % per_step, own.nfe - per_step < nfe <= own.nfe) == (0, True)
    assert _check(service, sampler={"solver": "single", "nfe": "auto"}).sampling.nfe == 1


@pytest.mark.parametrize(
    ("setting", "measured", "members", "expected"),
    [(None, None, 20, 8), (None, None, 3, 3), (None, 5, 20, 5), (4, 5, 20, 4), (4, None, 3, 3), (None, 50, 20, 20)],
)
def test_the_group_size_is_the_setting_or_the_measured_one_or_the_default(
    open_service: Open, database: Database, setting: int | None, measured: int | None, members: int, expected: int
) -> None:
    service = open_service(group_size=setting)
    if measured is not None:
        save_batch_size(database, _check(service).manifest.digest, "cpu: a processor", measured)
    assert _accept(service, members=members).group_size == expected


def test_fewer_evaluations_are_planned_to_meet_a_deadline(open_service: Open, database: Database) -> None:
    service = open_service()
    manifest = _check(service).manifest
    automatic = {"sampler": {"solver": "midpoint", "nfe": "auto"}, "members": 3}
    unmeasured = _accept(service, **automatic, deadline_seconds=10)
    assert (unmeasured.sampling.nfe, unmeasured.nfe_is_automatic) == (manifest.sampling.nfe, True)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE forecast SET status = 'dismissed'")
    _measure(database, manifest.digest, 3, 1.0)  # one group, 4 lead times: 4 s for each evaluation
    plans = [
        estimate(service, "local", _check(service, **automatic, deadline_seconds=seconds), STATE).request.sampling.nfe
        for seconds in (10, 19.9, 20.1, 10_000)
    ]
    assert plans == [2, 2, 4, 4]
    with pytest.raises(DeadlineError, match="`deadline_seconds` must be at least 8") as raised:
        _accept(service, **automatic, deadline_seconds=7)
    assert raised.value.location[:1] == ("body",)


def test_a_repeated_request_is_not_planned_again(open_service: Open, database: Database) -> None:
    service = open_service()
    fields = {"sampler": {"solver": "midpoint", "nfe": "auto"}, "deadline_seconds": 5}
    first = _accept(service, "key", **fields)
    _measure(database, _check(service).manifest.digest, 3, 1000.0)
    with pytest.raises(DeadlineError):
        _accept(service, "other", **fields)
    assert _accept(service, "key", **fields) == first


def test_an_estimate_raises_the_error_of_a_full_disk_too(open_service: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    service = open_service()
    monkeypatch.setattr(DiskPath, "free_bytes", lambda _: 1000.0)
    with pytest.raises(StoreError, match="0 MB that are free"):
        estimate(service, "local", _check(service), STATE)


def test_space_is_reserved_for_forecasts_that_wait(open_service: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    service = open_service()
    needed = estimate(service, "local", _check(service), STATE).expected_bytes
    monkeypatch.setattr(DiskPath, "free_bytes", lambda _: 2.5 * needed)
    for _ in range(2):
        _accept(service, seed=None)
    with pytest.raises(StoreError, match="are reserved for forecasts that were accepted before"):
        _accept(service, seed=None)


def test_the_order_of_listed_members_and_quantiles_makes_no_other_request(open_service: Open) -> None:
    service = open_service()
    digests = {
        _accept(service, members=members, summary={"quantiles": quantiles}).digest
        for members, quantiles in (([1, 5, 9], [0.1, 0.5]), ([9, 1, 5], [0.5, 0.1]))
    }
    assert len(digests) == 1
