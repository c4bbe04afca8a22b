from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from tests.unit.training.smooth_weather import write_smooth_weather
from tests.unit.training.tiny import tiny_config
from training.config import TrainingConfig
from training.data.training_data import TrainingData
from weather.grids import Grid
from weather.testing import travelling_waves


@pytest.fixture(scope="session")
def two_years(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The turn of the year 2000/2001, 40 frames on each side, one file a year, latitudes south to north."""
    folder = tmp_path_factory.mktemp("years")
    grid = Grid.from_coordinates(np.linspace(-84.375, 84.375, 16), np.arange(32) * 11.25)
    turn = np.datetime64("2001-01-01T00", "s")
    fields = travelling_waves(grid, [turn + np.timedelta64(6 * step, "h") for step in range(-40, 40)])
    draw = np.random.default_rng(0)
    fields["orography"] = (("latitude", "longitude"), draw.standard_normal((16, 32)).astype(np.float32))
    files = []
    for year in (2000, 2001):
        part: xr.Dataset = fields.sel(time=fields.time.dt.year == year).sortby("latitude")
        part.to_netcdf(folder / f"{year}.nc")
        files.append(folder / f"{year}.nc")
    return files


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of `smooth_weather`."""
    return write_smooth_weather(tmp_path_factory.mktemp("runs") / "smooth.nc")


@pytest.fixture
def closed_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check that the test closes all data that it opens, also where it is refused.

    Files that are left to the garbage collector are closed at any time, also while the lock that this takes is held.
    """
    opened, closed = list[TrainingData](), set[int]()
    begin, close = TrainingData.__init__, TrainingData.close

    def record_begin(data: TrainingData, *arguments: Any, **options: Any) -> None:
        begin(data, *arguments, **options)
        opened.append(data)

    def record_close(data: TrainingData) -> None:
        close(data)
        closed.add(id(data))

    monkeypatch.setattr(TrainingData, "__init__", record_begin)
    monkeypatch.setattr(TrainingData, "close", record_close)
    yield
    assert {id(data) for data in opened} == closed


@pytest.fixture
def config() -> TrainingConfig:
    return TrainingConfig.model_validate(tiny_config())


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(tiny_config(**changes)))
        return path

    return write
