"""What every data set of the catalogue offers, wherever its analyses are: bundled, in a folder or on a server."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

FRAME_HOURS = 6
"""Hours between the two frames of an initial state for which the newest one is looked for."""


@dataclass(frozen=True)
class Description:
    """What users should know of a data set: title, licence, attribution, cost and delay.

    `delay_hours` is the usual time from an analysis to its publication, and `state_bytes` the size of what is fetched
    for an initial state, both None if they are not known. `hosts` are the servers that are contacted. A newest analysis
    that is older than `late_hours` is late; None for a data set of past dates, which never is.
    """

    title: str
    licence: str
    attribution: str
    delay_hours: float | None = None
    state_bytes: int | None = None
    hosts: tuple[str, ...] = ()
    late_hours: float | None = None


class Dataset(Protocol):
    """Analyses of one origin, of which initial states are made.

    All methods block, and raise `UpstreamError` if the origin is not reached or sends something else than analyses.
    """

    @property
    def name(self) -> str:
        """Name, as `GET /catalogue` lists it and requests give it."""

    @property
    def step_hours(self) -> int:
        """Hours between two analyses."""

    @property
    def description(self) -> Description:
        """What users should know of the data set."""

    def list_times(self, start: np.datetime64, stop: np.datetime64) -> list[np.datetime64]:
        """Return the times from `start` to `stop`, both included, whose analyses are there whole, ascending."""

    def find_newest(self, now: np.datetime64) -> np.datetime64 | None:
        """Return the newest initial time until `now` of which both frames are there whole, or None if none is."""

    def fetch(self, times: Sequence[np.datetime64]) -> list[Path]:
        """Return files with the analyses of these times, whole and checked, in the cache or the watched folder.

        A file may disappear when the cache needs its space; another call fetches it again.
        """


def find_newest_pair(times: Sequence[np.datetime64]) -> np.datetime64 | None:
    """Return the newest of ascending times for which the time `FRAME_HOURS` before is also one, or None."""
    known = set(times)
    pairs = [time for time in times if time - np.timedelta64(FRAME_HOURS, "h") in known]
    return pairs[-1] if pairs else None


def list_steps(start: np.datetime64, stop: np.datetime64, step_hours: int) -> list[np.datetime64]:
    """Return the multiples of a step, counted from 00 UTC of some day, from `start` to `stop`, both included."""
    step = np.timedelta64(step_hours, "h")
    first = -((np.datetime64(0, "s") - start.astype("datetime64[s]")) // step)
    last = (stop.astype("datetime64[s]") - np.datetime64(0, "s")) // step
    return [np.datetime64(0, "s") + index * step for index in range(int(first), int(last) + 1)]
