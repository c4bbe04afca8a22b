"""What a forecast will take, from what forecasts have taken: pure functions. None says that it was never measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.errors import DeadlineError

DEADLINE_MARGIN = 1.25
"""How many times the expected seconds a deadline should leave: measured estimates have been within a quarter."""

FIELDS_PER_MEMBER = 3
"""Fields that a worker holds for each member: its two newest frames, and the lead time that is diagnosed."""


@dataclass(frozen=True)
class Machine:
    """What a speed holds for: the kind of device, such as `cpu` or `cuda: NVIDIA H100`, and the CPU threads."""

    device: str
    threads: int


@dataclass(frozen=True)
class Speed:
    """Seconds of a lead time of a group of `group_size`: one warm start, each evaluation of the flow, all beside them.

    `memory_bytes` is the peak of a worker less the fields of its members. `is_scaled` where no such group was measured.
    """

    group_size: int
    warm_start_seconds: float
    flow_seconds: float
    beside_seconds: float
    memory_bytes: float | None
    is_scaled: bool = False

    def lead_time_seconds(self, nfe: int) -> float:
        """Return the seconds that one lead time of one group takes with `nfe` evaluations."""
        return self.warm_start_seconds + nfe * self.flow_seconds + self.beside_seconds


@dataclass(frozen=True)
class Compression:
    """Bytes of chunks on disk for each byte before compression, and bytes of a store's metadata."""

    group_size: int
    ratio: float
    metadata_bytes: float


@dataclass(frozen=True)
class Demand:
    """What is to be computed: lead times of groups, each with `nfe` evaluations of the flow and one warm start."""

    checkpoint_digest: str
    group_size: int
    num_groups: int
    num_lead_times: int
    nfe: int


@dataclass(frozen=True)
class QueuedForecast:
    """A forecast that has not ended: `remaining` is the share of its lead times that is to come, over all groups."""

    demand: Demand
    created: float
    remaining: float
    expected_bytes: int

    @property
    def bytes_to_come(self) -> int:
        """Bytes that it will still write."""
        return round(self.remaining * self.expected_bytes)


@dataclass(frozen=True)
class Estimator:
    """What is known at one moment: speeds, the latest first, by checkpoint; machines of live workers; the queue."""

    speeds: Mapping[str, Sequence[tuple[Machine, Speed]]]
    storages: Mapping[str, Sequence[Compression]]
    machines: Sequence[Machine]
    queue: Sequence[QueuedForecast]

    def speed(self, demand: Demand) -> Speed | None:
        """Return the speed of the slowest live worker that was measured; where none is alive, the latest measured."""
        measured = self.speeds.get(demand.checkpoint_digest, ())
        machines = set(self.machines) or {machine for machine, _ in measured[:1]}
        known = [
            speed_for_group_size([speed for of, speed in measured if of == machine], demand.group_size)
            for machine in machines
        ]
        found = [speed for speed in known if speed is not None]
        return max(found, key=lambda speed: speed.lead_time_seconds(demand.nfe), default=None)

    def seconds(self, demand: Demand) -> float | None:
        """Return the seconds that a forecast takes once it is begun, with its groups shared by all live workers."""
        speed, num_workers = self.speed(demand), max(len(self.machines), 1)
        if speed is None:
            return None
        return compute_seconds(speed, demand.num_groups, demand.num_lead_times, demand.nfe, num_workers)

    def wait_seconds(self, before: float | None = None) -> float | None:
        """Return the seconds that all workers have to do for what was accepted `before` then, or at all.

        None where nobody is alive, or what is ahead was never measured.
        """
        ahead = [waiting for waiting in self.queue if before is None or waiting.created < before]
        seconds = [self.seconds(waiting.demand) for waiting in ahead]
        left = [part * waiting.remaining for part, waiting in zip(seconds, ahead, strict=True) if part is not None]
        if not self.machines or len(left) < len(ahead):
            return None
        return sum(left)

    def store_bytes(self, checkpoint_digest: str, group_size: int, field_bytes: int, index_bytes: int) -> int | None:
        """Return the bytes on disk of an ensemble of `field_bytes` before compression."""
        known = self.compressions.get(checkpoint_digest, ())
        nearest = min(known, key=lambda storage: abs(storage.group_size - group_size), default=None)
        if nearest is None:
            return None
        return round(nearest.ratio * field_bytes + nearest.metadata_bytes + index_bytes)

    @property
    def bytes_to_come(self) -> int:
        """Bytes that all that was accepted will still write."""
        return sum(waiting.bytes_to_come for waiting in self.queue)


def speed_for_group_size(measured: Iterable[Speed], group_size: int) -> Speed | None:
    """Return the speed of one machine at a group size, from those that it was measured at.

    Between two sizes it is interpolated; beyond them seconds are in proportion to the nearest, and memory is not told.
    """
    by_size = {speed.group_size: speed for speed in measured}
    if group_size in by_size:
        return by_size[group_size]
    below = max((size for size in by_size if size < group_size), default=None)
    above = min((size for size in by_size if size > group_size), default=None)
    if below is not None and above is not None:
        return _mixed(by_size[below], by_size[above], group_size)
    nearest = below or above
    if nearest is None:
        return None
    one, scale = by_size[nearest], group_size / nearest
    warm_start, flow, beside = (scale * part for part in (one.warm_start_seconds, one.flow_seconds, one.beside_seconds))
    return Speed(group_size, warm_start, flow, beside, memory_bytes=None, is_scaled=True)


def _mixed(below: Speed, above: Speed, group_size: int) -> Speed:
    share = (group_size - below.group_size) / (above.group_size - below.group_size)

    def mix(low: float, high: float) -> float:
        return low + share * (high - low)

    known = below.memory_bytes is not None and above.memory_bytes is not None
    return Speed(
        group_size,
        mix(below.warm_start_seconds, above.warm_start_seconds),
        mix(below.flow_seconds, above.flow_seconds),
        mix(below.beside_seconds, above.beside_seconds),
        mix(below.memory_bytes or 0.0, above.memory_bytes or 0.0) if known else None,
        is_scaled=True,
    )


def compute_seconds(speed: Speed, num_groups: int, num_lead_times: int, nfe: int, num_workers: int = 1) -> float:
    """Return the seconds of a forecast whose groups are dealt out to `num_workers`; who has most of them is last."""
    return -(-num_groups // num_workers) * num_lead_times * speed.lead_time_seconds(nfe)


def memory_bytes(speed: Speed, members: int, member_bytes: int) -> int | None:
    """Return the peak memory of a worker that holds all members, each with fields of `member_bytes`."""
    if speed.memory_bytes is None:
        return None
    return round(speed.memory_bytes + FIELDS_PER_MEMBER * members * member_bytes)


def choose_nfe(
    deadline_seconds: float, most: int, per_step: int, seconds: Callable[[int], float | None], wait: float | None
) -> int:
    """Return the largest number of evaluations, at most `most`, that leaves a quarter more than is expected.

    Where none does, the smallest if it is expected to be in time at all, else raises `DeadlineError`. Where nothing was
    measured, `most`. All are multiples of `per_step`, the evaluations of one step of the solver.
    """
    allowed = range(max(most - most % per_step, per_step), 0, -per_step)
    for nfe in allowed:
        needed = seconds(nfe)
        if needed is None or wait is None:
            return allowed[0]
        if DEADLINE_MARGIN * (wait + needed) <= deadline_seconds:
            return nfe
    assert needed is not None
    assert wait is not None
    if wait + needed > deadline_seconds:
        raise DeadlineError(
            f"`deadline_seconds` must be at least {wait + needed:.3g}: about {wait:.3g} s of waiting and {needed:.3g} "
            f"s with {allowed[-1]} evaluations a step, the fewest. Got: {deadline_seconds:g}. Ask for fewer members or "
            "lead times, or later."
        )
    return allowed[-1]
