"""The functions of the commands of schedules: each calls the client and returns a receipt."""

from collections.abc import Mapping
from typing import Any

from warmcast.client import Client


def create(*, url: str | None, body: Mapping[str, Any], key: str | None) -> dict[str, Any]:
    """Make a schedule and return it."""
    with Client(url) as client:
        return client.create_schedule(idempotency_key=key, **body)


def list_schedules(*, url: str | None, limit: int) -> dict[str, Any]:
    """Return the newest schedules."""
    with Client(url) as client:
        return {"schedules": client.schedules(limit=limit)}


def show(*, url: str | None, schedule_id: str) -> dict[str, Any]:
    """Return a schedule."""
    with Client(url) as client:
        return client.schedule(schedule_id)


def runs(*, url: str | None, schedule_id: str, limit: int, state: str | None) -> dict[str, Any]:
    """Return the newest runs of a schedule."""
    with Client(url) as client:
        return {"runs": client.schedule_runs(schedule_id, limit=limit, state=state)}


def pause(*, url: str | None, schedule_id: str) -> dict[str, Any]:
    """Pause a schedule and return it."""
    with Client(url) as client:
        return client.change_schedule(schedule_id, state="paused")


def resume(*, url: str | None, schedule_id: str) -> dict[str, Any]:
    """Resume a schedule and return it."""
    with Client(url) as client:
        return client.change_schedule(schedule_id, state="active")


def delete(*, url: str | None, schedule_id: str) -> dict[str, Any]:
    """Delete a schedule and return its id."""
    with Client(url) as client:
        client.delete_schedule(schedule_id)
        return {"deleted": schedule_id}


def latest(*, url: str | None, schedule_id: str) -> dict[str, Any]:
    """Return the status document of the newest successful forecast of a schedule."""
    with Client(url) as client:
        return client.latest(schedule_id).info
