from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.unit.weather.readers.records import GRID, NEWEST, field, make_record, make_wind
from weather.errors import TrainingDataError
from weather.grids import Grid
from weather.readers.array_blocks import read_array_blocks
from weather.readers.choice import choose
from weather.readers.containers import SourceError
from weather.readers.long_series import LongSeries, open_long_series
from weather.readers.records import Record, group_records
from weather.testing import travelling_waves

WIND = ("u10", "v10")
HOUR = np.timedelta64(1, "h")


def _fail(problems: Any) -> TrainingDataError:
    return TrainingDataError(" ".join(problems))


def _wind(hours: int, value: float, **options: Any) -> list[Record]:
    return make_wind(NEWEST + hours * HOUR, value, **options)


def _values(records: list[Record]) -> dict[str, float]:
    """Return the value at the first point of each frame of a long series."""
    series = LongSeries(group_records(records), WIND)
    frames = series.read(np.arange(len(series.times)))
    np.testing.assert_array_equal(frames[:, 0], [field(value) for value in frames[:, 0, 0, 0]])
    return dict(zip(map(str, series.times), frames[:, 0, 0, 0].tolist(), strict=True))


def test_records_are_chosen_by_the_same_rules_as_those_of_a_forecast() -> None:
    draw = np.random.default_rng(0)
    for _ in range(30):
        records = list[Record]()
        for number in range(int(draw.integers(3, 12))):
            hours, step = int(draw.integers(0, 4)) * 6, float(draw.choice([0.0, 6.0]))
            version, kind = str(draw.choice(["0001", "0005"])), str(draw.choice(["analysis", "forecast"]))
            wind = _wind(hours, 100.0 * number, step_hours=step, version=version, data_type=kind, source=f"{number}")
            records += wind[: int(draw.integers(1, 3))]
        try:
            choice = choose(records, WIND)
            frames = {str(time): choice.frame(time, None) for time in choice.times}
        except SourceError:
            with pytest.raises(SourceError):
                LongSeries(group_records(records), WIND)
            continue
        expected = {time: float(frame["u10"].read()[0, 0]) for time, frame in frames.items() if frame is not None}
        assert _values(records) == expected


def test_the_values_of_different_times_are_not_read_to_find_them() -> None:
    def read() -> Any:
        raise AssertionError

    series = LongSeries(group_records([*_wind(0, 1, read=read), *_wind(6, 1, read=read)]), WIND)
    assert len(series.times) == 2


def test_members_are_refused_unless_there_are_analyses() -> None:
    members = [record for member in (1, 2, 3) for record in _wind(0, member, member=member)]
    with pytest.raises(SourceError, match=r"must hold analyses\. Got: 3 members of each"):
        LongSeries(group_records(members), WIND)
    assert list(_values([*members, *_wind(0, 7)]).values()) == [7.0]


def test_frames_of_two_grids_are_refused() -> None:
    other = Grid(GRID.latitude, tuple(np.arange(8) * 45.0))
    with pytest.raises(SourceError, match=r"on one grid\. Got: 4 × 4 .* in `a` and 4 × 8 .* in `b`"):
        LongSeries(group_records([*_wind(0, 1, source="a"), *_wind(6, 1, source="b", grid=other)]), WIND)


def test_times_without_every_variable_are_left_out_and_none_is_refused() -> None:
    lonely = make_record("u10", NEWEST + 6 * HOUR)
    assert list(_values([*_wind(0, 1), lonely])) == [str(NEWEST)]
    with pytest.raises(SourceError, match=r"has all of u10, v10\. Got: `u10` at 1, `v10` at 1 of the selected times"):
        LongSeries(group_records([lonely, make_record("v10", NEWEST)]), WIND)


def _weatherbench(count: int) -> xr.Dataset:
    grid = Grid.from_coordinates(np.linspace(-78.75, 78.75, 8), np.arange(16) * 22.5)
    waves = travelling_waves(grid, [NEWEST + 6 * hours * HOUR for hours in range(count)])
    named = waves.rename(u10="10m_u_component_of_wind", v10="10m_v_component_of_wind")
    return named.sortby("latitude").transpose("time", "longitude", "latitude")


def _write(dataset: xr.Dataset, folder: Path, chunk: int) -> None:
    encoding = {name: {"chunks": (chunk, 16, 8)} for name in dataset.data_vars}
    dataset.to_zarr(folder, zarr_format=2, consolidated=True, encoding=encoding)


def test_a_store_is_read_by_chunks_in_any_selection(tmp_path: Path) -> None:
    dataset = _weatherbench(40)
    _write(dataset, tmp_path / "a.zarr", 8)
    whole = dataset["10m_v_component_of_wind"].transpose("time", "latitude", "longitude").values[:, ::-1]
    with open_long_series([str(tmp_path / "a.zarr")], WIND, _fail) as series:
        assert series.chunk_ids.tolist() == (np.arange(40) // 8).tolist()
        for indices in (np.arange(3, 21), np.array([5]), np.array([0, 6, 12]), np.array([1, 2, 30, 39])):
            np.testing.assert_array_equal(series.read(indices)[:, 1], whole[indices])


def test_only_chunks_of_the_selected_times_are_touched(tmp_path: Path) -> None:
    dataset = _weatherbench(40)
    _write(dataset, tmp_path / "a.zarr", 8)
    for path in (tmp_path / "a.zarr").glob("10m_*/*"):
        if path.name[0].isdigit() and not path.name.startswith("2."):
            path.write_bytes(b"damaged")
    times = dataset.time.values[16:24]
    with open_long_series([str(tmp_path / "a.zarr")], WIND, _fail, lambda found: np.isin(found, times)) as series:
        np.testing.assert_array_equal(series.times, times)
        assert np.isfinite(series.read(np.arange(8))).all()


def test_chunks_of_several_stores_are_counted_on(tmp_path: Path) -> None:
    dataset = _weatherbench(20)
    _write(dataset.isel(time=slice(10, 20)), tmp_path / "b.zarr", 4)
    _write(dataset.isel(time=slice(0, 10)), tmp_path / "a.zarr", 4)
    with open_long_series([str(tmp_path / name) for name in ("b.zarr", "a.zarr")], WIND, _fail) as series:
        np.testing.assert_array_equal(series.times, dataset.time.values)
        assert series.chunk_ids.tolist() == [0] * 4 + [1] * 4 + [2] * 2 + [3] * 4 + [4] * 4 + [5] * 2
        values = dataset["10m_u_component_of_wind"].transpose("time", "latitude", "longitude").values[:, ::-1]
        np.testing.assert_array_equal(series.read(np.arange(20))[:, 0], values)


def test_the_packing_of_integers_is_that_of_the_file(tmp_path: Path) -> None:
    waves = _weatherbench(6)
    packed = {name: {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -32768} for name in waves.data_vars}
    waves.to_netcdf(tmp_path / "a.nc", encoding=packed)
    with open_long_series([str(tmp_path / "a.nc")], WIND, _fail) as series:
        packings = series.list_packings()
        assert packings is not None
        factor, offset = packings
        assert factor.shape == offset.shape == (6, 2)
        assert (factor == 0.01).all()
        assert (offset == 0).all()
        steps = series.read(np.arange(6)) / 0.01
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    waves.to_netcdf(tmp_path / "b.nc")
    with open_long_series([str(tmp_path / "b.nc")], WIND, _fail) as series:
        assert series.list_packings() is None


def test_many_times_make_no_record_each() -> None:
    count, grid = 90_000, GRID
    values = np.broadcast_to(np.float32(1), (count, 4, 4))
    dims, units = ("time", "latitude", "longitude"), {"units": "m s-1"}
    dataset = xr.Dataset(
        dict.fromkeys(WIND, (dims, values, units)),
        {
            "time": ("time", np.arange(count) * 6, {"units": "hours since 1959-01-01"}),
            "latitude": list(grid.latitude),
            "longitude": list(grid.longitude),
        },
    )
    blocks = read_array_blocks(dataset, "a.zarr", WIND).blocks
    assert [len(block.valid_times) for block in blocks] == [count, count]
    series = LongSeries(blocks, WIND)
    assert len(series.times) == count
    assert series.read(np.array([7, 80_000])).shape == (2, 2, 4, 4)
