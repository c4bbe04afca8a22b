"""The plan of a request: what it will take, how many evaluations its deadline leaves, whether the disk has room."""

from dataclasses import dataclass, replace

from jobs.planning import Estimator, choose_nfe, memory_bytes
from jobs.request import ForecastRequest
from jobs.speeds import demand_of
from jobs.submit import layout_of, size_of
from storage.paths import StoragePath
from weather.errors import StoreError
from weather.manifest import NFE_PER_STEP, Manifest


@dataclass(frozen=True)
class Plan:
    """What a forecast is expected to take; None is "not measured yet".

    `store_bytes` are those of its members on disk, `other_bytes` those of everything else before compression.
    `wait_seconds` pass before it begins, `seconds` from then to its end; `is_scaled` where speeds were measured with
    groups of another size only.
    """

    uncompressed_bytes: int
    store_bytes: int | None
    other_bytes: int
    seconds: float | None
    wait_seconds: float | None
    memory_bytes: int | None
    is_scaled: bool

    @property
    def room_bytes(self) -> int:
        """Bytes that the disk must have room for."""
        return (self.uncompressed_bytes if self.store_bytes is None else self.store_bytes) + self.other_bytes


def make_plan(outlook: Estimator, request: ForecastRequest, manifest: Manifest) -> Plan:
    """Return the plan of a request that is accepted now."""
    layout = layout_of(request, manifest)
    demand = demand_of(request, layout.num_lead_times)
    speed = outlook.speed(demand)
    member_bytes = layout.size_bytes // (layout.num_lead_times * request.members)
    members_bytes, index_bytes = (layout.size_bytes, layout.index_bytes) if request.output.members else (0, 0)
    expected = outlook.store_bytes(request.checkpoint_digest, request.group_size, members_bytes, index_bytes)
    return Plan(
        members_bytes,
        expected if request.output.is_exact or not members_bytes else None,
        size_of(request, manifest) - members_bytes,
        outlook.seconds(demand),
        outlook.wait_seconds(),
        None if speed is None else memory_bytes(speed, request.members, member_bytes),
        speed is not None and speed.is_scaled,
    )


def with_chosen_nfe(outlook: Estimator, request: ForecastRequest, manifest: Manifest) -> ForecastRequest:
    """Return a request whose `nfe` is chosen to meet its deadline; raises `DeadlineError` where none does.

    It is at most the checkpoint's own, which is what it was trained and scored for.
    """
    if not request.nfe_is_automatic or request.deadline_seconds is None:
        return request
    demand = demand_of(request, layout_of(request, manifest).num_lead_times)
    nfe = choose_nfe(
        request.deadline_seconds,
        manifest.sampling.nfe,
        NFE_PER_STEP[request.sampling.solver],
        lambda nfe: outlook.seconds(replace(demand, nfe=nfe)),
        outlook.wait_seconds(),
    )
    return request.model_copy(update={"sampling": request.sampling.changed(nfe=nfe)})


def check_room(outlook: Estimator, plan: Plan, data: StoragePath) -> None:
    """Raise `StoreError` where the disk of `data` has no room for a forecast beside what others will still write."""
    needed = plan.room_bytes
    free = data.free_bytes()
    if needed > free - outlook.bytes_to_come:
        raise StoreError(
            f"The ensemble is expected to take {needed / 1e6:.0f} MB, but of {free / 1e6:.0f} MB that are free, "
            f"{outlook.bytes_to_come / 1e6:.0f} MB are taken by forecasts that were accepted before. Ask for fewer "
            "members or lead times, or when others were deleted."
        )
