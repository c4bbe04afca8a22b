import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from jobs.rows.database import Database
from jobs.settings import Settings
from service.app import create_app
from tests.in_process import InProcess, run_in_process
from tests.rows import cancel_forecast, create_key, limit_key, read_forecast
from tests.served import small_request

Limited = Callable[..., InProcess]
EVALUATIONS = 3 * 4 * 3
"""Members, lead times and evaluations of both networks of the forecasts of these tests."""


@pytest.fixture
def limited(settings: Settings, database: Database) -> Iterator[Limited]:
    """Start a service with other settings."""
    running = []

    def limited(**values: Any) -> InProcess:
        running.append(run_in_process(create_app(settings.replace(**values), with_worker=False)))
        return running[-1].__enter__()

    yield limited
    for service in running:
        service.__exit__(None, None, None)


@pytest.fixture
def key(database: Database) -> tuple[str, dict[str, str]]:
    """The id of a key, and the header with it."""
    key, secret = create_key(database, "desk")
    return key.id, {"Authorization": f"Bearer {secret}"}


def _problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["type"]) == (status, f"/problems/{slug}"), problem
    assert problem["retryable"] == ("retry-after" in answer.headers)
    return problem


def _read(api: InProcess, headers: dict[str, str]) -> dict[str, dict[str, Any]]:
    limits = api.get("/v1/limits", headers=headers).json()["limits"]
    return {limit["name"]: limit for limit in limits}


def test_a_caller_reads_its_limits_and_what_it_uses(
    limited: Limited, database: Database, key: tuple[str, dict[str, str]]
) -> None:
    api, (key_id, headers) = limited(key_open_forecasts=3), key
    limit_key(database, key_id, {"day_evaluations": 100})
    record = api.post("/v1/forecast", json=small_request(), headers=headers).json()
    limits = _read(api, headers)
    assert (limits["open_forecasts"]["value"], limits["open_forecasts"]["used"]) == (3, 1)
    assert (limits["day_evaluations"]["value"], limits["day_evaluations"]["used"]) == (100, EVALUATIONS)
    assert limits["kept_bytes"]["used"] > 0
    assert (limits["uploads"]["used"], limits["forecast_evaluations"]["used"]) == (None, None)
    frees = datetime.fromisoformat(limits["day_evaluations"]["frees"]).timestamp()
    assert frees % 86400 == 0
    assert 0 < frees - time.time() <= 86400
    assert api.get("/v1/limits", headers=headers).json()["high_priority"] is False
    cancel_forecast(database, record["id"], key_id)
    limits = _read(api, headers)
    assert [limits[name]["used"] for name in ("open_forecasts", "day_evaluations", "kept_bytes")] == [0, 0, 0]


def test_without_a_key_nothing_but_the_queue_is_limited(limited: Limited) -> None:
    api = limited(key_open_forecasts=0, key_forecast_evaluations=0, key_kept_bytes=0, key_uploads=0)
    assert api.post("/v1/forecast", json=small_request(priority="high")).status_code == 202
    limits = api.get("/v1/limits").json()
    assert limits["high_priority"] is True
    assert {limit["value"] for limit in limits["limits"]} == {None}
    assert limits["limits"][0]["used"] == 1


@pytest.mark.parametrize(
    ("own", "fields", "status", "slug", "used"),
    [
        ({"open_forecasts": 0}, {}, 429, "limit-reached", 0),
        ({"day_evaluations": EVALUATIONS - 1}, {}, 429, "limit-reached", 0),
        ({"kept_bytes": 100}, {}, 403, "limit-exceeded", 0),
        ({"forecast_evaluations": EVALUATIONS - 1}, {}, 403, "limit-exceeded", None),
        ({"high_priority": False}, {"priority": "high"}, 403, "limit-exceeded", None),
    ],
)
def test_a_refusal_names_the_limit_its_value_and_what_is_used(
    own: dict[str, int],
    fields: dict[str, Any],
    status: int,
    slug: str,
    used: int | None,
    limited: Limited,
    database: Database,
    key: tuple[str, dict[str, str]],
) -> None:
    api, (key_id, headers) = limited(key_high_priority=True), key
    limit_key(database, key_id, own)
    ((name, value),) = own.items()
    answer = api.post("/v1/forecast", json=small_request(**fields), headers=headers)
    problem = _problem(answer, status, slug)
    limit = problem["limit"]
    assert (limit["name"], limit["value"], limit["used"]) == (name, int(value), used)
    assert (limit["frees"] is None) == (name != "day_evaluations")
    if name == "day_evaluations":
        assert 0 < int(answer.headers["retry-after"]) <= 86400
    elif name == "open_forecasts":
        assert answer.headers["retry-after"] == "30"
    limit_key(database, key_id, {name: None})
    assert api.post("/v1/forecast", json=small_request(**fields), headers=headers).status_code == 202


def test_an_estimate_is_refused_only_for_limits_that_time_does_not_free(
    limited: Limited, database: Database, key: tuple[str, dict[str, str]]
) -> None:
    api, (key_id, headers) = limited(), key
    limit_key(database, key_id, {"open_forecasts": 0, "day_evaluations": 0})
    path = "/v1/forecast?validate_only=true"
    assert api.post(path, json=small_request(), headers=headers).status_code == 200
    _problem(api.post(path, json=small_request(priority="high"), headers=headers), 403, "limit-exceeded")


def test_a_replay_counts_and_has_no_priority_that_its_key_may_not_use(
    limited: Limited, database: Database, key: tuple[str, dict[str, str]]
) -> None:
    api, (key_id, headers) = limited(), key
    limit_key(database, key_id, {"high_priority": True})
    first = api.post("/v1/forecast", json=small_request(priority="high"), headers=headers).json()
    limit_key(database, key_id, {"high_priority": False, "day_evaluations": EVALUATIONS + EVALUATIONS // 3})
    replay = api.post(f"/v1/forecast/{first['id']}/replay", json={"members": [1]}, headers=headers)
    assert (replay.status_code, replay.json()["priority"]) == (202, "normal")
    assert read_forecast(database, first["id"]).priority == "high"
    _problem(
        api.post(f"/v1/forecast/{first['id']}/replay", json={"members": [2]}, headers=headers), 429, "limit-reached"
    )


def test_more_uploads_at_once_than_a_key_may_send_are_refused_before_they_are_received(
    limited: Limited, database: Database, key: tuple[str, dict[str, str]]
) -> None:
    api, (key_id, headers) = limited(), key
    limit_key(database, key_id, {"uploads": 0})
    files = {"initial_state": ("a.grib2", b"GRIB" * 10)}
    answer = api.post("/v1/inspect", files=files, headers=headers)
    problem = _problem(answer, 429, "limit-reached")
    assert (problem["limit"]["name"], problem["limit"]["value"], problem["limit"]["used"]) == ("uploads", 0, 0)
    limit_key(database, key_id, {"uploads": 1})
    assert api.post("/v1/inspect", files=files, headers=headers).status_code != 429


def test_wrong_keys_are_slowed_and_a_right_one_from_the_same_address_is_not(
    limited: Limited, key: tuple[str, dict[str, str]]
) -> None:
    api, (_, headers) = limited(), key
    answers = [api.get("/v1/limits", headers={"PRIVATE-TOKEN": f"wc_{index}"}) for index in range(20)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 10
    problem = _problem(answers[-1], 429, "too-many-keys")
    assert int(answers[-1].headers["retry-after"]) <= 6
    assert "wc_" not in problem["detail"]
    assert api.get("/v1/limits", headers=headers).status_code == 200
    assert api.get("/v1/limits").status_code == 401, "no key is not a wrong one"
