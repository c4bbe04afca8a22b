"""The verbs of the client for initial states that the service keeps."""

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from warmcast.exchange import Request, Service, Steps
from warmcast.verbs import ANSWER_SECONDS, PAGE, InitialState, existing_file, is_dataset, sequence, without_missing


def states(service: Service, *, limit: int | None = 50, before: str | None = None) -> Steps[list[dict[str, Any]]]:
    """Return the initial states that the service keeps for this client, newest first: at most `limit`, or all if None.

    `before` is a state's id, and selects those older than it.
    """
    result: list[dict[str, Any]] = []
    while limit is None or len(result) < limit:
        size = PAGE if limit is None else min(limit - len(result), PAGE)
        parameters = without_missing(limit=size, before=before)
        page = (yield from service.call(Request("GET", "/states", parameters))).document()["states"]
        result += page
        if len(page) < size:
            break
        before = page[-1]["id"]
    return result


def state(service: Service, state_id: str) -> Steps[dict[str, Any]]:
    """Return an initial state that the service keeps: initial time, grid, variables, origin and warnings."""
    state: dict[str, Any] = (yield from service.call(Request("GET", _path(state_id)))).document()
    return state


def upload_state(
    service: Service,
    initial_state: InitialState,
    *,
    init_time: str | None = None,
    model: str | None = None,
    idempotency_key: str | None = None,
) -> Steps[dict[str, Any]]:
    """Let the service keep an initial state, and return it; its `id` is an `initial_state` of `submit`.

    It is one or two files, a data set of the catalogue, or a source such as `{"source": "forecast", "id": "fc_…",
    "lead_time": "24h", "member": 3}`. `model` names the checkpoint whose grid and variables it gets.
    """
    headers, fields = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}, without_missing(init_time=init_time)
    fields |= without_missing(model=model)
    source, given = _split(initial_state)
    if source is None:
        request = Request(
            "POST",
            "/states",
            headers=headers,
            form={"request": json.dumps(fields)},
            files=tuple(("initial_state", existing_file(path)) for path in given),
            answer_seconds=ANSWER_SECONDS,
        )
    else:
        request = Request("POST", "/states", headers=headers, json={**source, **fields}, answer_seconds=ANSWER_SECONDS)
    state: dict[str, Any] = (yield from service.call(request)).document()
    return state


def delete_state(service: Service, state_id: str) -> Steps[None]:
    """Delete an initial state that the service keeps; forecasts that were submitted from it have their own copies."""
    yield from service.call(Request("DELETE", _path(state_id)))


def _split(initial_state: InitialState) -> tuple[Mapping[str, Any] | None, Sequence[str | Path]]:
    """Return the source that is no file, or None, and the files."""
    if isinstance(initial_state, Mapping):
        return initial_state, ()
    given = sequence(initial_state)
    if len(given) == 1 and isinstance(given[0], str) and is_dataset(given[0]):
        return {"source": "catalogue", "dataset": given[0]}, ()
    return None, given


def _path(state_id: str) -> str:
    return f"/states/{quote(state_id, safe='')}"
