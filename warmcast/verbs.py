"""The verbs of the client: one function for each operation of the API, from its arguments to its result.

`Client`, `AsyncClient` and the forecasts that they return offer each of them as a method of the same name.
"""

import inspect
import json as json_module
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from warmcast.errors import InputFileError
from warmcast.exchange import Failure, Outage, Request, Send, Service, Steps, forecast_path
from warmcast.forecasts import read_status
from warmcast.series import SpeedUnits

Files = str | Path | Sequence[str | Path]
"""One or several files."""

InitialState = Files | Mapping[str, Any]
"""A data set of the service's catalogue, one or two files, the id of a kept state, or an `initial_state` as JSON."""

ANSWER_SECONDS = 300.0
"""Seconds within which the service answers a request for which it has to read files."""
_DATASET = re.compile(r"[\w-]+")
PAGE = 200
"""Items that one request of a list returns at most."""
_STATE = re.compile(r"st_[0-9a-f]{24}")


def models(service: Service) -> Steps[list[dict[str, Any]]]:
    """Return the service's checkpoints: names, variables, grids, time steps and limits."""
    models: list[dict[str, Any]] = (yield from service.call(Request("GET", "/models"))).document()
    return models


def model(service: Service, name: str) -> Steps[dict[str, Any]]:
    """Return one checkpoint of the service."""
    model: dict[str, Any] = (yield from service.call(Request("GET", f"/models/{quote(name, safe='')}"))).document()
    return model


def catalogue(service: Service) -> Steps[list[dict[str, Any]]]:
    """Return the initial states of the service's catalogue: data sets and initial times."""
    states: list[dict[str, Any]] = (yield from service.call(Request("GET", "/catalogue"))).document()
    return states


def datasets(service: Service) -> Steps[list[dict[str, Any]]]:
    """Return the data sets of the service's catalogue: licence, newest initial time, and whether each is reached."""
    found: list[dict[str, Any]] = (yield from service.call(Request("GET", "/datasets"))).document()
    return found


def limits(service: Service) -> Steps[dict[str, Any]]:
    """Return the limits of this client's API key and how much of them is used, such as open forecasts."""
    limits: dict[str, Any] = (yield from service.call(Request("GET", "/limits"))).document()
    return limits


def inspect_files(
    service: Service, files: Files, *, model: str | None = None, init_time: str | None = None
) -> Steps[dict[str, Any]]:
    """Return what files hold, what a forecast would start from, and why the rest is not used; nothing is stored.

    `can_start` is false if no forecast of `model` can start from them at `init_time`, by default the newest.
    """
    parts = tuple(("initial_state", existing_file(path)) for path in sequence(files))
    parameters = without_missing(model=model, init_time=init_time)
    request = Request("POST", "/inspect", parameters, files=parts, answer_seconds=ANSWER_SECONDS)
    inspection: dict[str, Any] = (yield from service.call(request)).document()
    return inspection


def usage(service: Service, days: int = 30, owner: str | None = None) -> Steps[list[dict[str, Any]]]:
    """Return what this client's API key has used, in all and by day; operators name another `owner`, or `all`."""
    parameters = {"days": str(days)} | ({} if owner is None else {"owner": owner})
    answer = yield from service.call(Request("GET", "/usage", parameters))
    found: list[dict[str, Any]] = answer.document()["usage"]
    return found


def submit(
    service: Service,
    initial_state: InitialState = "gfs",
    *,
    init_time: str | None = None,
    model: str | None = None,
    members: int | Sequence[int] | None = None,
    lead_time: str | None = None,
    seed: int | None = None,
    nfe: int | Literal["auto"] | None = None,
    solver: Literal["euler", "midpoint", "single"] | None = None,
    warmth: float | None = None,
    sampler: Mapping[str, Any] | None = None,
    deadline_seconds: float | None = None,
    priority: Literal["low", "normal", "high"] | None = None,
    summary: Mapping[str, Any] | None = None,
    output: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    retention_hours: float | None = None,
    alerts: Sequence[Mapping[str, Any]] | None = None,
    callback: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Steps[dict[str, Any]]:
    """Submit a forecast from a data set of the catalogue, one or two files, or a kept state's id, and return it.

    The arguments are the fields of `POST /forecast`, so `submit(**forecast.info["request"])` submits a forecast again.
    The service chooses each that is None; `members` may be a list of numbers of members; `nfe`, `solver` and `warmth`
    are fields of its `sampler`. Two calls with one `idempotency_key` submit one forecast; without a key each call gets
    one, so that it is repeated safely while the service is unreachable.
    """
    fields = without_missing(
        model=model, members=members, lead_time=lead_time, seed=seed, deadline_seconds=deadline_seconds
    )
    fields |= without_missing(
        priority=priority, summary=summary, output=output, sampler=_sampler(sampler, nfe, solver, warmth)
    )
    fields |= without_missing(labels=labels or None, retention_hours=retention_hours, alerts=alerts or None)
    fields |= without_missing(callback=callback)
    request = _forecast_request(initial_state, init_time, fields, idempotency_key or str(uuid.uuid4()))
    info: dict[str, Any] = (yield from service.call(request)).document()
    return info


def plan(
    service: Service,
    initial_state: InitialState = "gfs",
    *,
    init_time: str | None = None,
    model: str | None = None,
    members: int | Sequence[int] | None = None,
    lead_time: str | None = None,
    seed: int | None = None,
    nfe: int | Literal["auto"] | None = None,
    solver: Literal["euler", "midpoint", "single"] | None = None,
    warmth: float | None = None,
    sampler: Mapping[str, Any] | None = None,
    deadline_seconds: float | None = None,
    priority: Literal["low", "normal", "high"] | None = None,
    summary: Mapping[str, Any] | None = None,
    output: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    retention_hours: float | None = None,
    alerts: Sequence[Mapping[str, Any]] | None = None,
    callback: Mapping[str, Any] | None = None,
) -> Steps[dict[str, Any]]:
    """Check a forecast as `submit` would, and return its complete request, expected duration, memory and size.

    Nothing is submitted.
    """
    fields = without_missing(
        model=model, members=members, lead_time=lead_time, seed=seed, deadline_seconds=deadline_seconds
    )
    fields |= without_missing(
        priority=priority, summary=summary, output=output, sampler=_sampler(sampler, nfe, solver, warmth)
    )
    fields |= without_missing(labels=labels or None, retention_hours=retention_hours, alerts=alerts or None)
    fields |= without_missing(callback=callback)
    request = _forecast_request(initial_state, init_time, fields, None, validate_only=True)
    plan: dict[str, Any] = (yield from service.call(request)).document()
    return plan


def list_forecasts(
    service: Service,
    *,
    status: str | None = None,
    limit: int | None = 50,
    before: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> Steps[list[dict[str, Any]]]:
    """Return forecasts, newest first: at most `limit`, or all if it is None.

    `status` selects the forecasts of one status; `before` is a forecast's id, and selects those older than it;
    `labels` selects those that have all of them.
    """
    result: list[dict[str, Any]] = []
    while limit is None or len(result) < limit:
        size = PAGE if limit is None else min(limit - len(result), PAGE)
        label = [f"{name}:{value}" for name, value in (labels or {}).items()] or None
        parameters = without_missing(status=status, limit=size, before=before, label=label)
        page = (yield from service.call(Request("GET", "/forecast", parameters))).document()["forecasts"]
        result += page
        if len(page) < size:
            break
        before = page[-1]["id"]
    return result


def forecast(service: Service, forecast_id: str) -> Steps[dict[str, Any]]:
    """Return the forecast of an id."""
    return (yield from read_status(Outage(service), forecast_id))


def replay(
    service: Service,
    forecast_id: str,
    *members: int,
    labels: Mapping[str, str] | None = None,
    retention_hours: float | None = None,
    idempotency_key: str | None = None,
) -> Steps[dict[str, Any]]:
    """Recompute members of this forecast exactly, as a new forecast, and return the new forecast."""
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    body = {"members": [*members], **without_missing(labels=labels or None, retention_hours=retention_hours)}
    request = Request("POST", forecast_path(forecast_id, "replay"), headers=headers, json=body)
    info: dict[str, Any] = (yield from service.call(request)).document()
    return info


def cancel(service: Service, forecast_id: str) -> Steps[dict[str, Any]]:
    """Cancel this forecast; its complete lead times are kept.

    Raises `ServiceProblemError` of kind `/problems/forecast-over` if it has ended.
    """
    outage, was_sent = Outage(service), False
    while True:
        answer = yield Send(Request("DELETE", forecast_path(forecast_id), {"keep_data": True}))
        if outage.is_available(answer):
            break
        was_sent |= isinstance(answer, Failure) and answer.was_sent
        yield from outage.pause(answer)
    if answer.status == 409 and was_sent:
        info: dict[str, Any] = yield from forecast(service, forecast_id)
        if info["status"] == "dismissed":
            return info
    info = answer.check().document()
    return info


def delete(service: Service, forecast_id: str) -> Steps[None]:
    """Delete the data of this forecast if it has ended, else cancel it; its record is kept."""
    yield from service.call(Request("DELETE", forecast_path(forecast_id)))


def receipt(service: Service, forecast_id: str) -> Steps[dict[str, Any]]:
    """Return the receipt of a successful forecast: request, seed, checkpoint, versions, device, durations."""
    request = Request("GET", forecast_path(forecast_id, "receipt"))
    receipt: dict[str, Any] = (yield from service.call(request)).document()
    return receipt


def diagnostics(service: Service, forecast_id: str) -> Steps[dict[str, Any]]:
    """Return spread, spectra and lost members of each complete lead time, and the scores of all verifications."""
    request = Request("GET", forecast_path(forecast_id, "diagnostics"))
    diagnostics: dict[str, Any] = (yield from service.call(request)).document()
    return diagnostics


def verify(service: Service, forecast_id: str, truth: Files, *, reference: str) -> Steps[dict[str, Any]]:
    """Score the complete lead times against analyses in files, and return the scores; the service keeps them.

    `reference` names the analyses in diagnostics and metrics, in small letters, digits and hyphens: `gfs-analysis`.
    """
    request = replace(verification_request(truth, reference), path=forecast_path(forecast_id, "verify"))
    verification: dict[str, Any] = (yield from service.call(request)).document()
    return verification


def verification_request(truth: Files, reference: str) -> Request:
    """Return the request to score against analyses in files; its path is that of one to verify."""
    files = tuple(("truth", existing_file(path)) for path in sequence(truth))
    form = {"reference": reference}
    return Request("POST", "/verify", form=form, files=files, is_repeatable=False, answer_seconds=ANSWER_SECONDS)


def maps(
    service: Service,
    forecast_id: str,
    *lead_times: str,
    units: SpeedUnits = "ms",
    bbox: tuple[float, float, float, float] | None = None,
) -> Steps[bytes]:
    """Return maps of a member, the ensemble mean and the spread at up to four lead times, such as `24h`, as PNG.

    `bbox` is the region to draw: west, south, east, north in degrees, across 180° if west > east; None is the globe.
    `units` are those of wind: m/s, knots or km/h.
    """
    parameters: dict[str, Any] = {"units": units}
    if lead_times:
        parameters["lead_time"] = list(lead_times)
    if bbox is not None:
        parameters["bbox"] = ",".join(map(str, bbox))
    return (yield from _picture(service, forecast_path(forecast_id, "plots/maps.png"), parameters))


def plume(
    service: Service, forecast_id: str, latitude: float, longitude: float, *, units: SpeedUnits = "ms"
) -> Steps[bytes]:
    """Return the time series of all members at the grid point nearest to a place, in degrees, as PNG.

    `units` are those of wind: m/s, knots or km/h.
    """
    parameters = {"latitude": latitude, "longitude": longitude, "units": units}
    return (yield from _picture(service, forecast_path(forecast_id, "plots/plume.png"), parameters))


def _picture(service: Service, path: str, parameters: Mapping[str, Any]) -> Steps[bytes]:
    return (yield from service.call(Request("GET", path, parameters, answer_seconds=ANSWER_SECONDS))).content


def check_store(service: Service, forecast_id: str, name: str) -> Steps[None]:
    """Raise `ServiceProblemError` if a store of a forecast, such as `ensemble.zarr`, is not available."""
    yield from service.call(Request("GET", forecast_path(forecast_id, f"{name}/zarr.json")))


def describe_method(method: Callable[..., object], verb: Callable[..., object], num_bound: int) -> None:
    """Set the signature of a method to that of its verb, without the first `num_bound` arguments, which it supplies."""
    signature = inspect.signature(verb)
    own = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *[*signature.parameters.values()][num_bound:]]
    method.__dict__["__signature__"] = signature.replace(parameters=own, return_annotation=signature.empty)


def _sampler(given: Mapping[str, Any] | None, nfe: object, solver: object, warmth: object) -> dict[str, Any] | None:
    return {**(given or {}), **without_missing(nfe=nfe, solver=solver, warmth=warmth)} or None


def without_missing(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _forecast_request(
    initial_state: InitialState,
    init_time: str | None,
    fields: Mapping[str, Any],
    key: str | None,
    *,
    validate_only: bool = False,
) -> Request:
    """Return the request to submit or to plan a forecast: multipart for files, else JSON."""
    source = without_missing(init_time=init_time)
    parameters = {"validate_only": True} if validate_only else {}
    headers = {} if key is None else {"Idempotency-Key": key}
    if isinstance(initial_state, Mapping):
        body = {"initial_state": {**initial_state, **source}, **fields}
        return Request("POST", "/forecast", parameters, headers, json=body, answer_seconds=ANSWER_SECONDS)
    given = sequence(initial_state)
    if len(given) == 1 and isinstance(given[0], str) and _STATE.fullmatch(given[0]) and not Path(given[0]).exists():
        body = {"initial_state": {"source": "state", "id": given[0], **source}, **fields}
        return Request("POST", "/forecast", parameters, headers, json=body, answer_seconds=ANSWER_SECONDS)
    if len(given) == 1 and isinstance(given[0], str) and is_dataset(given[0]):
        body = {"initial_state": {"source": "catalogue", "dataset": given[0], **source}, **fields}
        return Request("POST", "/forecast", parameters, headers, json=body, answer_seconds=ANSWER_SECONDS)
    body = {"initial_state": {"source": "upload", **source}, **fields}
    return Request(
        "POST",
        "/forecast",
        parameters,
        headers,
        form={"request": json_module.dumps(body)},
        files=tuple(("initial_state", existing_file(path)) for path in given),
        answer_seconds=ANSWER_SECONDS,
    )


def is_dataset(text: str) -> bool:
    """Return whether a text names a data set: only letters, digits, `-` and `_`, and no file of that name exists."""
    return bool(_DATASET.fullmatch(text)) and not Path(text).exists()


def existing_file(path: str | Path) -> Path:
    """Return the path of a file to send; raise `InputFileError` if there is none."""
    path = Path(path)
    if path.is_dir():
        raise InputFileError(
            f"`{path}` is a folder, but the service reads files. Send a Zarr store as a zip of the folder's contents."
        )
    if not path.is_file():
        raise InputFileError(f"The file `{path}` does not exist.")
    return path


def sequence(items: Files) -> list[str | Path]:
    """Return one or several files as a list; raise `InputFileError` if there is none."""
    given = [items] if isinstance(items, str | Path) else [*items]
    if not given:
        raise InputFileError("At least one file must be given. Got: none.")
    return given
