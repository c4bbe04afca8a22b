"""Plan a forecast: its layout and sizes, the evaluations that its deadline allows, its expected seconds and bytes."""

from dataclasses import dataclass, replace
from typing import Self

from jobs.handling import PLAIN, Handling
from jobs.mode import Mode
from jobs.planning.estimates import Estimator, choose_nfe, demand_of, fields_per_member, memory_bytes
from jobs.request import ForecastRequest
from storage.paths import StoragePath
from weather.errors import StorageFullError
from weather.manifest import NFE_PER_STEP, WHITE, Manifest, NoiseSpec, largest_nfe
from weather.stores.layout import Layout
from weather.stores.summary_layout import SummaryLayout

_REMOVED_LEAD_TIMES = 5
"""Exact lead times that wait to be committed or removed if the ensemble is not exact, besides those to restart from."""


@dataclass(frozen=True)
class Plan:
    """A complete request, the layout and sizes of its stores, and its expected seconds and bytes.

    `members_bytes` are the members' fields before compression, `other_bytes` everything else before compression. The
    other values are estimates; None is "never measured". `store_bytes` are the members on disk. `wait_seconds` pass
    before the forecast starts, `seconds` from then to its end. `is_scaled` is true if speeds were measured only with
    groups of other sizes. `compile_seconds` is how long a worker compiles the networks once, beside its first forecast.
    `noise` is the checkpoint's, and `mode` that of the forecast whose members are computed again. `handling` is what
    the caller adds to the request.
    """

    request: ForecastRequest
    layout: Layout
    members_bytes: int
    other_bytes: int
    store_bytes: int | None = None
    seconds: float | None = None
    wait_seconds: float | None = None
    memory_bytes: int | None = None
    is_scaled: bool = False
    compile_seconds: float | None = None
    noise: NoiseSpec = WHITE
    mode: Mode | None = None
    handling: Handling = PLAIN

    @classmethod
    def of(cls, request: ForecastRequest, manifest: Manifest) -> Self:
        """Return the plan of a request with layout and sizes; its estimates are None until `with_estimates`."""
        layout = Layout(
            init_time=request.init_datetime,
            num_lead_times=request.lead_hours // manifest.model.time_step_hours,
            time_step=manifest.model.time_step,
            members=request.numbers,
            group_size=request.group_size,
            variables=manifest.model.variable_names,
            grid=manifest.model.grid.grid,
        )
        members = layout.size_bytes if request.output.members else 0
        restart = 0 if request.output.is_exact else restart_bytes(layout, manifest.model.context_frames)
        other = restart + SummaryLayout(layout, request.summary).size_bytes
        return cls(request, layout, members, other, noise=manifest.noise)

    def with_estimates(self, estimator: Estimator, manifest: Manifest, owner: str) -> Self:
        """Return the plan with estimates for a forecast of an owner that is accepted now.

        An automatic `nfe` is chosen to meet the deadline; it is at most the checkpoint's own, for which the checkpoint
        was trained and scored. Raises `DeadlineError` if no `nfe` meets it.
        """
        request, layout = _choose_nfe(self, estimator, manifest, owner), self.layout
        demand = demand_of(request, layout.num_lead_times)
        speed = estimator.speed(demand)
        index_bytes = layout.index_bytes if request.output.members else 0
        store_bytes = estimator.store_bytes(
            request.checkpoint_digest, request.group_size, self.members_bytes, index_bytes
        )
        member_bytes = layout.size_bytes // (layout.num_lead_times * request.members)
        held = fields_per_member(manifest)
        return replace(
            self,
            request=request,
            store_bytes=store_bytes if request.output.is_exact or not self.members_bytes else None,
            seconds=estimator.seconds(demand),
            wait_seconds=estimator.wait_seconds(owner),
            memory_bytes=None if speed is None else memory_bytes(speed, request.members, member_bytes, held),
            is_scaled=speed is not None and speed.is_scaled,
            compile_seconds=estimator.compile_seconds.get(request.checkpoint_digest),
        )

    def of_part(self, request: ForecastRequest) -> Self:
        """Return the plan of a request that differs from this one in its initial state alone."""
        return replace(self, request=request, layout=replace(self.layout, init_time=request.init_datetime))

    @property
    def uncompressed_bytes(self) -> int:
        """Bytes of all stores before compression."""
        return self.members_bytes + self.other_bytes

    @property
    def expected_bytes(self) -> int:
        """Expected bytes of the forecast on disk, or those before compression if that was never measured."""
        return (self.members_bytes if self.store_bytes is None else self.store_bytes) + self.other_bytes

    @property
    def network_evaluations(self) -> int:
        """Evaluations of both networks, each for one member."""
        return self.request.count_evaluations(self.layout.num_lead_times)


def check_free_space(
    estimator: Estimator, plan: Plan, data: StoragePath, reserve_bytes: int = 0, number: int = 1
) -> None:
    """Raise `StorageFullError` if `data` has too little space for a plan and the remaining bytes of the queue.

    Of its free bytes, `reserve_bytes` must remain free. The plan is that of each of `number` forecasts.
    """
    expected = number * plan.expected_bytes
    free = max(data.free_bytes() - reserve_bytes, 0)
    if expected > free - estimator.remaining_bytes:
        raise StorageFullError(
            f"The ensemble is expected to take {expected / 1e6:.1f} MB, but of {free / 1e6:.1f} MB that are "
            f"free, {estimator.remaining_bytes / 1e6:.1f} MB are reserved for forecasts that were accepted before. "
            "Request fewer members or lead times, or delete other forecasts."
        )


def restart_bytes(layout: Layout, context_frames: int) -> int:
    """Return the bytes of the exact lead times that workers keep to restart from, of which a group needs the last."""
    return layout.size_bytes // layout.num_lead_times * min(context_frames + _REMOVED_LEAD_TIMES, layout.num_lead_times)


def _choose_nfe(plan: Plan, estimator: Estimator, manifest: Manifest, owner: str) -> ForecastRequest:
    request = plan.request
    if not request.nfe_is_automatic or request.deadline_seconds is None:
        return request
    demand = demand_of(request, plan.layout.num_lead_times)
    nfe = choose_nfe(
        request.deadline_seconds,
        largest_nfe(request.sampling.solver, manifest.sampling.nfe),
        NFE_PER_STEP[request.sampling.solver],
        lambda nfe: estimator.seconds(replace(demand, nfe=nfe)),
        estimator.wait_seconds(owner),
    )
    return request.model_copy(update={"sampling": request.sampling.replace(nfe=nfe)})
