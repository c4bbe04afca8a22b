"""The functions of the commands of batches: each calls the client and returns a receipt."""

from collections.abc import Callable
from typing import Any

from warmcast.batches import require_batch_success
from warmcast.client import Client


def submit(*, url: str | None, body: dict[str, Any], key: str | None) -> dict[str, Any]:
    """Submit a batch and return its status document."""
    states, fields = body["initial_states"], {name: value for name, value in body.items() if name != "initial_states"}
    with Client(url) as client:
        return client.batch(states, idempotency_key=key, **fields).info


def status(*, url: str | None, batch_id: str) -> dict[str, Any]:
    """Return the status document of a batch."""
    with Client(url) as client:
        return client.find_batch(batch_id).info


def watch(
    *, url: str | None, batch_id: str, timeout_seconds: float, report: Callable[[int, int], None]
) -> dict[str, Any]:
    """Follow a batch to its end and return its status document; raises `ForecastFailedError` if any part has failed.

    `report` is called with the numbers of complete and of all lead times.
    """
    with Client(url, timeout_seconds=timeout_seconds) as client:
        info: dict[str, Any] = {}
        for info in client.follow_batch(batch_id):
            detail = info["progress_detail"]
            report(detail["lead_times"], detail["num_lead_times"])
    require_batch_success(info)
    return info


def list_batches(*, url: str | None, limit: int) -> dict[str, Any]:
    """Return the newest batches."""
    with Client(url) as client:
        return {"batches": [batch.info for batch in client.batches(limit=limit)]}


def cancel(*, url: str | None, batch_id: str) -> dict[str, Any]:
    """Cancel a batch and return its status document."""
    with Client(url) as client:
        return client.find_batch(batch_id).cancel().info


def restart(*, url: str | None, batch_id: str) -> dict[str, Any]:
    """Restart the failed and cancelled parts of a batch and return its status document."""
    with Client(url) as client:
        return client.find_batch(batch_id).restart().info


def delete(*, url: str | None, batch_id: str) -> dict[str, Any]:
    """Delete the data of a batch and return its status document."""
    with Client(url) as client:
        batch = client.find_batch(batch_id)
        batch.delete()
        return batch.refresh().info
