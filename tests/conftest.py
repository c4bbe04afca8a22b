import os
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from models.testing import tiny_spec, write_tiny_checkpoint
from weather.bundled import bundled
from weather.manifest import ModelSpec
from weather.testing import travelling_waves

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


@pytest.fixture(scope="session")
def untrained_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose forecasts are random walks: they stay finite however long they run."""
    folder = tmp_path_factory.mktemp("checkpoints") / "untrained"
    write_tiny_checkpoint(folder, name="untrained", trained=False)
    return folder


@pytest.fixture
def winds(spec: ModelSpec) -> xr.Dataset:
    """Four frames from 2018-09-14 12 UTC, 6 h apart, on the tiny checkpoint's own grid."""
    times = [np.datetime64("2018-09-14T12", "s") + np.timedelta64(6 * i, "h") for i in range(4)]
    return travelling_waves(spec.grid.grid, times)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=3, help="how often the kill campaign kills")
