"""The verbs of the client for schedules: forecasts that the service submits by itself."""

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from warmcast.exchange import Request, Service, Steps
from warmcast.verbs import PAGE, without_missing


def schedules(service: Service, *, limit: int | None = 50, before: str | None = None) -> Steps[list[dict[str, Any]]]:
    """Return schedules, newest first: at most `limit`, or all if None; `before` is the id of one that they follow."""
    result: list[dict[str, Any]] = []
    while limit is None or len(result) < limit:
        size = PAGE if limit is None else min(limit - len(result), PAGE)
        parameters = without_missing(limit=size, before=before)
        page = (yield from service.call(Request("GET", "/schedules", parameters))).document()["schedules"]
        result += page
        if len(page) < size:
            break
        before = page[-1]["id"]
    return result


def schedule(service: Service, schedule_id: str) -> Steps[dict[str, Any]]:
    """Return a schedule: next and last run, late runs, and the number of runs by state."""
    schedule: dict[str, Any] = (yield from service.call(Request("GET", _path(schedule_id)))).document()
    return schedule


def create_schedule(
    service: Service,
    /,
    name: str,
    dataset: str,
    *,
    forecast: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    **fields: Any,
) -> Steps[dict[str, Any]]:
    """Let the service submit a forecast for each cycle of a data set, and return the schedule.

    `forecast` are the arguments of `submit` that are fields of `POST /forecast`; `fields` are those of
    `POST /schedules`, such as `every_hours`, `offset_hours`, `catch_up`, `wait_hours` and `verify`.
    """
    body = {"name": name, "dataset": dataset, **without_missing(forecast=forecast), **fields}
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    answer = yield from service.call(Request("POST", "/schedules", headers=headers, json=body))
    schedule: dict[str, Any] = answer.document()
    return schedule


def change_schedule(service: Service, /, schedule_id: str, **fields: Any) -> Steps[dict[str, Any]]:
    """Change fields of a schedule and return it; `state="paused"` pauses it, and `state="active"` resumes it."""
    answer = yield from service.call(Request("PATCH", _path(schedule_id), json=fields))
    schedule: dict[str, Any] = answer.document()
    return schedule


def delete_schedule(service: Service, schedule_id: str) -> Steps[None]:
    """Delete a schedule and the list of its runs; its forecasts are kept."""
    yield from service.call(Request("DELETE", _path(schedule_id)))


def schedule_runs(
    service: Service, schedule_id: str, *, limit: int = 50, before: str | None = None, state: str | None = None
) -> Steps[list[dict[str, Any]]]:
    """Return at most `limit`, up to 200, cycles of a schedule, newest first: what came of each, and its verification.

    `before` is an initial time, and `state` one of `waiting`, `submitted`, `missed`, `skipped` and `failed`.
    """
    parameters = without_missing(limit=limit, before=before, state=state)
    answer = yield from service.call(Request("GET", f"{_path(schedule_id)}/runs", parameters))
    runs: list[dict[str, Any]] = answer.document()["runs"]
    return runs


def latest(service: Service, schedule_id: str) -> Steps[dict[str, Any]]:
    """Return the newest successful forecast of a schedule, which stays the same when a newer one comes."""
    info: dict[str, Any] = (yield from service.call(Request("GET", f"{_path(schedule_id)}/latest"))).document()
    return info


def _path(schedule_id: str) -> str:
    return f"/schedules/{quote(schedule_id, safe='')}"
