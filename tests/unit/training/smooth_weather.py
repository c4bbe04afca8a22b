"""Weather with less power at high wavenumbers than the steps of an untrained checkpoint have."""

from pathlib import Path

import numpy as np
import xarray as xr
from typer.testing import CliRunner, Result

from diagnostics.scores.random_fields import isotropic_fields
from models.testing import tiny_spec
from warmcast.cli import app

FIRST_WEAK, WEAK_POWER = 9, 0.2
"""First wavenumber at which steps have that share of the power."""


def write_smooth_weather(path: Path) -> Path:
    """Write runs of two days, each from calm: steps like those of the untrained h, but smoother; return the path."""
    draw, spec = np.random.default_rng(1), tiny_spec()
    grid = spec.grid.grid
    degrees = np.arange(grid.highest_wavenumber + 1)
    power = np.where(degrees < FIRST_WEAK, 1.0, WEAK_POWER) * (2 * degrees + 1) / 500
    stds = np.log(2) * np.array([variable.std for variable in spec.variables])[:, None, None]
    times, frames = [], []
    for number in range(10):
        frame = np.zeros((2, *grid.shape))
        for step in range(8):
            times.append(np.datetime64("2001-01-10", "ns") + np.timedelta64(24 * 25 * number + 6 * step, "h"))
            frames.append(frame)
            frame = frame + stds * isotropic_fields(draw.standard_normal((2, *grid.shape)), power, grid)
    values = np.stack(frames).astype(np.float32)
    dimensions = ("time", "latitude", "longitude")
    xr.Dataset(
        {name: (dimensions, values[:, channel], {"units": "m s-1"}) for channel, name in enumerate(("u10", "v10"))},
        {"time": times, "latitude": list(grid.latitude), "longitude": list(grid.longitude)},
    ).to_netcdf(path)
    return path


def calibrate(checkpoint: Path, data: Path, *options: object) -> Result:
    """Run `warmcast calibrate` on the year of the runs."""
    arguments = ["calibrate", checkpoint, "--data", data, "--lead-time", "24h", "--years", 2001, *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
