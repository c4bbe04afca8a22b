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
from weather.errors import StoreError
from weather.initial_state import InitialState
from weather.readers.inspection import Inspection
from weather.readers.provenance import ChosenSource

INITIAL_STATE = "initial_state"
"""Name of the folder of the initial state, next to a forecast's store."""

_ARRAY = "initial_state.npy"
_DESCRIPTION = "initial_state.json"
_FRAMES = "frames.npz"
_INSPECTION = "inspection.json"


def save_initial_state(state: InitialState, folder: Path | StoragePath) -> None:
    """Write a state into `folder`, which is created if it is missing; the description is written last."""
    path, array = storage_path(folder), io.BytesIO()
    description = {
        "init_time": np.datetime_as_string(state.init_time, "s"),
        "sources": list(state.sources),
        "choice": [source.model_dump(mode="json") for source in state.choice],
        "warnings": list(state.warnings),
        "digest": state.digest,
    }
    np.save(array, np.stack([state.previous, state.newest]), allow_pickle=False)
    (path / _ARRAY).write(array.getbuffer())
    (path / _DESCRIPTION).write((json.dumps(description, indent=1) + "\n").encode())


def load_initial_state(folder: Path | StoragePath) -> InitialState:
    """Return the state that `save_initial_state` wrote.

    Raises `StoreError` if it is missing or its digest differs, and `ConnectionError` if the storage is not reached.
    """
    path = storage_path(folder)
    try:
        description = json.loads((path / _DESCRIPTION).read_bytes())
        frames = np.load(io.BytesIO((path / _ARRAY).read_bytes()), allow_pickle=False)
        init_time = np.datetime64(description["init_time"], "s")
        choice = tuple(map(ChosenSource.model_validate, description.get("choice", ())))
        sources, cautions = tuple(description["sources"]), tuple(description.get("warnings", ()))
        state = InitialState(init_time, frames[0], frames[1], sources, choice, cautions)
    except ConnectionError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise StoreError(f"`{folder}` holds no initial state: {error}.") from error
    if state.digest != description["digest"]:
        raise StoreError(f"`{folder}` is damaged: its initial state does not have the digest written with it.")
    return state


def save_frames(frames: Mapping[np.datetime64, NDArray[np.float32]], folder: Path) -> None:
    """Write frames by time into `folder`."""
    np.savez(folder / _FRAMES, times=np.array(list(frames), "datetime64[s]"), fields=np.stack(list(frames.values())))


def load_frames(folder: Path) -> dict[np.datetime64, NDArray[np.float32]]:
    """Return the frames by time that `save_frames` wrote."""
    with np.load(folder / _FRAMES, allow_pickle=False) as arrays:
        return dict(zip(arrays["times"], arrays["fields"], strict=True))


def save_inspection(inspection: Inspection, folder: Path) -> None:
    """Write an inspection into `folder`."""
    (folder / _INSPECTION).write_text(inspection.model_dump_json())


def load_inspection(folder: Path) -> Inspection:
    """Return the inspection that `save_inspection` wrote."""
    return Inspection.model_validate_json((folder / _INSPECTION).read_bytes())
