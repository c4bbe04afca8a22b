import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from models.testing import tiny_spec, write_tiny_checkpoint
from weather.bundled import bundled
from weather.grids import Grid
from weather.manifest import ModelSpec

torch.set_num_threads(1)
os.environ.pop("WARMCAST_CHECKPOINTS", None)


@pytest.fixture(scope="session")
def gfs_files() -> list[Path]:
    """The bundled GRIB2 analyses of 2018-09-14 18 UTC and 2018-09-15 00 UTC, in this order."""
    return sorted((bundled("samples") / "gfs_2018-09-15T00").glob("*.grib2"))


@pytest.fixture
def spec() -> ModelSpec:
    return tiny_spec()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


def smooth_winds(grid: Grid, times: Sequence[np.datetime64], seed: int = 0) -> xr.Dataset:
    """Travelling waves of wind with units, on dimensions (time, latitude, longitude)."""
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


@pytest.fixture
def winds(spec: ModelSpec) -> xr.Dataset:
    """Four frames from 2018-09-14 12 UTC, 6 h apart, on the tiny checkpoint's own grid."""
    times = [np.datetime64("2018-09-14T12", "s") + np.timedelta64(6 * i, "h") for i in range(4)]
    return smooth_winds(spec.grid.grid, times)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=3, help="how often the kill campaign kills")
