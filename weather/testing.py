"""Synthetic weather from formulas, for tests of this project and of others."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from weather.grids import Grid


def travelling_waves(grid: Grid, times: Sequence[np.datetime64], seed: int = 0) -> xr.Dataset:
    """Return 10 m wind as waves that travel east, in m s-1, on dimensions (time, latitude, longitude)."""
    lon, lat = np.radians(grid.longitude)[None, None], np.radians(grid.latitude)[None, :, None]
    hours = np.array([(time - times[0]) / np.timedelta64(1, "h") for time in times])[:, None, None]
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 4)
    waves = [np.cos(lat) * np.sin((k + 2) * lon - hours / (10 + k) + phase) for k, phase in enumerate(phases)]
    dims = ("time", "latitude", "longitude")
    fields = {"u10": 6 * waves[0] + 3 * waves[1], "v10": 5 * waves[2] + 2 * waves[3]}
    return xr.Dataset(
        {name: (dims, field.astype(np.float32), {"units": "m s-1"}) for name, field in fields.items()},
        coords={
            "time": np.array(times, "datetime64[ns]"),
            "latitude": list(grid.latitude),
            "longitude": list(grid.longitude),
        },
    )
