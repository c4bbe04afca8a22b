"""The bundled initial states as data sets of the catalogue."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from weather.bundled import CatalogueState, catalogue_states
from weather.errors import UpstreamRefusedError
from weather.times import format_time, parse_time
from weather.upstream.dataset import FRAME_HOURS, Description

_STEP = np.timedelta64(FRAME_HOURS, "h")
_DESCRIPTIONS: Mapping[str, Description] = {
    "gfs": Description("Two bundled analyses of NOAA's Global Forecast System", "public domain", "NOAA/NCEP"),
    "nature-run": Description(
        "The bundled state of a simulation, for tests of the checkpoint `planet`", "Apache-2.0", "Warmcast"
    ),
}


class BundledDataset:
    """The bundled states of one data set, each with its two frames in files of its own."""

    step_hours = FRAME_HOURS

    def __init__(self, name: str, states: Sequence[CatalogueState]) -> None:
        self.name = name
        self.description = _DESCRIPTIONS.get(name) or Description(f"Bundled states of {name}", "", "")
        self._states = {parse_time(state.init_time): state for state in states}

    def list_times(self, start: np.datetime64, stop: np.datetime64) -> list[np.datetime64]:
        """Return the times of all frames in an interval."""
        times = {frame for time in self._states for frame in (time - _STEP, time)}
        return sorted(time for time in times if start <= time <= stop)

    def find_newest(self, now: np.datetime64) -> np.datetime64 | None:
        """Return the newest initial time until `now`, or None if all are later."""
        return max((time for time in self._states if time <= now), default=None)

    def fetch(self, times: Sequence[np.datetime64]) -> list[Path]:
        """Return the bundled files with the frames of these times."""
        files = dict[Path, None]()
        for time in times:
            found = [state for init, state in self._states.items() if time in (init - _STEP, init)]
            if not found:
                message = f"Data set {self.name} has no analysis of {format_time(time)}."
                raise UpstreamRefusedError(self.name, message)
            files |= dict.fromkeys(found[0].files)
        return list(files)


def bundled_datasets() -> dict[str, BundledDataset]:
    """Return the data sets of the bundled states by name."""
    states = catalogue_states()
    names = dict.fromkeys(state.dataset for state in states)
    return {name: BundledDataset(name, [state for state in states if state.dataset == name]) for name in names}
