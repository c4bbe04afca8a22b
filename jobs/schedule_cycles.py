"""The rules of schedules, without a clock or a database: which cycles there are, which are late, and how they end.

Times are seconds since 1970; a cycle is named by its initial time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from jobs.rows.states import RunState

HOUR = 3600
MAX_CATCH_UP = 400
"""Largest number of cycles that are caught up, and that a schedule may have before its creation."""
MAX_AGE_SECONDS = 30 * 24 * HOUR
"""Seconds after the end of its time at which a cycle is not caught up any more."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 60.0, 900.0
"""Least and largest pause between two attempts of one run."""


@dataclass(frozen=True)
class Rhythm:
    """The cycles of a schedule: every so many hours, `offset_hours` after multiples of that since 1970, 00 UTC."""

    every_hours: int
    offset_hours: int

    def first_from(self, time: float) -> int:
        """Return the first cycle at or after a time."""
        every, offset = self.every_hours * HOUR, self.offset_hours * HOUR
        return offset - int(-(time - offset) // every) * every

    def last_until(self, time: float) -> int:
        """Return the last cycle at or before a time."""
        every, offset = self.every_hours * HOUR, self.offset_hours * HOUR
        return offset + int((time - offset) // every) * every

    def following(self, cycle: int) -> int:
        """Return the cycle after another one."""
        return cycle + self.every_hours * HOUR

    def due(self, next_cycle: int | None, stop: int | None, now: float, at_most: int) -> tuple[list[int], int | None]:
        """Return the cycles from `next_cycle` that have begun by `now`, and the one after them; None if it is the last.

        At most `at_most` cycles are returned; the others are due at the next call.
        """
        cycles: list[int] = []
        cycle = next_cycle
        while cycle is not None and cycle <= now and len(cycles) < at_most:
            if stop is not None and cycle > stop:
                return cycles, None
            cycles.append(cycle)
            cycle = self.following(cycle)
        return cycles, None if cycle is None or (stop is not None and cycle > stop) else cycle


@dataclass(frozen=True)
class WaitingRun:
    """A run that has not ended: whether its analyses were there, it was refused, and anything has looked for them.

    It begins at its initial time, or later if its schedule was made later.
    """

    init_time: int
    begins: float
    is_ready: bool = False
    was_refused: bool = False
    was_tried: bool = True


def is_late(begins: float, now: float, late_hours: float) -> bool:
    """Return whether a run that still waits is late."""
    return now >= begins + late_hours * HOUR


def is_over(begins: float, now: float, wait_hours: float) -> bool:
    """Return whether the time in which a run is not caught up has ended."""
    return now >= begins + wait_hours * HOUR


def judge(runs: Sequence[WaitingRun], now: float, wait_hours: float, catch_up: int) -> dict[int, RunState]:
    """Return the final states of the waiting runs of a schedule that end now, by their initial times.

    Within `wait_hours` a run waits. Afterwards the newest `catch_up` runs still do, for `MAX_AGE_SECONDS`; all others
    end: as failed if they were refused, as skipped if their analyses were there or nothing has looked for them, else
    as missed.
    """
    over = sorted((run for run in runs if is_over(run.begins, now, wait_hours)), key=lambda run: -run.init_time)
    ended = {}
    for index, run in enumerate(over):
        is_old = is_over(run.begins, now - MAX_AGE_SECONDS, wait_hours)
        if index >= catch_up or is_old:
            ended[run.init_time] = _final_state(run)
    return ended


def _final_state(run: WaitingRun) -> RunState:
    if run.was_refused:
        return RunState.FAILED
    return RunState.SKIPPED if run.is_ready or not run.was_tried else RunState.MISSED


def pause_seconds(begins: float, now: float, attempts: int) -> float:
    """Return the seconds until a run is tried again: more for each refusal, and the longer it waits for analyses."""
    by_age = (now - begins) / 100
    by_refusals = FIRST_PAUSE_SECONDS * 2.0 ** min(attempts, 10)
    return min(max(FIRST_PAUSE_SECONDS, by_age if not attempts else by_refusals), MAX_PAUSE_SECONDS)


class Verify(Enum):
    """What to do about the verification of a forecast."""

    WAIT = auto()
    NOW = auto()
    GIVE_UP = auto()


def choose_verification(present: Collection[int], last: float, until: float, now: float) -> Verify:
    """Return whether a forecast is verified with the analyses that are present, by their valid times.

    It is once that of its last valid time is there, or the time for that is over and any is there.
    """
    if last in present:
        return Verify.NOW
    if now < until:
        return Verify.WAIT
    return Verify.NOW if present else Verify.GIVE_UP
