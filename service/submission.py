"""Accept forecasts: check limits, complete the request, plan, insert rows, notify a worker."""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np

from jobs.dispatching.sharing import count_needed_workers
from jobs.forecasts import ForecastRecord, count_open, find_by_idempotency_key
from jobs.planning.measured import choose_group_size, load_estimator
from jobs.planning.plans import Plan, check_free_space
from jobs.request import ForecastRequest, Output
from jobs.rows.states import Priority
from jobs.submit import submit
from service.dependencies import Service, find_data_folder
from service.problems import QUEUE_FULL, TOO_LARGE, ServiceError
from service.requests import ForecastBody
from storage.errors import ConfigurationError
from weather.bundled import find_checkpoint
from weather.ingest.exchange import load_initial_state
from weather.initial_state import InitialState
from weather.manifest import NFE_PER_STEP, Manifest, Sampling, read_manifest
from weather.times import count_lead_times


def accept(
    service: Service, owner: str, body: ForecastBody, manifest: Manifest, state: InitialState, key: str | None
) -> tuple[ForecastRecord, bool]:
    """Accept a forecast and notify a worker; return the forecast and whether it is new.

    An earlier forecast under the same idempotency key is returned as it is, without planning again. Errors are raised
    before anything is written.
    """
    plan = _plan_request(service, body, manifest, state, key)
    return _accept_plan(service, owner, plan, manifest, state, key, body.priority)


def replay(
    service: Service, owner: str, record: ForecastRecord, members: Sequence[int], key: str | None
) -> tuple[ForecastRecord, bool]:
    """Accept a forecast that recomputes members of an earlier one exactly and stores them in full; else as `accept`."""
    earlier, numbers = record.request, tuple(sorted(set(members)))
    folder = find_data_folder(record, service)
    unknown = sorted(set(numbers) - set(earlier.numbers))
    if unknown:
        raise ConfigurationError(f"Forecast {record.id} has no member {unknown[0]}.")
    manifest = read_manifest(find_checkpoint(earlier.checkpoint, service.settings.storage.checkpoint_folders))
    if manifest.digest != earlier.checkpoint_digest:
        raise ConfigurationError(f"Checkpoint `{earlier.checkpoint}` has changed since forecast {record.id}.")
    changes = {
        "members": len(numbers),
        "member_numbers": numbers,
        "output": Output(),
        "deadline_seconds": None,
        "nfe_is_automatic": False,
    }
    request = ForecastRequest.model_validate(earlier.model_dump() | changes)
    state = load_initial_state(folder.initial_state)
    return _accept_plan(service, owner, Plan.of(request, manifest), manifest, state, key, record.priority)


def _accept_plan(
    service: Service,
    owner: str,
    plan: Plan,
    manifest: Manifest,
    state: InitialState,
    key: str | None,
    priority: Priority,
) -> tuple[ForecastRecord, bool]:
    with service.database.read() as connection:
        earlier = find_by_idempotency_key(connection, owner, key, plan.request) if key else None
    if earlier is not None:
        return earlier, False
    plan = _estimate_plan(service, plan, manifest)
    with service.database.read() as connection:
        waiting = count_open(connection)
    if waiting >= service.settings.limits.max_open_forecasts:
        raise ServiceError(
            QUEUE_FULL, f"{waiting} forecasts are waiting or running, which is the limit. Try again later."
        )
    record, is_new = submit(service.database, service.data, owner, plan, state, manifest, key, priority)
    if is_new:
        with service.database.read() as connection:
            needed = count_needed_workers(connection, service.settings.worker.max_attempts)
        service.dispatcher.notify(needed)
    return record, is_new


def estimate(service: Service, body: ForecastBody, manifest: Manifest, state: InitialState) -> Plan:
    """Return the plan of a forecast with its estimates, without accepting it; raise the same errors as `accept`."""
    return _estimate_plan(service, _plan_request(service, body, manifest, state, None), manifest)


def _plan_request(
    service: Service, body: ForecastBody, manifest: Manifest, state: InitialState, key: str | None
) -> Plan:
    """Return the plan of the complete request: defaults filled in, seed drawn, limits of the service checked.

    A missing seed is derived from the idempotency key if there is one, so that a repeated request is equal; else it is
    random. An automatic `nfe` is set to the checkpoint's; `_estimate_plan` replaces it. Raises `ConfigurationError` or
    `ServiceError` if a limit is exceeded.
    """
    settings, spec = service.settings, manifest.model
    num_lead_times = count_lead_times(body.lead_time, spec.time_step)
    lead_hours = num_lead_times * spec.time_step_hours
    for name, value, limit in (
        ("members", body.members, settings.limits.max_members),
        ("lead_time", lead_hours, settings.limits.max_lead_hours),
    ):
        if value > limit:
            raise ConfigurationError(f"`{name}` must be at most {limit}. Got: {value}.")
    drawn_seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) if key else secrets.randbits(48)
    with service.database.read() as connection:
        group_size = settings.worker.group_size or choose_group_size(connection, manifest.digest)
    request = ForecastRequest(
        checkpoint=body.model,
        checkpoint_digest=manifest.digest,
        initial_state_digest=state.digest,
        sources=state.sources,
        init_time=np.datetime_as_string(state.init_time, "s"),
        lead_hours=lead_hours,
        members=body.members,
        group_size=min(group_size, body.members),
        seed=drawn_seed if body.seed is None else body.seed,
        sampling=_complete_sampling(body, manifest),
        deadline_seconds=body.deadline_seconds,
        nfe_is_automatic=body.sampler.nfe == "auto",
        summary=body.summary.with_defaults(spec.variable_names),
        output=body.output,
    )
    plan = Plan.of(request, manifest)
    if plan.uncompressed_bytes > settings.limits.max_store_bytes:
        raise ServiceError(
            TOO_LARGE,
            f"A forecast may have at most {settings.limits.max_store_bytes} bytes. Got: {plan.uncompressed_bytes}. "
            "Request fewer members or lead times.",
        )
    return plan


def _complete_sampling(body: ForecastBody, manifest: Manifest) -> Sampling:
    """Return the sampling options, taking missing ones from the checkpoint.

    An automatic `nfe` is the checkpoint's, rounded down to whole steps of the solver.
    """
    options: dict[str, Any] = body.sampler.model_dump()
    if options["nfe"] == "auto":
        per_step = NFE_PER_STEP[body.sampler.solver or manifest.sampling.solver]
        options["nfe"] = max(manifest.sampling.nfe // per_step, 1) * per_step
    return manifest.sampling.replace(**options)


def _estimate_plan(service: Service, plan: Plan, manifest: Manifest) -> Plan:
    """Return the plan with its estimates, and with `nfe` chosen to meet the deadline.

    Raises `DeadlineError` if the deadline cannot be met, and `StoreError` if the disk has too little free space.
    """
    with service.database.read() as connection:
        estimator = load_estimator(connection)
    plan = plan.with_estimates(estimator, manifest)
    check_free_space(estimator, plan, service.data)
    return plan


def read_requested_manifest(service: Service, body: ForecastBody) -> Manifest:
    """Return the manifest of the checkpoint that a request names; raise `CheckpointError` if there is none."""
    return read_manifest(find_checkpoint(body.model, service.settings.storage.checkpoint_folders))
