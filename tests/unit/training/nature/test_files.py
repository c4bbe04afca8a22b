from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr

from training.nature.files import (
    Position,
    Surface,
    read_days_done,
    read_position,
    remove_abandoned,
    save_position,
    state_path,
    write_year,
)
from training.nature.states import StartState

START = StartState(seed=7, first_year=2000, years=2, is_tiny=False)


def test_a_year_begins_at_06_utc_and_ends_with_the_next_year(surface: Surface, tmp_path: Path) -> None:
    write_year(tmp_path / "y.nc", START, 2000, np.zeros((2, 4 * 366, 12, 8), np.int16), surface)
    with xr.open_dataset(tmp_path / "y.nc") as dataset:
        times = dataset.time.to_numpy()
        assert dataset.attrs["seed"] == 7
        assert dataset.attrs["first_year_of_start_state"] == 2000
    assert times[0] == np.datetime64("2000-01-01T06")
    assert times[-1] == np.datetime64("2001-01-01T00")
    assert np.all(np.diff(times) == np.timedelta64(6, "h"))


def test_winds_are_packed_in_steps_of_a_centimetre_a_second(surface: Surface, tmp_path: Path) -> None:
    winds = np.random.default_rng(1).integers(-9000, 9000, (2, 40, 12, 8)).astype(np.int16)
    write_year(tmp_path / "y.nc", START, 2001, winds, surface)
    with netCDF4.Dataset(tmp_path / "y.nc") as file:
        assert [(name, file[name].dtype.str, file[name].dimensions) for name in file.variables] == [
            ("u10", "<i2", ("time", "latitude", "longitude")),
            ("v10", "<i2", ("time", "latitude", "longitude")),
            ("orog", "<f4", ("latitude", "longitude")),
            ("lsm", "<f4", ("latitude", "longitude")),
            ("time", "<i8", ("time",)),
            ("latitude", "<f8", ("latitude",)),
            ("longitude", "<f8", ("longitude",)),
        ]
    with xr.open_dataset(tmp_path / "y.nc") as dataset:
        np.testing.assert_allclose(dataset.u10, winds[0] * 0.01, rtol=1e-12)
        np.testing.assert_allclose(dataset.v10, winds[1] * 0.01, rtol=1e-12)
        np.testing.assert_array_equal(dataset.orog, surface.orography)
        np.testing.assert_array_equal(dataset.lsm, surface.land_sea_mask)
        np.testing.assert_array_equal(dataset.latitude, surface.latitudes)


def test_the_source_and_its_licences_are_named(write_years: Callable[..., list[Path]], tmp_path: Path) -> None:
    (file,) = write_years(tmp_path / "years", range(2000, 2001))
    with xr.open_dataset(file) as dataset:
        for words in ("JCM 3.0.0 (Apache-2.0)", "(MIT, copyright 2020 Fred Kucharski and Franco Molteni)"):
            assert words in dataset.attrs["source"]


def test_the_same_winds_have_the_same_bytes(write_years: Callable[..., list[Path]], tmp_path: Path) -> None:
    one, other = (write_years(tmp_path / name, range(2000, 2001)) for name in ("one", "other"))
    assert one[0].read_bytes() == other[0].read_bytes()


def test_a_position_is_read_as_it_was_saved(tmp_path: Path) -> None:
    path = state_path(tmp_path, START)
    assert read_days_done(path) is None
    arrays = [
        np.arange(3, dtype=np.float32),
        *(np.full((), step, np.int32) for step in range(1200)),
        np.ones((2, 2), bool),
    ]
    winds = np.arange(2 * 4 * 6, dtype=np.int16).reshape(2, 4, 2, 3)
    save_position(path, Position(2001, 30, winds, arrays))
    assert read_days_done(path) == (2001, 30)
    position = read_position(path)
    assert (position.year, position.day) == (2001, 30)
    for found, wanted in zip([position.winds, *position.arrays], [winds, *arrays], strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


def test_only_temporary_files_of_the_start_state_are_removed(tmp_path: Path) -> None:
    left = {".states/.2000.npz.a1.partial", ".nature_2001.nc.b2.partial"}
    kept = {"nature_2001.nc", ".states/2000.npz", ".states/.2003.npz.c3.partial", ".nature_2005.nc.d4.partial"}
    (tmp_path / ".states").mkdir()
    for name in left | kept:
        (tmp_path / name).touch()
    remove_abandoned(tmp_path, START)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == kept
