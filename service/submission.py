"""Accept forecasts: check limits, complete the request, plan, insert rows, notify a worker."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jobs.alerts import check_alerts
from jobs.audit import Action, submitting_as
from jobs.dispatching.sharing import count_needed_workers
from jobs.forecasts import ForecastRecord, find_by_idempotency_key
from jobs.handling import Handling
from jobs.limits import NewForecast, default_limits, read_limits
from jobs.planning.measured import choose_group_size, load_estimator
from jobs.planning.plans import Plan, check_free_space
from jobs.request import ForecastRequest, ForecastSource, InitialStateSource, Output, StateSource
from jobs.rows.states import Priority
from jobs.submit import submit
from service.checkpoints import read_named_manifest
from service.damage import answering_damage, load_state_of
from service.dependencies import Service, find_data_folder
from service.faults import Faults, located_at
from service.initial_states import check_source
from service.limits import admission_of
from service.problems import TOO_LARGE, ServiceError
from service.requests import ForecastBody, ReplayBody
from storage.errors import ConfigurationError, Location
from weather.initial_state import InitialState
from weather.manifest import Manifest, Sampling, largest_nfe
from weather.stores.summary_request import Summary
from weather.times import count_lead_times, parse_lead_time


@dataclass(frozen=True)
class CheckedBody:
    """A request body, and what follows from it and its checkpoint: lead time in hours, sampling and summary."""

    body: ForecastBody
    manifest: Manifest
    lead_hours: int
    sampling: Sampling
    summary: Summary


def check_body(
    service: Service,
    owner: str,
    body: ForecastBody,
    sources: Sequence[tuple[Location, InitialStateSource]] | None = None,
) -> CheckedBody:
    """Return a request body and what follows from it, after checking everything but the initial state itself.

    `sources` are those of a batch with their locations, by default that of the body; there may be none.

    All errors are reported together. Raises `WarmcastError` with the location of the field, or `RequestFaultsError`
    for several errors.
    """
    faults, limits = Faults(), service.settings.limits
    manifest = faults.attempt(("body", "model"), _read_manifest, service, body.model)
    for location, source in [(("initial_state",), body.initial_state)] if sources is None else sources:
        faults.attempt(("body", *location), check_source, source, service, owner)
    faults.attempt(("body",), _check_num_members, body.num_members, limits.max_members)
    faults.attempt(("body",), check_handling, service, body)
    if manifest is not None:
        faults.attempt(("body",), check_alerts, body.alerts, manifest.model.variable_names)
    lead_hours = faults.attempt(("body",), _count_lead_hours, body.lead_time, manifest, limits.max_lead_hours)
    if manifest is not None:
        sampling = faults.attempt(("body", "sampler"), _complete_sampling, body, manifest)
        summary = faults.attempt(("body", "summary"), body.summary.with_defaults, manifest.model.variable_names)
    faults.check()
    assert manifest is not None
    assert lead_hours is not None
    assert sampling is not None
    assert summary is not None
    return CheckedBody(body, manifest, lead_hours, sampling, summary)


def check_handling(service: Service, handling: Handling) -> None:
    """Raise `ConfigurationError` unless the service can handle a forecast as a caller wants it."""
    if handling.callback is not None:
        service.settings.service.allowed_hosts.find_target(handling.callback.url)
    hours, limit = handling.retention_hours, service.settings.storage.keep_hours
    if hours is not None and limit is not None and hours > limit:
        raise ConfigurationError(
            f"`retention_hours` must be at most {limit:g}, for which the service keeps data. Got: {hours:g}.",
            ("retention_hours",),
        )


def accept(
    service: Service, owner: str, checked: CheckedBody, state: InitialState, key: str | None
) -> tuple[ForecastRecord, bool]:
    """Accept a forecast and notify a worker; return the forecast and whether it is new.

    An earlier forecast under the same idempotency key is returned as it is, without planning again. Errors are raised
    before anything is written.
    """
    plan = plan_request(service, checked, state, key)
    return _accept_plan(service, owner, plan, checked.manifest, state, key, checked.body.priority)


def replay(
    service: Service, owner: str, record: ForecastRecord, body: ReplayBody, key: str | None
) -> tuple[ForecastRecord, bool]:
    """Accept a forecast that recomputes members of an earlier one exactly and stores them in full; else as `accept`."""
    earlier, members = record.request, body.members
    numbers = tuple(sorted(members))
    find_data_folder(record, service)
    _check_numbers(record, members)
    with located_at("body"):
        check_handling(service, body)
    manifest = read_same_manifest(service, record)
    with located_at("body"):
        check_alerts(body.alerts, manifest.model.variable_names)
    changes = {
        "members": len(numbers),
        "member_numbers": numbers,
        "output": Output(),
        "deadline_seconds": None,
        "nfe_is_automatic": False,
        "initial_state": ForecastSource(source="forecast", id=record.id),
    }
    request = ForecastRequest.model_validate(earlier.model_dump() | changes)
    with answering_damage(record, service):
        state = load_state_of(record, service)
    priority = allowed_priority(service, owner, record.priority)
    plan = replace(Plan.of(request, manifest), mode=record.mode, handling=body.handling)
    with submitting_as(Action.REPLAY):
        return _accept_plan(service, owner, plan, manifest, state, key, priority)


def read_same_manifest(service: Service, record: ForecastRecord) -> Manifest:
    """Return the manifest of a forecast's checkpoint; raise an error if that is gone, or has changed since then."""
    manifest = _read_manifest(service, record.request.checkpoint)
    if manifest.digest != record.request.checkpoint_digest:
        raise ConfigurationError(f"Checkpoint `{record.request.checkpoint}` has changed since forecast {record.id}.")
    return manifest


def allowed_priority(service: Service, owner: str, priority: Priority) -> Priority:
    """Return the priority of an earlier forecast, or normal if it is high and the owner's key may no longer use it."""
    with service.database.read() as connection:
        limits = read_limits(connection, owner, default_limits(service.settings.limits))
    is_allowed = priority != Priority.HIGH or limits is None or limits.high_priority
    return priority if is_allowed else Priority.NORMAL


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
        earlier = find_by_idempotency_key(connection, owner, key, plan.request, plan.handling) if key else None
    if earlier is not None:
        return earlier, False
    plan = estimate_plan(service, owner, plan, manifest)
    admission = admission_of(service.settings.limits)
    with service.database.read() as connection:
        admission.check(connection, owner, NewForecast.of(plan, priority), is_counted=False)
    record, is_new = submit(service.database, service.data, owner, plan, state, manifest, key, priority, admission)
    if is_new:
        notify_workers(service)
    return record, is_new


def notify_workers(service: Service) -> None:
    """Notify as many workers as can work on what waits."""
    with service.database.read() as connection:
        needed = count_needed_workers(connection, service.settings.worker.max_attempts)
    service.dispatcher.notify(needed)


def estimate(service: Service, owner: str, checked: CheckedBody, state: InitialState, number: int = 1) -> Plan:
    """Return the plan of a forecast, or of each of the `number` of a batch, with its estimates, without accepting it.

    Raises the same errors as `accept`, but those that do not remain, such as of a full queue.
    """
    plan = estimate_plan(service, owner, plan_request(service, checked, state, None), checked.manifest, number)
    with service.database.read() as connection:
        admission_of(service.settings.limits).check_forecast(
            connection, owner, NewForecast.of(plan, checked.body.priority, number)
        )
    return plan


def plan_request(service: Service, checked: CheckedBody, state: InitialState, key: str | None) -> Plan:
    """Return the plan of the complete request: defaults filled in, seed drawn, limits of the service checked.

    A missing seed is derived from the idempotency key if there is one, so that a repeated request is equal; else it is
    random. An automatic `nfe` is set to the checkpoint's; `estimate_plan` replaces it. Raises `ServiceError` if the
    forecast has more bytes than the limit.
    """
    settings, body, manifest = service.settings, checked.body, checked.manifest
    drawn_seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) if key else secrets.randbits(48)
    with service.database.read() as connection:
        group_size = settings.worker.group_size or choose_group_size(connection, manifest.digest)
    init_time = np.datetime_as_string(state.init_time, "s")
    request = ForecastRequest(
        checkpoint=body.model,
        checkpoint_digest=manifest.digest,
        initial_state_digest=state.digest,
        sources=state.sources,
        choice=state.choice,
        warnings=state.warnings,
        init_time=init_time,
        lead_hours=checked.lead_hours,
        members=body.num_members,
        group_size=min(group_size, body.num_members),
        seed=drawn_seed if body.seed is None else body.seed,
        sampling=checked.sampling,
        deadline_seconds=body.deadline_seconds,
        nfe_is_automatic=body.sampler.nfe == "auto",
        summary=checked.summary,
        output=body.output,
        member_numbers=body.member_numbers,
        initial_state=with_init_time(body.initial_state, init_time),
    )
    plan = replace(Plan.of(request, manifest), handling=body.handling)
    if plan.uncompressed_bytes > settings.limits.max_store_bytes:
        raise ServiceError(
            TOO_LARGE,
            f"A forecast may have at most {settings.limits.max_store_bytes} bytes before compression. Got: "
            f"{plan.uncompressed_bytes} bytes, of {request.members} members and {plan.layout.num_lead_times} lead "
            "times. Request fewer members or lead times.",
            ("body", "members"),
        )
    return plan


def with_init_time(source: InitialStateSource, init_time: str) -> InitialStateSource:
    """Return a source with the initial time of the state that was read from it, if it can name one."""
    if isinstance(source, ForecastSource | StateSource):
        return source
    return source.model_copy(update={"init_time": init_time})


def _check_numbers(record: ForecastRecord, numbers: Sequence[int]) -> None:
    """Raise `ConfigurationError` or `RequestFaultsError` unless the forecast has members of all these numbers."""
    faults, own = Faults(), set(record.request.numbers)
    accepted = ", ".join(map(str, record.request.member_numbers or ())) or f"0 to {record.request.members - 1}"
    for index, number in enumerate(numbers):
        if number not in own:
            message = f"`members` must be numbers of members of forecast {record.id}, {accepted}. Got: {number}."
            faults.add(ConfigurationError(message, ("body", "members", index)))
    faults.check()


def _check_num_members(members: int, limit: int) -> None:
    if members > limit:
        raise ConfigurationError(f"`members` must be at most {limit} members. Got: {members}.", ("members",))


def _count_lead_hours(lead_time: str, manifest: Manifest | None, limit: int) -> int:
    """Return a lead time in hours; raise `ConfigurationError` if it is wrong, too long or not a multiple of the step.

    Without a manifest the time step is unknown, and multiples of it are not checked.
    """
    if manifest is None:
        hours = int(parse_lead_time(lead_time) / np.timedelta64(1, "h"))
    else:
        hours = count_lead_times(lead_time, manifest.model.time_step) * manifest.model.time_step_hours
    if hours > limit:
        raise ConfigurationError(f"`lead_time` must be at most {limit}h. Got: {lead_time!r}.", ("lead_time",))
    return hours


def _complete_sampling(body: ForecastBody, manifest: Manifest) -> Sampling:
    """Return the sampling options, taking missing ones from the checkpoint.

    An automatic `nfe` is the checkpoint's, rounded down to whole steps of the solver.
    """
    options: dict[str, Any] = body.sampler.model_dump()
    if options["nfe"] == "auto":
        options["nfe"] = largest_nfe(body.sampler.solver or manifest.sampling.solver, manifest.sampling.nfe)
    return manifest.sampling.replace(**options)


def estimate_plan(service: Service, owner: str, plan: Plan, manifest: Manifest, number: int = 1) -> Plan:
    """Return the plan of each of `number` forecasts with its estimates, and with `nfe` chosen to meet the deadline.

    Raises `DeadlineError` if the deadline cannot be met, and `StoreError` if the disk has too little free space.
    """
    with service.database.read() as connection:
        estimator = load_estimator(connection)
    with located_at("body"):
        plan = plan.with_estimates(estimator, manifest, owner)
    check_free_space(estimator, plan, service.data, service.settings.storage.reserve_bytes, number)
    return plan


def _read_manifest(service: Service, name: str) -> Manifest:
    """Return the manifest of the checkpoint with this name; raise `CheckpointError` if there is none or it is wrong."""
    return read_named_manifest(name, service.settings.storage.checkpoint_folders)
