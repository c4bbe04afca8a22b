"""Deliveries of callbacks, as rows that the transaction of an event inserts, so that a lost process loses none.

A process claims a delivery by counting an attempt and postponing the next one. If it is lost before it has stored the
result, the delivery is sent again under the same id: at least once.
"""

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from jobs.rows.clock import now
from jobs.rows.delivery_table import deliveries
from jobs.rows.states import DeliveryState, EventKind
from jobs.rows.tables import api_keys, forecasts

CLAIM_SECONDS = 120.0
"""Seconds after which a claimed delivery without a result is sent again."""
RETRY_SECONDS = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0)
"""Pauses between attempts; after the last one a delivery is given up. Each is varied by a fifth."""

_NAMES = {
    EventKind.RUNNING: "started",
    EventKind.ALERT: "alert",
    EventKind.SUCCESSFUL: "successful",
    EventKind.FAILED: "failed",
    EventKind.DISMISSED: "dismissed",
}
_GONE = 410
_RANDOM = secrets.SystemRandom()
_REVOKED, _EXPIRED = "the API key was revoked", "the API key has expired"
_PUBLIC_OF_PROBLEM = ("type", "retryable")


@dataclass(frozen=True)
class Delivery:
    """A claimed delivery: what is sent where. `url` and `secret` must not be logged."""

    id: int
    forecast_id: str
    owner: str
    webhook_id: str
    event: str
    body: str
    attempts: int
    url: str
    secret: str


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt: the status of the answer, or in safe words why there is none.

    After one that `is_last`, nothing more is sent for the forecast.
    """

    status_code: int | None
    error: str | None = None
    is_last: bool = False


def add_delivery(connection: Connection, forecast_id: str, kind: EventKind, detail: Mapping[str, Any]) -> None:
    """Insert the delivery of an event, in its transaction, if the forecast has a callback for such events."""
    name = _NAMES.get(kind)
    if name is None:
        return
    columns = forecasts.c.callback, forecasts.c.labels, now().label("time")
    row = connection.execute(select(*columns).where(forecasts.c.id == forecast_id)).one()
    if row.callback is None or name not in row.callback["events"]:
        return
    if kind == EventKind.FAILED:
        detail = {key: detail[key] for key in _PUBLIC_OF_PROBLEM if key in detail}
    body = {
        "type": f"forecast.{name}",
        "timestamp": datetime.fromtimestamp(row.time, UTC).isoformat(timespec="milliseconds"),
        "data": {"id": forecast_id, "labels": row.labels or {}, **detail},
    }
    values: dict[str, Any] = {"forecast_id": forecast_id, "webhook_id": f"msg_{secrets.token_hex(12)}", "event": name}
    values |= {"body": json.dumps(body, ensure_ascii=False), "state": DeliveryState.WAITING, "attempts": 0}
    connection.execute(insert(deliveries).values(**values, created=now(), next_attempt=now()))


def claim_due(connection: Connection, limit: int, per_owner: int, in_flight: Mapping[str, int]) -> list[Delivery]:
    """Claim at most `limit` deliveries that are due, of each owner no more than `per_owner` less those `in_flight`."""
    busy = [owner for owner, number in in_flight.items() if number >= per_owner]
    due = select(deliveries, forecasts.c.owner, forecasts.c.callback).join(forecasts)
    due = due.where(deliveries.c.state == DeliveryState.WAITING, deliveries.c.next_attempt <= now())
    due = due.where(forecasts.c.owner.not_in(busy)).order_by(deliveries.c.next_attempt).limit(8 * limit)
    taken, claimed = Counter(in_flight), list[Delivery]()
    for row in connection.execute(due).all():
        if len(claimed) == limit or taken[row.owner] >= per_owner:
            continue
        unclaimed = deliveries.c.id == row.id, deliveries.c.attempts == row.attempts
        change = update(deliveries).where(*unclaimed, deliveries.c.state == DeliveryState.WAITING)
        values = {"attempts": row.attempts + 1, "next_attempt": now() + CLAIM_SECONDS}
        if connection.execute(change.values(**values)).rowcount:
            taken[row.owner] += 1
            parts = (row.id, row.forecast_id, row.owner, row.webhook_id, row.event, row.body, row.attempts + 1)
            claimed.append(Delivery(*parts, row.callback["url"], row.callback["secret"]))
    return claimed


def find_end(connection: Connection, owner: str) -> str | None:
    """Return why nothing more is sent for an owner, whose key was revoked or has expired; else None."""
    columns = api_keys.c.revoked, api_keys.c.expires, now().label("time")
    row = connection.execute(select(*columns).where(api_keys.c.id == owner)).one_or_none()
    if row is None:
        return None
    if row.revoked is not None:
        return _REVOKED
    return _EXPIRED if row.expires is not None and row.expires <= row.time else None


def save_outcome(connection: Connection, delivery: Delivery, outcome: Outcome) -> DeliveryState:
    """Store what came of an attempt, and return the state of the delivery; 410 ends all of the forecast's."""
    code = outcome.status_code
    if code is not None and 200 <= code < 300:
        state = DeliveryState.DELIVERED
    elif code == _GONE or outcome.is_last:
        state = DeliveryState.STOPPED
    elif delivery.attempts > len(RETRY_SECONDS):
        state = DeliveryState.GIVEN_UP
    else:
        state = DeliveryState.WAITING
    values: dict[str, Any] = {"state": state, "status_code": code, "error": outcome.error}
    open_ones = deliveries.c.state == DeliveryState.WAITING
    if state == DeliveryState.WAITING:
        pause = RETRY_SECONDS[delivery.attempts - 1] * _RANDOM.uniform(0.8, 1.2)
        same = deliveries.c.id == delivery.id, deliveries.c.attempts == delivery.attempts
        connection.execute(update(deliveries).where(*same, open_ones).values(**values, next_attempt=now() + pause))
        return state
    own = deliveries.c.forecast_id == delivery.forecast_id
    chosen = own if state == DeliveryState.STOPPED else deliveries.c.id == delivery.id
    connection.execute(update(deliveries).where(chosen, open_ones).values(**values, next_attempt=None, finished=now()))
    return state


def list_deliveries(connection: Connection, forecast_id: str) -> list[Mapping[str, Any]]:
    """Return the rows of the deliveries of a forecast, oldest first."""
    query = select(deliveries).where(deliveries.c.forecast_id == forecast_id).order_by(deliveries.c.id)
    return [*connection.execute(query).mappings()]
