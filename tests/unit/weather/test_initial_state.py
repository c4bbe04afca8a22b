import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import eccodes
import numpy as np
import pytest
import xarray as xr
import zarr
from numpy.typing import NDArray

from models.testing import tiny_spec
from weather.errors import InitialStateError
from weather.initial_state import InitialState, read_initial_state
from weather.manifest import ModelSpec
from weather.readers.series import open_series

WIND = ("u10", "v10")
SIGNS = (("u10", 1), ("v10", -1))
NEWEST = np.datetime64("2018-09-15T06", "s")


@pytest.fixture(scope="module")
def gfs_spec() -> ModelSpec:
    return tiny_spec(181, 360, has_poles=True)


@pytest.fixture(scope="module")
def gfs_state(gfs_files: list[Path], gfs_spec: ModelSpec) -> InitialState:
    return _read(gfs_files, gfs_spec)


@pytest.fixture(scope="module")
def gfs_fields(gfs_files: list[Path]) -> xr.Dataset:
    with open_series([str(path) for path in gfs_files], WIND, AssertionError) as series:
        fields = series.load(series.times).fields
    return fields.assign({name: array.assign_attrs(units="m s-1") for name, array in fields.items()})


def _read(sources: list[Path], spec: ModelSpec, init_time: np.datetime64 | None = None) -> InitialState:
    return read_initial_state([str(source) for source in sources], spec, init_time)


def _refusal(sources: list[Path], spec: ModelSpec, init_time: np.datetime64 | None = None) -> InitialStateError:
    with pytest.raises(InitialStateError) as caught:
        _read(sources, spec, init_time)
    assert all(f"`{source}`" in str(caught.value) for source in sources)
    return caught.value


def _netcdf(dataset: xr.Dataset, path: Path) -> Path:
    dataset.to_netcdf(path)
    return path


def _classic_netcdf(dataset: xr.Dataset, path: Path) -> Path:
    dataset.to_netcdf(path, format="NETCDF3_64BIT")
    return path


def _zarr_2(dataset: xr.Dataset, path: Path) -> Path:
    dataset.to_zarr(path, zarr_format=2, consolidated=True)
    return path


def _zarr_3(dataset: xr.Dataset, path: Path) -> Path:
    dataset.to_zarr(path, zarr_format=3, consolidated=False)
    return path


def _zipped_zarr(dataset: xr.Dataset, path: Path) -> Path:
    with zarr.storage.ZipStore(path, mode="w") as store:
        dataset.to_zarr(store, zarr_format=3, consolidated=False)
    return path


def _grib_values(path: Path) -> list[NDArray[np.float64]]:
    with path.open("rb") as file:
        messages = [eccodes.codes_grib_new_from_file(file) for _ in range(2)]
    return [eccodes.codes_get_values(message).reshape(181, 360) for message in messages]


def test_a_pair_of_grib_analyses_is_read_unchanged(gfs_files: list[Path], gfs_state: InitialState) -> None:
    assert gfs_state.init_time == np.datetime64("2018-09-15T00", "s")
    assert gfs_state.sources == tuple(str(path) for path in gfs_files)
    for path, frame in zip(gfs_files, (gfs_state.previous, gfs_state.newest), strict=True):
        np.testing.assert_allclose(frame, [_grib_values(path)], rtol=0, atol=1e-5)


def test_the_order_of_the_files_does_not_matter(gfs_files: list[Path], gfs_spec: ModelSpec) -> None:
    states = [_read(files, gfs_spec) for files in (gfs_files, gfs_files[::-1], [*gfs_files, gfs_files[0]])]
    assert len({state.digest for state in states}) == 1


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("write", [_netcdf, _classic_netcdf, _zarr_2, _zarr_3, _zipped_zarr])
def test_every_format_gives_the_same_state(
    tmp_path: Path,
    gfs_spec: ModelSpec,
    gfs_fields: xr.Dataset,
    gfs_state: InitialState,
    write: Callable[[xr.Dataset, Path], Path],
) -> None:
    state = _read([write(gfs_fields, tmp_path / "weather")], gfs_spec)
    assert state.init_time == gfs_state.init_time
    np.testing.assert_allclose(state.previous, gfs_state.previous, rtol=0, atol=1e-3)
    np.testing.assert_allclose(state.newest, gfs_state.newest, rtol=0, atol=1e-3)


def test_the_newest_time_starts_the_forecast_by_default(tmp_path: Path, winds: xr.Dataset, spec: ModelSpec) -> None:
    state = _read([_netcdf(winds.isel(time=[2, 0, 3, 1]), tmp_path / "w.nc")], spec)
    assert state.init_time == NEWEST
    np.testing.assert_array_equal(state.previous[0], [winds[name][2] for name in WIND])
    np.testing.assert_array_equal(state.newest[0], [winds[name][3] for name in WIND])


@pytest.mark.parametrize(("num_frames", "hours", "indices"), [(3, 6, (3, 2, 1)), (4, 6, (3, 2, 1, 0)), (2, 12, (3, 1))])
def test_a_state_has_as_many_frames_as_the_context_one_time_step_apart(
    tmp_path: Path, winds: xr.Dataset, num_frames: int, hours: int, indices: tuple[int, ...]
) -> None:
    spec = tiny_spec(context_frames=num_frames, time_step_hours=hours)
    state = _read([_netcdf(winds, tmp_path / "w.nc")], spec)
    assert state.init_time == NEWEST
    for frame, index in zip(state.frames, indices, strict=True):
        np.testing.assert_array_equal(frame[0], [winds[name][index] for name in WIND])


@pytest.mark.parametrize(
    ("num_frames", "hours", "needed", "missing"),
    [
        (3, 12, "3 frames 12 h apart, 2018-09-14T06:00, 2018-09-14T18:00 and 2018-09-15T06:00", "2018-09-14T06:00"),
        (2, 24, "two frames 24 h apart, 2018-09-14T06:00 and 2018-09-15T06:00", "2018-09-14T06:00"),
    ],
)
def test_frames_that_the_data_lacks_are_named(
    tmp_path: Path, winds: xr.Dataset, num_frames: int, hours: int, needed: str, missing: str
) -> None:
    spec = tiny_spec(context_frames=num_frames, time_step_hours=hours)
    with pytest.raises(InitialStateError) as caught:
        _read([_netcdf(winds, tmp_path / "w.nc")], spec)
    assert f"needs {needed} (UTC). Missing: {missing}." in str(caught.value)


def test_an_init_time_chooses_its_frame_and_the_one_before(tmp_path: Path, winds: xr.Dataset, spec: ModelSpec) -> None:
    state = _read([_netcdf(winds, tmp_path / "w.nc")], spec, np.datetime64("2018-09-14T18", "s"))
    assert state.init_time == np.datetime64("2018-09-14T18", "s")
    np.testing.assert_array_equal(state.previous[0], [winds[name][0] for name in WIND])
    np.testing.assert_array_equal(state.newest[0], [winds[name][1] for name in WIND])


def test_frames_seven_hours_apart_are_refused_with_the_missing_time(
    tmp_path: Path, winds: xr.Dataset, spec: ModelSpec
) -> None:
    times = NEWEST.astype("datetime64[ns]") + np.array([-7, 0], "timedelta64[h]")
    message = str(_refusal([_netcdf(winds.isel(time=[2, 3]).assign_coords(time=times), tmp_path / "w.nc")], spec))
    assert "A forecast from 2018-09-15T06:00 needs two frames 6 h apart" in message
    assert "Missing: 2018-09-15T00:00. The data has 2 times: 2018-09-14T23:00, 2018-09-15T06:00." in message


def test_one_frame_only_is_refused(tmp_path: Path, winds: xr.Dataset, spec: ModelSpec) -> None:
    message = str(_refusal([_netcdf(winds.isel(time=[3]), tmp_path / "w.nc")], spec))
    assert "Missing: 2018-09-15T00:00. The data has 1 time: 2018-09-15T06:00." in message


def test_an_init_time_outside_the_data_is_refused_with_the_available_times(
    tmp_path: Path, winds: xr.Dataset, spec: ModelSpec
) -> None:
    message = str(
        _refusal([_netcdf(winds.isel(time=[2, 0, 3, 1]), tmp_path / "w.nc")], spec, np.datetime64("2020-01-01T00", "s"))
    )
    assert "Missing: 2019-12-31T18:00, 2020-01-01T00:00." in message
    assert "2018-09-14T12:00, 2018-09-14T18:00, 2018-09-15T00:00 … 2018-09-15T06:00." in message


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.nan, "`v10` has 2 missing or infinite values at 2018-09-15T06:00"),
        (np.inf, "`v10` has 2 missing or infinite values at 2018-09-15T06:00"),
        (200.0, "`v10` must be within -150 and 150 m s-1 at 2018-09-15T06:00. Got:"),
        (-200.0, "Got: -200 to"),
    ],
)
def test_impossible_values_are_refused_with_variable_and_time(
    tmp_path: Path, winds: xr.Dataset, spec: ModelSpec, value: float, sentence: str
) -> None:
    winds.v10[3, 5, 7:9] = value
    error = _refusal([_netcdf(winds, tmp_path / "w.nc")], spec)
    assert len(error.problems) == 1
    assert sentence in error.problems[0]


def test_impossible_values_in_unused_frames_are_ignored(tmp_path: Path, winds: xr.Dataset, spec: ModelSpec) -> None:
    winds.v10[:2] = np.nan
    assert _read([_netcdf(winds, tmp_path / "w.nc")], spec).init_time == NEWEST


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9999])
def test_a_truncated_grib_file_is_refused(
    tmp_path: Path, gfs_files: list[Path], gfs_spec: ModelSpec, share: float
) -> None:
    content = gfs_files[1].read_bytes()
    cut = tmp_path / "cut.grib2"
    cut.write_bytes(content[: int(share * len(content))])
    message = str(_refusal([gfs_files[0], cut], gfs_spec))
    assert f"`{cut}` cannot be read as GRIB" in message
    assert "The file may be damaged or cut short." in message


def test_a_grib_file_without_the_variable_is_refused_with_what_it_has(gfs_files: list[Path]) -> None:
    raw = tiny_spec(181, 360, has_poles=True).model_dump()
    raw["variables"] = ({"name": "t2m", "mean": 288.0, "std": 15.0},)
    message = str(_refusal(gfs_files, ModelSpec.model_validate(raw)))
    assert "Missing: 2 metre temperature (t2m or 2t" in message
    assert "The data has: 10u (heightAboveGround), 10v (heightAboveGround)." in message


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"GRI", "text file of 3 bytes"), (b"", "empty file"), (b"Wind: calm.\n", "text file of 12 bytes")],
)
def test_a_file_of_something_else_is_refused_with_its_size(
    tmp_path: Path, spec: ModelSpec, content: bytes, what: str
) -> None:
    (tmp_path / "w").write_bytes(content)
    message = str(_refusal([tmp_path / "w"], spec))
    assert "must be GRIB, NetCDF or Zarr" in message
    assert what in message


def test_a_missing_path_is_refused(tmp_path: Path, spec: ModelSpec) -> None:
    message = str(_refusal([tmp_path / "w.nc"], spec))
    assert f"`{tmp_path / 'w.nc'}` cannot be opened: No such file or directory." in message


def test_a_folder_that_is_not_a_zarr_store_is_refused(tmp_path: Path, spec: ModelSpec) -> None:
    assert "is a folder but no Zarr store" in str(_refusal([tmp_path], spec))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("write", "kind"), [(_netcdf, "NetCDF"), (_zipped_zarr, "a zip")])
def test_a_truncated_file_is_refused(
    tmp_path: Path, winds: xr.Dataset, spec: ModelSpec, write: Callable[[xr.Dataset, Path], Path], kind: str
) -> None:
    path = write(winds, tmp_path / "w")
    path.write_bytes(path.read_bytes()[:2000])
    assert f"`{path}` cannot be read as {kind}" in str(_refusal([path], spec))


def test_a_zarr_with_a_damaged_chunk_is_refused(tmp_path: Path, winds: xr.Dataset, spec: ModelSpec) -> None:
    path = _zarr_3(winds, tmp_path / "w.zarr")
    chunk = path / "v10/c/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    assert "cannot be read" in str(_refusal([path], spec))


def test_a_region_is_refused_with_its_bounds(tmp_path: Path, winds: xr.Dataset, spec: ModelSpec) -> None:
    region = winds.sel(latitude=slice(70, 10), longitude=slice(100, 200))
    error = _refusal([_netcdf(region, tmp_path / "w.nc")], spec)
    assert error.problems == (
        "The grid must be global. Got: latitudes 16.875 to 61.875 and longitudes 101.25 to 191.25, a region.",
    )


def test_the_problems_of_two_bad_files_are_reported_together(
    tmp_path: Path, winds: xr.Dataset, spec: ModelSpec
) -> None:
    unitless, region = winds.copy(deep=True), winds.sel(latitude=slice(70, 10))
    unitless.u10.attrs["units"] = "K"
    error = _refusal([_netcdf(unitless, tmp_path / "a.nc"), _netcdf(region, tmp_path / "b.nc")], spec)
    assert len(error.problems) == 2
    assert error.problems[0].startswith("`u10` must have `units`")
    assert error.problems[1].startswith("The grid must be global.")
    assert all(problem in str(error) for problem in error.problems)


def test_a_bad_file_is_refused_even_if_the_other_one_is_sufficient(
    tmp_path: Path, winds: xr.Dataset, spec: ModelSpec
) -> None:
    assert len(_refusal([_netcdf(winds, tmp_path / "a.nc"), tmp_path / "b.nc"], spec).problems) == 1


def test_members_become_analyses(tmp_path: Path, winds: xr.Dataset, spec: ModelSpec) -> None:
    ensemble = xr.concat([winds, -winds, 2 * winds], xr.Variable("number", [0, 1, 2]))
    ensemble = ensemble.assign({name: array.assign_attrs(units="m s-1") for name, array in ensemble.items()})
    state = _read([_netcdf(ensemble, tmp_path / "w.nc")], spec)
    assert state.newest.shape == state.previous.shape == (3, 2, 16, 32)
    for analysis, factor in enumerate((1, -1, 2)):
        np.testing.assert_array_equal(state.newest[analysis], [factor * winds[name][3] for name in WIND])
        np.testing.assert_array_equal(state.previous[analysis], [factor * winds[name][2] for name in WIND])


def test_files_of_different_ensembles_are_refused(tmp_path: Path, winds: xr.Dataset, spec: ModelSpec) -> None:
    paths = [
        _netcdf(winds.isel(time=[2]).expand_dims(number=3), tmp_path / "a.nc"),
        _netcdf(winds.isel(time=[3]), tmp_path / "b.nc"),
    ]
    message = str(_refusal(paths, spec))
    assert "2018-09-15T00:00: members 0, 1, 2; 2018-09-15T06:00: a single analysis." in message


def test_files_of_different_grids_are_refused(tmp_path: Path, winds: xr.Dataset, spec: ModelSpec) -> None:
    coarse = winds.isel(time=[3]).coarsen(latitude=2, longitude=2).mean()
    coarse = coarse.assign({name: array.assign_attrs(units="m s-1") for name, array in coarse.items()})
    paths = [_netcdf(winds.isel(time=[2]), tmp_path / "a.nc"), _netcdf(coarse, tmp_path / "b.nc")]
    message = str(_refusal(paths, spec))
    assert f"on one grid. Got: 16 × 32 (without poles) in `{paths[0]}` and 8 × 16 (without poles) in" in message


@pytest.mark.parametrize("same_grid", [True, False])
def test_the_origin_of_longitudes_makes_no_difference(tmp_path: Path, spec: ModelSpec, same_grid: bool) -> None:
    rows, columns = (16, 32) if same_grid else (13, 1440)
    grid = tiny_spec(rows, columns, has_poles=not same_grid).grid
    values = np.random.default_rng(0).standard_normal((2, rows, columns), np.float32)
    times = NEWEST.astype("datetime64[ns]") + np.array([-6, 0], "timedelta64[h]")
    eastward = xr.Dataset(
        {name: (("time", "latitude", "longitude"), values * sign, {"units": "m s-1"}) for name, sign in SIGNS},
        coords={"time": times, "latitude": list(grid.latitude), "longitude": list(grid.longitude)},
    )
    centred = eastward.assign_coords(longitude=(eastward.longitude + 180) % 360 - 180).sortby("longitude")
    states = [_read([_netcdf(data, tmp_path / f"{i}.nc")], spec) for i, data in enumerate((eastward, centred))]
    np.testing.assert_array_equal(states[0].newest, states[1].newest)
    assert states[0].digest == states[1].digest


def test_the_digest_changes_with_any_value_and_with_the_time(winds: xr.Dataset) -> None:
    previous, newest = (np.stack([winds[name][frame] for name in WIND])[None] for frame in (2, 3))
    state = InitialState(NEWEST, (newest, previous), ("a.nc",))
    draw, digests = np.random.default_rng(0), {state.digest}
    for _ in range(8):
        index = tuple(draw.integers(newest.shape))
        changed = newest.copy()
        changed[index] = np.nextafter(changed[index], np.float32(np.inf))
        digests.add(InitialState(NEWEST, (changed, previous), ("a.nc",)).digest)
        digests.add(InitialState(NEWEST, (newest, changed), ("a.nc",)).digest)
    digests.add(InitialState(NEWEST, (previous, newest), ("a.nc",)).digest)
    digests.add(InitialState(NEWEST + 1, (newest, previous), ("a.nc",)).digest)
    assert len(digests) == 19
    assert InitialState(NEWEST, (np.asfortranarray(newest), previous), ("b.nc", "c.nc")).digest == state.digest


def test_a_state_is_regridded_to_the_checkpoints_grid(
    gfs_files: list[Path], gfs_state: InitialState, gfs_spec: ModelSpec, spec: ModelSpec
) -> None:
    state = _read(gfs_files, spec)
    assert state.newest.shape == state.previous.shape == (1, 2, 16, 32)
    for ours, theirs in ((state.previous, gfs_state.previous), (state.newest, gfs_state.newest)):
        means = [
            (frame.mean(axis=-1, dtype=np.float64) * grid.grid.area_weights).mean(axis=-1)
            for frame, grid in ((ours, spec.grid), (theirs, gfs_spec.grid))
        ]
        np.testing.assert_allclose(means[0], means[1], rtol=0, atol=1e-5)
        assert ours.std() < theirs.std()


@pytest.fixture
def web_folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL at which a local web server serves it."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_zarr_is_read_from_a_url(web_folder: tuple[Path, str], winds: xr.Dataset, spec: ModelSpec) -> None:
    folder, url = web_folder
    winds.to_zarr(folder / "state.zarr", zarr_format=2)
    local = read_initial_state([str(folder / "state.zarr")], spec)
    assert read_initial_state([f"{url}/state.zarr"], spec).digest == local.digest


def test_a_url_without_a_store_is_one_error(web_folder: tuple[Path, str], spec: ModelSpec) -> None:
    with pytest.raises(InitialStateError, match=r"nothing\.zarr` does not exist"):
        read_initial_state([f"{web_folder[1]}/nothing.zarr"], spec)
