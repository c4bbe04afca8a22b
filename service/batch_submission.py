"""Accept batches: write the folders of all parts one after another, then insert all rows or none."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
from anyio import to_thread

from jobs.batches import BatchRecord, NewBatch, digest_of, find_batch_by_key, insert_batch_if_admitted
from jobs.folders import ForecastFolder
from jobs.forecasts import new_forecast_id
from jobs.limits import NewForecast
from jobs.planning.plans import Plan
from jobs.request import ForecastRequest, InitialStateSource, UploadSource
from jobs.submit import create_folder, remove_unless_accepted
from service.batch_requests import BatchBody, CatalogueSeries
from service.dependencies import Service
from service.faults import located_at
from service.initial_states import read_stored_state
from service.limits import admission_of
from service.requests import ForecastBody
from service.submission import (
    CheckedBody,
    check_body,
    estimate,
    estimate_plan,
    notify_workers,
    plan_request,
    with_init_time,
)
from service.threads import REMOVERS, WRITERS
from storage.errors import ConfigurationError, Location
from weather.initial_state import InitialState

Sources = Sequence[tuple[Location, InitialStateSource]]
_FIELD = "initial_states"


class BatchSubmission:
    """The submission of a batch by its owner.

    Its states are read one after another, and each is written to the folder of its part before the next is read, so
    that the memory of one suffices.
    """

    def __init__(self, service: Service, owner: str, body: BatchBody, key: str | None) -> None:
        self._service, self._owner, self._body, self._key = service, owner, body, key
        digest = digest_of(body.model_dump(mode="json"))
        self._digest = digest if body.callback is None else body.handling.extend_digest(digest)  # with its secret
        self._parts: list[tuple[ForecastFolder, Plan]] = []

    async def estimate(self) -> tuple[Plan, int]:
        """Return the plan of each part, of which only the first state is read, and the number of parts.

        Raises the errors of `accept` that remain.
        """
        checked, sources = await to_thread.run_sync(self._check)
        state = await self._read_state(checked, *sources[0])
        arguments = self._service, self._owner, checked, state, len(sources)
        return await to_thread.run_sync(estimate, *arguments, limiter=WRITERS), len(sources)

    async def accept(self) -> tuple[BatchRecord, bool]:
        """Accept the batch and notify workers; return the batch and whether it is new.

        An earlier batch under the same idempotency key is returned as it is. Errors are raised before any row is
        written; the folders are then removed.
        """
        earlier = await to_thread.run_sync(self._find_earlier)
        if earlier is not None:
            return earlier, False
        checked, sources = await to_thread.run_sync(self._check)
        try:
            for location, source in sources:
                state = await self._read_state(checked, location, source)
                write = partial(self._write_part, checked, location, source, state, len(sources))
                await to_thread.run_sync(write, limiter=WRITERS)
            record, is_new = await to_thread.run_sync(self._insert, checked, sources, limiter=WRITERS)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._remove_folders, limiter=REMOVERS)
            raise
        return record, is_new

    def _find_earlier(self) -> BatchRecord | None:
        if self._key is None:
            return None
        with self._service.database.read() as connection:
            return find_batch_by_key(connection, self._owner, self._key, self._digest)

    def _check(self) -> tuple[CheckedBody, Sources]:
        """Check everything but the states themselves, as `check_body` does."""
        with located_at("body", _FIELD):
            if isinstance(self._body.initial_states, CatalogueSeries):
                self._service.datasets.find(self._body.initial_states.dataset)
            sources = self._body.sources()
        located = [((_FIELD, *location), source) for location, source in sources]
        return check_body(self._service, self._owner, self._body.part(sources[0][1]), located), sources

    async def _read_state(self, checked: CheckedBody, location: Location, source: InitialStateSource) -> InitialState:
        assert not isinstance(source, UploadSource)
        with located_at("body", _FIELD, *location):
            return await read_stored_state(source, checked.manifest, self._service, self._owner)

    def _write_part(
        self, checked: CheckedBody, location: Location, source: InitialStateSource, state: InitialState, number: int
    ) -> None:
        if self._parts:
            with located_at("body", _FIELD, *location):
                plan = self._plan_part(source, state)
        else:
            plan = self._plan_first(checked, state, number)
        folder = ForecastFolder(self._service.data, new_forecast_id())
        self._parts.append((folder, plan))
        create_folder(folder, plan, state, checked.manifest)

    def _plan_first(self, checked: CheckedBody, state: InitialState, number: int) -> Plan:
        """Return the plan of the first part, with the seed, group size and NFE of all; check limits and free space."""
        plan = plan_request(self._service, checked, state, self._key)
        plan = estimate_plan(self._service, self._owner, plan, checked.manifest, number)
        new = NewForecast.of(plan, self._body.priority, number)
        with self._service.database.read() as connection:
            admission_of(self._service.settings.limits).check(connection, self._owner, new, is_counted=False)
        return plan

    def _plan_part(self, source: InitialStateSource, state: InitialState) -> Plan:
        """Return the plan of another part; raise `ConfigurationError` if an earlier one has the same state."""
        first = self._parts[0][1]
        request = request_from(first.request, source, state)
        for index, (_, plan) in enumerate(self._parts):
            earlier = plan.request
            if (earlier.initial_state_digest, earlier.init_time) == (request.initial_state_digest, request.init_time):
                raise ConfigurationError(
                    f"`{_FIELD}` must be different. Got: the same state of {request.init_time} at {index} and "
                    f"{len(self._parts)} (the first is 0)."
                )
        return first.of_part(request)

    def _insert(self, checked: CheckedBody, sources: Sources) -> tuple[BatchRecord, bool]:
        plans = [plan for _, plan in self._parts]
        request = _complete_body(plans, checked, [source for _, source in sources])
        batch = NewBatch.of(self._owner, request, self._digest, self._key, self._body.priority)
        parts = [(folder.forecast_id, plan) for folder, plan in self._parts]
        admission = admission_of(self._service.settings.limits)
        record = insert_batch_if_admitted(self._service.database, batch, parts, admission)
        is_new = record.id == batch.id
        if is_new:
            notify_workers(self._service)
        else:
            self._remove_folders()
        return record, is_new

    def _remove_folders(self) -> None:
        for folder, _ in self._parts:
            remove_unless_accepted(self._service.database, folder)


def request_from(request: ForecastRequest, source: InitialStateSource, state: InitialState) -> ForecastRequest:
    """Return a request that differs from another one in its initial state alone."""
    init_time = state.init_time.astype("datetime64[s]").item().isoformat()
    changes = {
        "initial_state_digest": state.digest,
        "sources": state.sources,
        "choice": state.choice,
        "warnings": state.warnings,
        "init_time": init_time,
        "initial_state": with_init_time(source, init_time),
    }
    return request.model_copy(update=changes)


def _complete_body(plans: Sequence[Plan], checked: CheckedBody, sources: list[InitialStateSource]) -> dict[str, Any]:
    """Return the body that submits a batch again, with all defaults and the seed filled in."""
    states = [plan.request.initial_state or source for plan, source in zip(plans, sources, strict=True)]
    first = ForecastBody.of(plans[0].request, checked.body.priority, states[0], plans[0].handling)
    return BatchBody.of(first, states).model_dump(mode="json")
