"""The simulated planet: JCM with the physics of SPEEDY, T31 and 8 levels. Importing this module loads JAX and JCM."""

import datetime as dt
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax_datetime
import numpy as np
import xarray as xr
from jcm.forcing import ForcingData
from jcm.model import Model
from jcm.physics.speedy.speedy_coords import get_speedy_coords
from jcm.terrain import TerrainData
from numpy.typing import NDArray

from training.nature.files import Surface

TIME_STEP_MINUTES = 30
FRAMES_PER_DAY = 4

Winds = tuple[NDArray[np.float32], NDArray[np.float32]]
"""u and v of the frames of a day, each `(time, latitude, longitude)`, in m s-1."""


class Planet:
    """The model with the boundary data that its wheel ships, which repeat every year.

    Its state is a tree of arrays: the dynamics, what the physics carries from step to step, and the number of the step.
    """

    def __init__(self) -> None:
        coordinates = get_speedy_coords(layers=8, spectral_truncation=31)
        boundaries = Path(str(resources.files("jcm"))) / "data/bc/t30/clim"
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of xarray, about JCM's calls
            terrain = TerrainData.from_file(str(boundaries / "terrain.nc"), coords=coordinates)
            self._forcing = ForcingData.from_file(
                str(boundaries / "forcing.nc"), coords=coordinates, align_mode="wrap_year"
            )
        self._model = Model(coords=coordinates, terrain=terrain, time_step=TIME_STEP_MINUTES)
        self._advance = jax.jit(self._simulate_day)
        self.structure = jax.tree.structure(self.start(0))
        self.surface = _read_surface(boundaries / "terrain.nc", *coordinates.horizontal.nodal_axes)

    def start(self, seed: int) -> Any:
        """Return the state of an atmosphere at rest, whose surface pressure is disturbed at random by `seed`."""
        self._model.bootstrap_state(self._model.initial_state(random_seed=seed))
        state = self._model.run_state
        return jax.tree.map(np.asarray, (state.dynamics, state.physics, state.step))

    def simulate_day(self, state: Any, date: dt.date) -> tuple[Any, Winds]:
        """Return the state a day later, and the near-surface winds at 06, 12, 18 and 24 UTC of `date`.

        The winds are those of the surface-layer scheme.
        """
        days = np.int32((date - dt.date(1970, 1, 1)).days)
        state, u, v = self._advance(state, days)
        return state, (np.asarray(u).transpose(0, 2, 1), np.asarray(v).transpose(0, 2, 1))

    def _simulate_day(self, state: Any, days: Any) -> tuple[Any, Any, Any]:
        dynamics, physics, step = state
        midnight = jax_datetime.Datetime(jax_datetime.Timedelta(days=days, seconds=np.int32(0)))
        end, predictions = self._model.run_from_state_with_carry(
            dynamics,
            self._forcing,
            save_interval=1 / FRAMES_PER_DAY,
            total_time=1.0,
            initial_physics_state=physics,
            initial_time=midnight,
            initial_step=step,
        )
        surface = predictions.physics["surface_exchange"]
        return (end.dynamics, end.physics, end.step), surface.wind_u, surface.wind_v


def _read_surface(terrain: Path, longitudes: NDArray[Any], sines: NDArray[Any]) -> Surface:
    """Return the surface of JCM's file on its grid, given the longitudes in radians and the sines of the latitudes."""
    with xr.open_dataset(terrain) as file:
        orography, mask = (file[name].transpose("lat", "lon").to_numpy() for name in ("orog", "lsm"))
    return Surface(np.arcsin(sines) * 180 / np.pi, longitudes * 180 / np.pi, orography, mask)


def list_arrays(state: Any) -> list[NDArray[Any]]:
    """Return the arrays of a state, in a fixed order."""
    return [np.asarray(array) for array in jax.tree.leaves(state)]


def rebuild_state(planet: Planet, arrays: Sequence[NDArray[Any]]) -> Any:
    """Return the state of a planet with these arrays, in the order of `list_arrays`."""
    return jax.tree.unflatten(planet.structure, arrays)
