"""What ships with Warmcast beside its code: checkpoints and samples of weather."""

import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from storage.errors import ConfigurationError
from weather.errors import CheckpointError
from weather.manifest import MANIFEST_NAME
from weather.times import parse_time

DEFAULT_CHECKPOINT = "demo"


def bundled(kind: Literal["checkpoints", "samples"]) -> Path:
    """Return the folder of bundled checkpoints or samples: the checkout's, or the installed distribution's."""
    checkout = Path(__file__).resolve().parent.parent / kind
    return checkout if checkout.is_dir() else Path(sysconfig.get_path("data")) / "share" / "warmcast" / kind


def find_checkpoint(name_or_path: str, folders: Sequence[Path]) -> Path:
    """Return the folder of a checkpoint, named by its path or by its name in one of `folders` or among the bundled.

    Raises `CheckpointError` that lists what there is.
    """
    places = [Path(name_or_path), *(folder / name_or_path for folder in (*folders, bundled("checkpoints")))]
    for place in places:
        if (place / MANIFEST_NAME).is_file():
            return place
    known = known_checkpoints(folders)
    raise CheckpointError(
        f"No checkpoint `{name_or_path}`: expected a folder with {MANIFEST_NAME}, or one of {known}. "
        "More folders of checkpoints are named by WARMCAST_CHECKPOINTS."
    )


def known_checkpoints(folders: Sequence[Path]) -> list[str]:
    """Return the names of the checkpoints in `folders` and among the bundled, in order."""
    places = (*folders, bundled("checkpoints"))
    return sorted({path.parent.name for folder in places for path in folder.glob(f"*/{MANIFEST_NAME}")})


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
