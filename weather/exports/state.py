"""The initial state of a forecast as the files of a Zarr store, which is not stored in this form."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from weather.exports.stored import StoredFields
from weather.grids import Grid, spatial_attributes
from weather.initial_state import InitialState
from weather.stores.chunks import ChunkFormat
from weather.stores.create import empty_store
from weather.stores.layout import Coordinate, Layout, ensemble_coordinates, write_coordinate
from weather.variables import KNOWN

STATE = "initial_state.zarr"
"""The name of the store of a forecast's initial state in URLs."""
KEPT_STATE = "state.zarr"
"""The name of the store of a kept initial state in URLs."""

_DESCRIBED = ("valid_time", "latitude", "longitude")


def initial_state_files(state: InitialState, stored: StoredFields) -> dict[str, bytes]:
    """Return the files of a store with the frames of a state, oldest first, by their keys.

    `stored` is a store of the forecast that started from the state. Fields are (time, latitude, longitude), or (time,
    number, latitude, longitude) for an ensemble of analyses: member m starts from number m modulo their number.
    """
    grid = Grid.from_coordinates(stored.coordinates["latitude"], stored.coordinates["longitude"])
    described = {name: stored.attributes_of(name) for name in _DESCRIBED}
    title = "Initial state of a Warmcast forecast"
    step = np.timedelta64(int(stored.lead_hours[0]), "h")
    return _state_files(state, stored.variables, grid, step, title, described)


def kept_state_files(
    state: InitialState, variables: Sequence[str], grid: Grid, time_step: np.timedelta64
) -> dict[str, bytes]:
    """Return the same files for a state without a forecast, whose frames are `time_step` apart on `grid`."""
    layout = Layout(state.init_time, 1, time_step, (0,), 1, tuple(variables), grid)
    coordinates = ensemble_coordinates(layout)
    described = {name: coordinates[name][2] for name in _DESCRIBED}
    return _state_files(state, variables, grid, time_step, "Initial state kept by Warmcast", described)


def _state_files(
    state: InitialState,
    variables: Sequence[str],
    grid: Grid,
    time_step: np.timedelta64,
    title: str,
    described: Mapping[str, Mapping[str, Any]],
) -> dict[str, bytes]:
    num_analyses = len(state.newest)
    attributes = {
        "Conventions": "CF-1.11",
        "title": f"{title} from {np.datetime_as_string(state.init_time, 's')} UTC",
        "institution": "Warmcast",
        "initial_state": " ".join(state.sources),
        **spatial_attributes(grid.latitude, grid.longitude),
    }
    times = (state.init_time + time_step * np.arange(1 - len(state.frames), 1)).astype("datetime64[s]")
    analyses = np.arange(num_analyses, dtype=np.int32)
    coordinates: dict[str, Coordinate] = {
        "time": (("time",), times.astype(np.int64), dict(described["valid_time"])),
        "number": (("number",), analyses, {"standard_name": "realization", "long_name": "analysis", "units": "1"}),
        "latitude": (("latitude",), np.array(grid.latitude), dict(described["latitude"])),
        "longitude": (("longitude",), np.array(grid.longitude), dict(described["longitude"])),
    }
    if num_analyses == 1:
        del coordinates["number"]
    return empty_store(attributes, lambda root: _create_arrays(root, state, variables, coordinates))


def _create_arrays(
    root: zarr.Group, state: InitialState, variables: Sequence[str], coordinates: Mapping[str, Coordinate]
) -> None:
    frames = np.stack(state.frames[::-1])
    for channel, name in enumerate(variables):
        values = frames[:, :, channel] if "number" in coordinates else frames[:, 0, channel]
        variable, chunks = KNOWN[name], ChunkFormat(name, (1, *values.shape[1:]))
        described = {"standard_name": variable.standard_name, "long_name": variable.long_name, "units": variable.units}
        chunks.create_array(root, values.shape, tuple(coordinates), described)[...] = values
    for name, coordinate in coordinates.items():
        write_coordinate(root, name, coordinate)
