"""Initial states that ship with Warmcast, by data set and time."""

from dataclasses import dataclass
from pathlib import Path

from storage.errors import ConfigurationError
from weather.bundled import bundled
from weather.times import parse_time


@dataclass(frozen=True)
class CatalogueState:
    """A state of a data set: the files with its two frames."""

    dataset: str
    init_time: str
    files: tuple[Path, ...]


def catalogue() -> list[CatalogueState]:
    """Return what there is: every folder `<data set>_<time>` of the bundled samples, in order of name."""
    states = []
    for folder in sorted(bundled("samples").glob("*_*")):
        dataset, _, init_time = folder.name.rpartition("_")
        files = tuple(sorted(path for path in folder.iterdir() if path.suffix in {".grib2", ".nc"}))
        states.append(CatalogueState(dataset, init_time, files))
    return states


def find_state(dataset: str, init_time: str | None) -> CatalogueState:
    """Return a state of `dataset`, the newest where no time is given.

    Raises `ConfigurationError` that lists what there is.
    """
    states = catalogue()
    found = [
        state
        for state in states
        if state.dataset == dataset and (init_time is None or parse_time(state.init_time) == parse_time(init_time))
    ]
    if not found:
        known = ", ".join(f"{state.dataset} {state.init_time}" for state in states)
        asked = f"{dataset} {init_time}" if init_time else dataset
        raise ConfigurationError(f"`initial_state` must be one of the catalogue: {known}. Got: {asked}.")
    return found[-1]
