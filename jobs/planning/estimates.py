"""Estimate seconds, bytes and memory of forecasts from measurements; None is "never measured"."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jobs.dispatching.live_workers import Machine
from jobs.errors import DeadlineError
from jobs.request import ForecastRequest
from weather.manifest import Manifest

DEADLINE_MARGIN = 1.25
"""Factor between a deadline and the expected seconds: measured estimates have been within a quarter."""


@dataclass(frozen=True)
class Speed:
    """Seconds of one lead time of a group of `group_size`: one warm start, each evaluation of the flow, overhead.

    The overhead is the time that depends on neither. `memory_bytes` is the peak memory of a worker without the fields
    of its members. `is_scaled` is true if no group of this size was measured.
    """

    group_size: int
    warm_start_seconds: float
    flow_seconds: float
    overhead_seconds: float
    memory_bytes: float | None
    is_scaled: bool = False

    def lead_time_seconds(self, nfe: float) -> float:
        """Return the seconds that one lead time of one group takes with `nfe` evaluations of the flow."""
        return self.warm_start_seconds + nfe * self.flow_seconds + self.overhead_seconds


@dataclass(frozen=True)
class Compression:
    """Bytes of chunks on disk for each byte before compression, and bytes of a store's metadata."""

    group_size: int
    ratio: float
    metadata_bytes: float


@dataclass(frozen=True)
class Demand:
    """The computation of a forecast: lead times of groups, each of one warm start and `nfe` evaluations of the flow."""

    checkpoint_digest: str
    group_size: int
    num_groups: int
    num_lead_times: int
    nfe: int


def demand_of(request: ForecastRequest, num_lead_times: int) -> Demand:
    """Return the computation that a request with `num_lead_times` lead times needs."""
    return Demand(
        request.checkpoint_digest, request.group_size, request.num_groups, num_lead_times, request.sampling.nfe
    )


@dataclass(frozen=True)
class RunningForecast:
    """A running forecast; `remaining` is the fraction of its lead times, over all groups, that is not yet committed."""

    demand: Demand
    remaining: float
    expected_bytes: int

    @property
    def remaining_bytes(self) -> int:
        """Bytes that the forecast has not written yet."""
        return round(self.remaining * self.expected_bytes)


@dataclass(frozen=True)
class WaitingWork:
    """Computation of waiting forecasts of one checkpoint and group size, in sums over these forecasts.

    `steps` counts lead times of groups, each of one warm start; `flow_steps` the evaluations of the flow in them.
    """

    checkpoint_digest: str
    group_size: int
    steps: int
    flow_steps: int
    expected_bytes: int


@dataclass(frozen=True)
class WaitingForecasts:
    """The waiting forecasts of one owner: how many, the number of the oldest one, and their computation."""

    num_forecasts: int
    first_number: int
    work: Sequence[WaitingWork]


@dataclass(frozen=True)
class Estimator:
    """Estimates for one moment.

    `speeds` are the measured speeds by checkpoint, latest first; `machines` those of the live workers; `running` holds
    the running forecasts, `waiting` the waiting ones by owner. `compile_seconds` is the longest time for which a
    kind of device compiled the networks of a checkpoint.
    """

    speeds: Mapping[str, Sequence[tuple[Machine, Speed]]]
    compressions: Mapping[str, Sequence[Compression]]
    machines: Sequence[Machine]
    running: Sequence[RunningForecast] = ()
    waiting: Mapping[str, WaitingForecasts] = field(default_factory=dict)
    compile_seconds: Mapping[str, float] = field(default_factory=dict)

    def speed(self, demand: Demand) -> Speed | None:
        """Return the measured speed of the slowest live worker; if no worker is alive, of the machine measured last."""
        return self._slowest_speed(demand.checkpoint_digest, demand.group_size, demand.nfe)

    def _slowest_speed(self, checkpoint_digest: str, group_size: int, nfe: float) -> Speed | None:
        measured = self.speeds.get(checkpoint_digest, ())
        machines = set(self.machines) or {machine for machine, _ in measured[:1]}
        known = [
            speed_for_group_size([speed for of, speed in measured if of == machine], group_size) for machine in machines
        ]
        found = [speed for speed in known if speed is not None]
        return max(found, key=lambda speed: speed.lead_time_seconds(nfe), default=None)

    def seconds(self, demand: Demand) -> float | None:
        """Return the seconds from start to end of a forecast whose groups are shared by all live workers."""
        speed, num_workers = self.speed(demand), max(len(self.machines), 1)
        if speed is None:
            return None
        return compute_seconds(speed, demand.num_groups, demand.num_lead_times, demand.nfe, num_workers)

    def wait_seconds(self, owner: str, number: int | None = None) -> float | None:
        """Return the seconds until a waiting forecast of an owner starts: the one of this number, or a new one.

        The workers first compute what runs, then the waiting forecasts of all owners in turn: before the forecast start
        the earlier ones of its owner, and of each other owner one for each of them and one more. Priorities are not
        considered. The result is None if no worker is alive, or one of these forecasts has no measured speed.
        """
        own = self.waiting.get(owner, WaitingForecasts(0, 0, ()))
        earlier = own.num_forecasts
        if number is not None and own.num_forecasts:
            earlier = min(max(number - own.first_number, 0), own.num_forecasts - 1)
        ahead = [(own, earlier), *((other, earlier + 1) for key, other in self.waiting.items() if key != owner)]
        seconds = [self._seconds_left(forecast) for forecast in self.running]
        seconds += [self._waiting_seconds(forecasts, number) for forecasts, number in ahead if number]
        known = [part for part in seconds if part is not None]
        return sum(known) if self.machines and len(known) == len(seconds) else None

    def _seconds_left(self, forecast: RunningForecast) -> float | None:
        seconds = self.seconds(forecast.demand)
        return None if seconds is None else seconds * forecast.remaining

    def _waiting_seconds(self, forecasts: WaitingForecasts, number: int) -> float | None:
        """Return the seconds that all live workers need for `number` of an owner's waiting forecasts of mean size."""
        total = 0.0
        for part in forecasts.work:
            speed = self._slowest_speed(part.checkpoint_digest, part.group_size, part.flow_steps / max(part.steps, 1))
            if speed is None:
                return None
            total += part.steps * speed.lead_time_seconds(0) + part.flow_steps * speed.flow_seconds
        return total / max(len(self.machines), 1) * min(number / max(forecasts.num_forecasts, 1), 1.0)

    def store_bytes(self, checkpoint_digest: str, group_size: int, field_bytes: int, index_bytes: int) -> int | None:
        """Return the bytes on disk of an ensemble with `field_bytes` of fields before compression."""
        known = self.compressions.get(checkpoint_digest, ())
        nearest = min(known, key=lambda compression: abs(compression.group_size - group_size), default=None)
        if nearest is None:
            return None
        return round(nearest.ratio * field_bytes + nearest.metadata_bytes + index_bytes)

    @property
    def remaining_bytes(self) -> int:
        """Bytes that the forecasts that have not ended will still write."""
        waiting = sum(part.expected_bytes for forecasts in self.waiting.values() for part in forecasts.work)
        return waiting + sum(forecast.remaining_bytes for forecast in self.running)


def speed_for_group_size(measured: Iterable[Speed], group_size: int) -> Speed | None:
    """Return the speed of one machine at a group size, from those `measured` at some sizes; None if there are none.

    Between two measured sizes the speed is interpolated linearly. Outside of them the seconds are those of the nearest
    measured size times the ratio of sizes, and the memory is None.
    """
    by_size = {speed.group_size: speed for speed in measured}
    if group_size in by_size:
        return by_size[group_size]
    below = max((size for size in by_size if size < group_size), default=None)
    above = min((size for size in by_size if size > group_size), default=None)
    if below is not None and above is not None:
        return _interpolate(by_size[below], by_size[above], group_size)
    nearest = below or above
    if nearest is None:
        return None
    base, scale = by_size[nearest], group_size / nearest
    return Speed(
        group_size,
        scale * base.warm_start_seconds,
        scale * base.flow_seconds,
        scale * base.overhead_seconds,
        memory_bytes=None,
        is_scaled=True,
    )


def _interpolate(below: Speed, above: Speed, group_size: int) -> Speed:
    weight = (group_size - below.group_size) / (above.group_size - below.group_size)

    def mix(low: float, high: float) -> float:
        return low + weight * (high - low)

    has_memory = below.memory_bytes is not None and above.memory_bytes is not None
    return Speed(
        group_size,
        mix(below.warm_start_seconds, above.warm_start_seconds),
        mix(below.flow_seconds, above.flow_seconds),
        mix(below.overhead_seconds, above.overhead_seconds),
        mix(below.memory_bytes or 0.0, above.memory_bytes or 0.0) if has_memory else None,
        is_scaled=True,
    )


def compute_seconds(speed: Speed, num_groups: int, num_lead_times: int, nfe: int, num_workers: int = 1) -> float:
    """Return the seconds of a forecast whose groups are shared by `num_workers` equally fast workers.

    The worker with the most groups ends last: ceil(num_groups / num_workers) groups, one after the other.
    """
    return -(-num_groups // num_workers) * num_lead_times * speed.lead_time_seconds(nfe)


def memory_bytes(speed: Speed, members: int, member_bytes: int, num_fields: int) -> int | None:
    """Return the peak memory of a worker that holds all members, each with `num_fields` fields of `member_bytes`."""
    if speed.memory_bytes is None:
        return None
    return round(speed.memory_bytes + num_fields * members * member_bytes)


def fields_per_member(manifest: Manifest) -> int:
    """Return the fields that a worker holds for each member.

    They are its newest frames, the lead time that is diagnosed, and the last noise if it is correlated in time.
    """
    return manifest.model.context_frames + (1 if manifest.noise.is_white else 2)


def choose_nfe(
    deadline_seconds: float, maximum: int, per_step: int, seconds: Callable[[int], float | None], wait: float | None
) -> int:
    """Return the largest number of evaluations, at most `maximum`, with which a forecast meets its deadline.

    The number is a multiple of `per_step`, the evaluations of one step of the solver. It must leave a margin of a
    quarter: 1.25 (wait + seconds(nfe)) <= deadline. If none does, the result is `per_step`, provided that it meets the
    deadline without the margin; else raises `DeadlineError`. If speed or wait were never measured, it is the maximum.
    """
    allowed = range(max(maximum - maximum % per_step, per_step), 0, -per_step)
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
            f"`deadline_seconds` must be at least {wait + needed:.3g} s: about {wait:.3g} s of waiting and "
            f"{needed:.3g} s with {allowed[-1]} evaluations a step, the fewest. Got: {deadline_seconds:g} s. Request "
            "fewer members or lead times, or try again later.",
            ("deadline_seconds",),
        )
    return allowed[-1]
