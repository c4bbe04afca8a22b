"""Checkpoints and initial states that ship with Warmcast, and checkpoints in other folders."""

import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from storage.errors import ConfigurationError
from weather.errors import CheckpointError
from weather.manifest import MANIFEST_NAME
from weather.times import parse_time

DEFAULT_CHECKPOINT = "earth"


def bundled_folder(kind: Literal["checkpoints", "samples"]) -> Path:
    """Return the folder of bundled checkpoints or samples: the checkout's, or the installed distribution's."""
    checkout = Path(__file__).resolve().parent.parent / kind
    return checkout if checkout.is_dir() else Path(sysconfig.get_path("data")) / "share" / "warmcast" / kind


def find_checkpoint(name_or_path: str, folders: Sequence[Path]) -> Path:
    """Return the folder of a checkpoint, given by its path or its name; raises `CheckpointError`.

    Only text with a slash is a path, so that no folder in the working directory is used in place of a checkpoint of
    its name: `./planet` is the folder `planet` there.
    """
    path = Path(name_or_path)
    return find_checkpoint_at(path) if path.name != name_or_path else find_named_checkpoint(name_or_path, folders)


def find_checkpoint_at(path: Path) -> Path:
    """Return `path`; raises `CheckpointError` unless it is the folder of a checkpoint."""
    if not (path / MANIFEST_NAME).is_file():
        raise CheckpointError(f"No checkpoint at `{path}`: expected a folder with {MANIFEST_NAME}.")
    return path


def find_named_checkpoint(name: str, folders: Sequence[Path]) -> Path:
    """Return the folder of a checkpoint by its name, from the first of `folders` that has it or from the bundled ones.

    Raises `CheckpointError` that lists the names.
    """
    for folder in (*folders, bundled_folder("checkpoints")):
        for path in folder.glob(f"*/{MANIFEST_NAME}"):
            if path.parent.name == name:
                return path.parent
    known = ", ".join(list_checkpoints(folders))
    raise CheckpointError(
        f"No checkpoint is named `{name}`. Expected one of: {known}. WARMCAST_CHECKPOINTS names more folders of them, "
        "and text with a slash is a path, such as ./folder."
    )


def list_checkpoints(folders: Sequence[Path]) -> list[str]:
    """Return the names of the checkpoints in `folders` and of the bundled ones, sorted."""
    searched = (*folders, bundled_folder("checkpoints"))
    return sorted({path.parent.name for folder in searched for path in folder.glob(f"*/{MANIFEST_NAME}")})


@dataclass(frozen=True)
class CatalogueState:
    """A bundled initial state: its data set, its time and the files with its two frames."""

    dataset: str
    init_time: str
    files: tuple[Path, ...]


def catalogue_states() -> list[CatalogueState]:
    """Return the bundled initial states, sorted by data set and time: folders `<data set>_<time>` of the samples."""
    states = []
    for folder in sorted(bundled_folder("samples").glob("*_*")):
        dataset, _, init_time = folder.name.rpartition("_")
        files = tuple(sorted(path for path in folder.iterdir() if path.suffix in {".grib2", ".nc"}))
        states.append(CatalogueState(dataset, init_time, files))
    return states


def find_catalogue_state(dataset: str, init_time: str | None) -> CatalogueState:
    """Return the bundled state of `dataset` at `init_time`, or its newest one if no time is given.

    Raises `ConfigurationError` that lists the data sets, or the times of the data set.
    """
    states = catalogue_states()
    of_dataset = [state for state in states if state.dataset == dataset]
    if not of_dataset:
        known = ", ".join(dict.fromkeys(state.dataset for state in states))
        raise ConfigurationError(f"`dataset` must be one of the catalogue: {known}. Got: {dataset!r}.", ("dataset",))
    if init_time is None:
        return of_dataset[-1]
    time = parse_time(init_time)
    matches = [state for state in of_dataset if parse_time(state.init_time) == time]
    if not matches:
        known = ", ".join(state.init_time for state in of_dataset)
        raise ConfigurationError(
            f"`init_time` must be one that the catalogue has of {dataset}: {known}. Got: {init_time!r}.",
            ("init_time",),
        )
    return matches[-1]
