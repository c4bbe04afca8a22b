"""Files by which the parsing child returns its result: initial states and frames as NumPy arrays, with a description.

A forecast's folder stores its initial state in the same form.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.paths import StoragePath, storage_path
from weather.errors import DamagedError
from weather.initial_state import InitialState
from weather.readers.inspection import Inspection
from weather.readers.provenance import ChosenSource

INITIAL_STATE = "initial_state"
"""Name of the folder of the initial state, next to a forecast's store."""

RESULT = "result"
"""Name of the folder in which the parsing child writes its result."""

_ARRAY = "initial_state.npy"
_DESCRIPTION = "initial_state.json"
_TIMES, _FRAMES = "times.npy", "frames.npy"
_INSPECTION = "inspection.json"
INITIAL_STATE_FILES = (f"{INITIAL_STATE}/{_ARRAY}", f"{INITIAL_STATE}/{_DESCRIPTION}")
"""Files of the initial state, by their names in the folder of a forecast."""


def save_initial_state(state: InitialState, folder: Path | StoragePath) -> None:
    """Write a state into `folder`, which is created if it is missing; the description is written last."""
    path = storage_path(folder)
    for name, content in _pack(state).items():
        (path / name).write(content)


def write_initial_state(state: InitialState, folder: Path) -> None:
    """Write the files of `save_initial_state` into an existing folder, where nothing can be renamed or removed."""
    for name, content in _pack(state).items():
        (folder / name).write_bytes(content)


def _pack(state: InitialState) -> dict[str, bytes | memoryview]:
    """Return the content of each file of a state, by name."""
    array = io.BytesIO()
    description = {
        "init_time": np.datetime_as_string(state.init_time, "s"),
        "sources": list(state.sources),
        "choice": [source.model_dump(mode="json") for source in state.choice],
        "warnings": list(state.warnings),
        "digest": state.digest,
    }
    np.save(array, np.stack(state.frames[::-1]), allow_pickle=False)
    return {_ARRAY: array.getbuffer(), _DESCRIPTION: (json.dumps(description, indent=1) + "\n").encode()}


def load_initial_state(folder: Path | StoragePath) -> InitialState:
    """Return the state that `save_initial_state` wrote.

    Raises `DamagedError` if it is missing or its digest differs, and `ConnectionError` if the storage is not reached.
    """
    path = storage_path(folder)
    try:
        description = json.loads((path / _DESCRIPTION).read_bytes())
        frames = np.load(io.BytesIO((path / _ARRAY).read_bytes()), allow_pickle=False)
        init_time = np.datetime64(description["init_time"], "s")
        choice = tuple(map(ChosenSource.model_validate, description.get("choice", ())))
        sources, cautions = tuple(description["sources"]), tuple(description.get("warnings", ()))
        state = InitialState(init_time, tuple(frames[::-1]), sources, choice, cautions)
        is_intact = state.digest == description["digest"]
    except ConnectionError:
        raise
    except Exception as error:  # a damaged file makes the libraries raise errors of any kind
        message = f"`{folder}` holds no initial state: {error}."
        raise DamagedError(INITIAL_STATE, "is missing or damaged", message) from error
    if not is_intact:
        reason = "is damaged: it does not have the digest written with it"
        raise DamagedError(INITIAL_STATE, reason, f"`{folder}` {reason}.")
    return state


def save_frames(frames: Mapping[np.datetime64, NDArray[np.float32]], folder: Path) -> None:
    """Write frames by time into `folder`."""
    np.save(folder / _TIMES, np.array(list(frames), "datetime64[s]"), allow_pickle=False)
    np.save(folder / _FRAMES, np.stack(list(frames.values())), allow_pickle=False)


def load_frames(folder: Path) -> dict[np.datetime64, NDArray[np.float32]]:
    """Return the frames by time that `save_frames` wrote; no file takes more memory than its size."""
    times, frames = (np.array(np.load(folder / name, mmap_mode="r", allow_pickle=False)) for name in (_TIMES, _FRAMES))
    return dict(zip(times.astype("datetime64[s]"), frames, strict=True))


def save_times(times: NDArray[np.datetime64], folder: Path) -> None:
    """Write times into `folder`."""
    np.save(folder / _TIMES, times, allow_pickle=False)


def load_times(folder: Path) -> NDArray[np.datetime64]:
    """Return the times that `save_times` wrote; no file takes more memory than its size."""
    return np.array(np.load(folder / _TIMES, mmap_mode="r", allow_pickle=False)).astype("datetime64[s]")


def save_inspection(inspection: Inspection, folder: Path) -> None:
    """Write an inspection into `folder`."""
    (folder / _INSPECTION).write_text(inspection.model_dump_json())


def load_inspection(folder: Path) -> Inspection:
    """Return the inspection that `save_inspection` wrote."""
    return Inspection.model_validate_json((folder / _INSPECTION).read_bytes())
