import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from training.nature.climate import measure_year
from training.nature.comparison import compare_nature_runs
from warmcast.cli import app
from weather.errors import TrainingDataError
from weather.grids import Grid

Write = Callable[..., list[Path]]


def test_statistics_are_those_of_the_whole_year_in_memory(write_years: Write, tmp_path: Path) -> None:
    (file,) = write_years(tmp_path / "years", range(2000, 2001))
    with xr.open_dataset(file) as dataset:
        wind = dataset.v10.load()
    found = measure_year(file)
    grid = Grid.from_coordinates(wind.latitude, wind.longitude)
    weights = xr.DataArray(grid.area_weights, {"latitude": list(grid.latitude)}, "latitude")
    for name, south, north in [("90-60 S", -90, -60), ("30-0 S", -30, 0), ("0-30 N", 0, 30), ("60-90 N", 60, 90)]:
        band = wind.sel(latitude=slice(south, north)).weighted(weights.sortby("latitude"))
        assert found["mean", "v10", name] == pytest.approx(float(band.mean()))
        assert found["variance", "v10", name] == pytest.approx(float(band.var()))
    for steps in (1, 4, 20):
        difference = abs(wind.to_numpy()[steps:] - wind.to_numpy()[:-steps])
        error = np.average(difference.mean(axis=(0, 2)), weights=grid.area_weights[::-1])
        assert found["persistence", "v10", f"{6 * steps} h"] == pytest.approx(error)
    assert len(found) == 2 * (6 + 6 + 3)


def test_the_order_of_coordinates_does_not_matter(write_years: Write, tmp_path: Path) -> None:
    (file,) = write_years(tmp_path / "years", range(2000, 2001))
    with xr.open_dataset(file) as dataset:
        turned = dataset.isel(latitude=slice(None, None, -1)).transpose("longitude", "latitude", "time")
        turned.roll(longitude=3, roll_coords=True).to_netcdf(tmp_path / "turned.nc")
    assert measure_year(tmp_path / "turned.nc") == pytest.approx(measure_year(file))


@pytest.fixture(scope="module")
def reference(write_years: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with five years."""
    return write_years(tmp_path_factory.mktemp("reference") / "years", range(1982, 1987))[0].parent


def test_years_that_differ_by_chance_are_alike(reference: Path, write_years: Write, tmp_path: Path) -> None:
    files = write_years(tmp_path / "new", range(1990, 1998))
    result = compare_nature_runs(compared=[tmp_path / "new"], reference=[reference])
    assert result["compared"] == [str(file) for file in files]
    (row,) = (
        row
        for row in result["statistics"]
        if (row["statistic"], row["variable"], row["where"]) == ("variance", "u10", "60-30 S")
    )
    values = [measure_year(file)["variance", "u10", "60-30 S"] for file in reference.iterdir()]
    assert row["spread"] == pytest.approx(np.std(values, ddof=1))
    assert row["deviation"] == pytest.approx((row["compared"] - np.mean(values)) / row["spread"])
    assert result["is_alike"]


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.1, 1)])
def test_the_command_prints_a_table_and_fails_if_years_differ(
    factor: float, code: int, reference: Path, write_years: Write, tmp_path: Path
) -> None:
    write_years(tmp_path / "new", range(1990, 1998), factor=factor)
    command = ["nature-compare", str(tmp_path / "new"), "--reference", str(reference)]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == code, ended.output
    assert "8 years, against 5 reference years: " in ended.output
    assert (" !" in ended.output) == (code == 1)


def test_the_command_prints_json(reference: Path) -> None:
    files = [str(file) for file in sorted(reference.iterdir())]
    command = ["nature-compare", *files[:2], *(f"--reference={file}" for file in files[2:]), "--json"]
    result = json.loads(CliRunner().invoke(app, command).stdout)
    assert (result["compared"], result["reference"]) == (files[:2], files[2:])
    assert len(result["statistics"]) == 30


def test_files_that_cannot_be_used_are_named(write_years: Write, tmp_path: Path) -> None:
    (file,) = write_years(tmp_path / "years", range(2000, 2001))
    (tmp_path / "damaged.nc").write_bytes(b"CDF")
    with xr.open_dataset(file) as dataset:
        dataset.drop_vars("u10").to_netcdf(tmp_path / "one.nc")
        dataset.isel(time=slice(0, None, 2)).to_netcdf(tmp_path / "daily.nc")
        dataset.isel(time=slice(10)).to_netcdf(tmp_path / "short.nc")
    for name, message in {
        "damaged.nc": "cannot be read as NetCDF",
        "one.nc": r"must have u10, v10 on a grid\. Missing: \['u10'\]",
        "daily.nc": "must have a frame every 6 hours",
        "short.nc": "over more than 5 days",
    }.items():
        with pytest.raises(TrainingDataError, match=rf"`{tmp_path / name}` {message}|{name}.*{message}"):
            measure_year(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingDataError, match=rf"Got none in: {tmp_path / 'empty'}"):
        compare_nature_runs(compared=[tmp_path / "empty"], reference=[file])
    with pytest.raises(TrainingDataError, match=r"`--reference` must hold 3 years or more\. Got: 1"):
        compare_nature_runs(compared=[file], reference=[file])
    with pytest.raises(TrainingDataError, match="must hold different years"):
        compare_nature_runs(compared=[file], reference=[file, file, file])
