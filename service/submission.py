"""From what a caller sends to an accepted forecast: bounds, seed, plan, rows, poke."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.batch_sizes import group_size_for
from jobs.forecasts import ForecastRecord, by_key, count_open
from jobs.plans import Plan, check_room, plan_of, with_chosen_nfe
from jobs.request import ForecastRequest, Output
from jobs.sharing import count_useful
from jobs.speeds import look_out
from jobs.states import Priority
from jobs.submit import layout_of, size_of, submit
from service.context import Service
from service.folders import available_folder
from service.problems import QUEUE_FULL, TOO_LARGE, ServiceError
from service.requests import ForecastBody
from storage.errors import ConfigurationError
from weather.bundled import find_checkpoint
from weather.ingest.artefact import read_canonical
from weather.initial_state import InitialState
from weather.manifest import NFE_PER_STEP, Manifest, Sampling, read_manifest
from weather.times import count_lead_times


@dataclass(frozen=True)
class Estimate:
    """What a forecast would take: its request, complete; its plan; evaluations of both networks."""

    request: ForecastRequest
    plan: Plan
    network_evaluations: int


def accept(
    service: Service, owner: str, body: ForecastBody, manifest: Manifest, state: InitialState, key: str | None
) -> tuple[ForecastRecord, bool]:
    """Accept a forecast and poke a worker; returns it and whether it is new under its idempotency key.

    Raises what is wrong before anything is written. An earlier forecast under the same key is returned whatever the
    plan of another would be now.
    """
    asked = _complete(service, body, manifest, state, key)
    return _accepted(service, owner, asked, manifest, state, key, body.priority)


def replay(
    service: Service, owner: str, record: ForecastRecord, members: Sequence[int], key: str | None
) -> tuple[ForecastRecord, bool]:
    """Accept a forecast that makes members of an earlier one again, exactly and kept whole; otherwise as `accept`."""
    earlier, numbers = record.request, tuple(sorted(set(members)))
    folder = available_folder(record, service)
    wrong = sorted(set(numbers) - set(earlier.numbers))
    if wrong:
        raise ConfigurationError(f"Forecast {record.id} has no member {wrong[0]}.")
    manifest = read_manifest(find_checkpoint(earlier.checkpoint, service.settings.checkpoint_folders))
    if manifest.digest != earlier.checkpoint_digest:
        raise ConfigurationError(f"Checkpoint `{earlier.checkpoint}` has changed since forecast {record.id}.")
    changes = {
        "members": len(numbers), "member_numbers": numbers, "output": Output(), "deadline_seconds": None,
        "nfe_is_automatic": False,
    }  # fmt: skip
    request = ForecastRequest.model_validate(earlier.model_dump() | changes)
    state = read_canonical(folder.initial_state)
    return _accepted(service, owner, request, manifest, state, key, record.priority)


def _accepted(
    service: Service,
    owner: str,
    asked: ForecastRequest,
    manifest: Manifest,
    state: InitialState,
    key: str | None,
    priority: Priority,
) -> tuple[ForecastRecord, bool]:
    earlier = by_key(service.database, owner, key, asked) if key else None
    if earlier is not None:
        return earlier, False
    told = _planned(service, asked, manifest)
    waiting, _ = count_open(service.database)
    if waiting >= service.settings.max_open_forecasts:
        raise ServiceError(QUEUE_FULL, f"{waiting} forecasts wait or run, and no more are taken. Ask again later.")
    record, is_new = submit(
        service.database, service.data, owner, told.request, state, manifest, key, told.plan.room_bytes, priority
    )
    if is_new:
        service.dispatcher.poke(count_useful(service.database, service.settings.max_attempts))
    return record, is_new


def estimate(service: Service, body: ForecastBody, manifest: Manifest, state: InitialState) -> Estimate:
    """Return what a forecast would take that is asked for now; raises what is wrong with it."""
    return _planned(service, _complete(service, body, manifest, state, None), manifest)


def _complete(
    service: Service, body: ForecastBody, manifest: Manifest, state: InitialState, key: str | None
) -> ForecastRequest:
    """Return the request with every choice made but for an automatic `nfe`, which is the checkpoint's own until then.

    Raises `ConfigurationError` or `ServiceError` where it is not allowed. A seed that is left out is drawn, or follows
    from the idempotency key, so that a repeated request is the same one.
    """
    settings, spec = service.settings, manifest.model
    num_lead_times = count_lead_times(body.lead_time, spec.time_step)
    lead_hours = num_lead_times * spec.time_step_hours
    for name, value, most in (
        ("members", body.members, settings.max_members),
        ("lead_time", lead_hours, settings.max_lead_hours),
    ):
        if value > most:
            raise ConfigurationError(f"`{name}` must be at most {most}. Got: {value}.")
    drawn = int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) if key else secrets.randbits(48)
    request = ForecastRequest(
        checkpoint=body.model,
        checkpoint_digest=manifest.digest,
        initial_state_digest=state.digest,
        sources=state.sources,
        init_time=np.datetime_as_string(state.init_time, "s"),
        lead_hours=lead_hours,
        members=body.members,
        group_size=min(settings.group_size or group_size_for(service.database, manifest.digest), body.members),
        seed=drawn if body.seed is None else body.seed,
        sampling=_sampling(body, manifest),
        deadline_seconds=body.deadline_seconds,
        nfe_is_automatic=body.sampler.nfe == "auto",
        summary=body.summary.complete(spec.variable_names),
        output=body.output,
    )
    store_bytes = size_of(request, manifest)
    if store_bytes > settings.max_store_bytes:
        raise ServiceError(
            TOO_LARGE,
            f"The forecast would have {store_bytes} bytes, and at most {settings.max_store_bytes} are allowed. "
            "Ask for fewer members or lead times.",
        )
    return request


def _sampling(body: ForecastBody, manifest: Manifest) -> Sampling:
    """Return how the flow is sampled; an automatic `nfe` is the checkpoint's own, in whole steps of the solver."""
    given: dict[str, Any] = body.sampler.model_dump()
    if given["nfe"] == "auto":
        per_step = NFE_PER_STEP[body.sampler.solver or manifest.sampling.solver]
        given["nfe"] = max(manifest.sampling.nfe // per_step, 1) * per_step
    return manifest.sampling.changed(**given)


def _planned(service: Service, asked: ForecastRequest, manifest: Manifest) -> Estimate:
    """Return a request as it would be accepted now, and its plan.

    Raises `DeadlineError` and `StoreError` where its deadline, or the room on the disk, leave none.
    """
    with service.database.read() as connection:
        outlook = look_out(connection)
    request = with_chosen_nfe(outlook, asked, manifest)
    plan = plan_of(outlook, request, manifest)
    check_room(outlook, plan, service.data)
    num_lead_times = layout_of(request, manifest).num_lead_times
    return Estimate(request, plan, request.members * num_lead_times * (request.sampling.nfe + 1))


def manifest_of(service: Service, body: ForecastBody) -> Manifest:
    """Return the manifest of the checkpoint that is asked for; raises `CheckpointError` where it is not there."""
    return read_manifest(find_checkpoint(body.model, service.settings.checkpoint_folders))
