"""The normalised initial state on disk: an array and its description, all that anyone but the parser reads."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.paths import StoragePath, storage_path
from weather.errors import StoreError
from weather.initial_state import InitialState

_ARRAY = "initial_state.npy"
_DESCRIPTION = "initial_state.json"
_FRAMES = "frames.npz"


def write_canonical(state: InitialState, folder: Path | StoragePath) -> None:
    """Write a state into `folder`, which is made; the description comes last, so that what it describes is whole."""
    place, array = storage_path(folder), io.BytesIO()
    described = {
        "init_time": np.datetime_as_string(state.init_time, "s"),
        "sources": list(state.sources),
        "digest": state.digest,
    }
    np.save(array, np.stack([state.previous, state.newest]), allow_pickle=False)
    (place / _ARRAY).write(array.getbuffer())
    (place / _DESCRIPTION).write((json.dumps(described, indent=1) + "\n").encode())


def read_canonical(folder: Path | StoragePath) -> InitialState:
    """Return the state that `write_canonical` wrote; raises `StoreError` where it is not there or not what it was."""
    place = storage_path(folder)
    try:
        described = json.loads((place / _DESCRIPTION).read_bytes())
        frames = np.load(io.BytesIO((place / _ARRAY).read_bytes()), allow_pickle=False)
        init_time = np.datetime64(described["init_time"], "s")
        state = InitialState(init_time, frames[0], frames[1], tuple(described["sources"]))
    except ConnectionError:
        raise
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise StoreError(f"`{folder}` holds no initial state: {error}.") from error
    if state.digest != described["digest"]:
        raise StoreError(f"`{folder}` is damaged: the initial state is not what was written.")
    return state


def write_frames(frames: Mapping[np.datetime64, NDArray[np.float32]], folder: Path) -> None:
    """Write frames by time into `folder`."""
    np.savez(folder / _FRAMES, times=np.array(list(frames), "datetime64[s]"), fields=np.stack(list(frames.values())))


def read_frames(folder: Path) -> dict[np.datetime64, NDArray[np.float32]]:
    """Return the frames that `write_frames` wrote."""
    with np.load(folder / _FRAMES, allow_pickle=False) as written:
        return dict(zip(written["times"], written["fields"], strict=True))
