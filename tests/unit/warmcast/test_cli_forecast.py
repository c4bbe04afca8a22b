import json
import shutil
from pathlib import Path

import eccodes
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from warmcast.cli import app
from weather.manifest import FLOW_FILE

pytestmark = pytest.mark.filterwarnings("ignore:.*Consolidated.*")


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def _forecast(tiny_checkpoint: Path, output: Path, states: list[object], *more: object) -> Result:
    options = ["--members", 2, "--lead-time", "12h", "--nfe", 2, "--seed", 1, "--checkpoint", tiny_checkpoint]
    return _invoke("forecast", "--initial-state", *states, *options, "--output", output, *more)


@pytest.mark.smoke
def test_two_grib_files_become_an_ensemble_and_a_picture(
    tiny_checkpoint: Path, gfs_files: list[Path], tmp_path: Path
) -> None:
    result = _forecast(tiny_checkpoint, tmp_path / "out", [*gfs_files])
    assert result.exit_code == 0, result.output
    assert 'xarray.open_zarr("' in result.output
    dataset = xr.open_zarr(tmp_path / "out/ensemble.zarr")
    assert dataset.init_time.values[0] == np.datetime64("2018-09-15T00")
    assert dict(dataset.u10.sizes) == {"init_time": 1, "lead_time": 2, "number": 2, "latitude": 16, "longitude": 32}
    assert bool(np.isfinite(dataset.v10).all())
    for options in (("--lead-time", "6h", "--lead-time", "12h"), ("--units", "kn", "--bbox", "170,-30,-170,10")):
        pictures = _invoke("plot", tmp_path / "out", *options).output.split()
        assert all(Path(picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
        assert len(pictures) == 2


def test_the_receipt_is_json(tiny_checkpoint: Path, gfs_files: list[Path], tmp_path: Path) -> None:
    receipt = json.loads(_forecast(tiny_checkpoint, tmp_path, [*gfs_files], "--json").stdout)
    assert receipt["init_time"] == "2018-09-15T00:00"
    assert (receipt["members"], receipt["lead_times"], receipt["network_evaluations"]) == (2, 2, 12)
    assert receipt["noise"] == {"correlation": 0.0, "late_correlation": 0.0, "decay_hours": 24.0, "scale": 1.0}


def test_an_odd_initial_state_is_warned_of_on_standard_error_and_in_the_receipt(
    tiny_checkpoint: Path, winds: xr.Dataset, tmp_path: Path
) -> None:
    winds.assign_coords(time=winds.time + np.timedelta64(100 * 365, "D")).to_netcdf(tmp_path / "later.nc")
    result = _forecast(tiny_checkpoint, tmp_path / "out", [tmp_path / "later.nc"], "--json")
    warning = "The initial time, 2118-08-22T06:00, is in the future: it is now "
    assert f"Warning: {warning}" in result.stderr
    assert [text.startswith(warning) for text in json.loads(result.stdout)["warnings"]] == [True]


def test_a_constant_initial_state_is_refused(tiny_checkpoint: Path, winds: xr.Dataset, tmp_path: Path) -> None:
    constant = winds.assign({name: (0 * array).assign_attrs(units="m s-1") for name, array in winds.items()})
    constant.to_netcdf(tmp_path / "calm.nc")
    result = _forecast(tiny_checkpoint, tmp_path / "out", [tmp_path / "calm.nc"])
    assert result.exit_code == 2
    assert "`u10` at 2018-09-15T06:00 is 0 m s-1 everywhere, so it is no analysis." in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_spread_is_that_of_whole_days(tiny_checkpoint: Path, gfs_files: list[Path], tmp_path: Path) -> None:
    result = _forecast(tiny_checkpoint, tmp_path, [*gfs_files], "--lead-time", "1d", "--json")
    dataset = xr.open_zarr(tmp_path / "ensemble.zarr").isel(init_time=0, lead_time=-1)
    rows = np.cos(np.radians(dataset.latitude.values))
    variance = dataset.u10.var("number", ddof=1).mean("longitude").values
    spread = np.sqrt((variance * rows).sum() / rows.sum())
    assert json.loads(result.stdout)["spread"]["u10"]["24h"] == pytest.approx(float(spread), rel=2e-3)


def test_grib_netcdf_and_zarr_of_one_state_give_one_forecast(
    tiny_checkpoint: Path, gfs_files: list[Path], tmp_path: Path
) -> None:
    frames = [
        xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": "", "time_dims": ("valid_time",)}).load()
        for path in gfs_files
    ]
    both = xr.concat(frames, "valid_time").drop_vars("heightAboveGround")
    both = both.rename(valid_time="time").drop_attrs(deep=False)
    for name in ("u10", "v10"):
        both[name].attrs = {"units": "m s-1"}
    packed = {"dtype": "i2", "scale_factor": 0.01, "_FillValue": -32768}
    both.to_netcdf(tmp_path / "state.nc", encoding=dict.fromkeys(("u10", "v10"), packed))
    both.to_zarr(tmp_path / "state.zarr")
    results = {}
    for kind, states in {"grib": gfs_files, "nc": [tmp_path / "state.nc"], "zarr": [tmp_path / "state.zarr"]}.items():
        result = _forecast(tiny_checkpoint, tmp_path / kind, [*states], "--init-time", "2018-09-15T00")
        assert result.exit_code == 0, result.output
        results[kind] = xr.open_zarr(tmp_path / kind / "ensemble.zarr").isel(lead_time=0)
    for kind in ("nc", "zarr"):
        for name in ("u10", "v10"):
            np.testing.assert_allclose(results[kind][name], results["grib"][name], rtol=0, atol=0.01)


def _write_truncated(folder: Path, gfs_files: list[Path]) -> list[object]:
    (folder / "cut.grib2").write_bytes(gfs_files[1].read_bytes()[:100_000])
    return [gfs_files[0], folder / "cut.grib2"]


def _write_temperature(folder: Path, gfs_files: list[Path]) -> list[object]:
    with gfs_files[1].open("rb") as source, (folder / "warm.grib2").open("wb") as target:
        message = eccodes.codes_grib_new_from_file(source)
        eccodes.codes_set(message, "parameterCategory", 0)
        eccodes.codes_set(message, "parameterNumber", 0)
        eccodes.codes_write(message, target)
        eccodes.codes_release(message)
    return [folder / "warm.grib2"]


def _write(folder: Path, dataset: xr.Dataset) -> list[object]:
    dataset.to_netcdf(folder / "state.nc")
    return [folder / "state.nc"]


@pytest.mark.parametrize(
    ("case", "named"),
    [
        ("truncated", "cut short"),
        ("temperature", "Missing: 10 metre u wind component"),
        ("no v10", "Missing: 10 metre v wind component"),
        ("one frame", "needs two frames 6 h apart"),
        ("7 h apart", "needs two frames 6 h apart"),
        ("regional", "The grid must be global"),
    ],
)
def test_an_unusable_initial_state_is_one_paragraph_and_leaves_no_files(
    case: str, named: str, tiny_checkpoint: Path, gfs_files: list[Path], winds: xr.Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    odd = winds.assign_coords(time=winds.time[0].values + np.arange(4) * np.timedelta64(7 * 3600 * 10**9, "ns"))
    states = {
        "truncated": lambda: _write_truncated(folder, gfs_files),
        "temperature": lambda: _write_temperature(folder, gfs_files),
        "no v10": lambda: _write(folder, winds[["u10"]]),
        "one frame": lambda: _write(folder, winds.isel(time=[0])),
        "7 h apart": lambda: _write(folder, odd),
        "regional": lambda: _write(folder, winds.isel(latitude=slice(2, 7), longitude=slice(0, 9))),
    }[case]()
    result = _forecast(tiny_checkpoint, tmp_path / "out", states)
    assert result.exit_code == 2
    assert named in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_changed_byte_in_a_checkpoint_stops_before_anything_is_written(
    tiny_checkpoint: Path, gfs_files: list[Path], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_checkpoint, damaged)
    content = bytearray((damaged / FLOW_FILE).read_bytes())
    content[-5] ^= 4
    (damaged / FLOW_FILE).write_bytes(content)
    result = _forecast(damaged, tmp_path / "out", [*gfs_files])
    assert result.exit_code == 2
    assert "is damaged: expected SHA-256" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--lead-time", "7h"), "`lead_time` must be a positive multiple of 6h. Got: '7h'."),
        (("--lead-time", "soon"), "`lead_time` must be hours or days"),
        (("--nfe", "5"), "`nfe` must be a positive multiple of 2"),
        (("--solver", "rk4"), "`solver` is wrong: Input should be 'euler', 'midpoint' or 'single'. Got: 'rk4'."),
        (("--member", "2"), "`member` must be less than the number of members, 2. Got: 2."),
        (("--device", "gpu"), "`device` must be auto, cpu, cuda or cuda:N. Got: 'gpu'."),
        (("--init-time", "yesterday"), "`init_time` must be a time such as 2018-09-15T00. Got: 'yesterday'."),
        (("--checkpoint", "none-such"), "No checkpoint is named `none-such`"),
    ],
)
def test_an_impossible_option_is_named(
    options: tuple[str, str], named: str, tiny_checkpoint: Path, gfs_files: list[Path], tmp_path: Path
) -> None:
    result = _forecast(tiny_checkpoint, tmp_path / "out", [*gfs_files], *options)
    assert result.exit_code == 2
    assert named in result.stderr
    assert not (tmp_path / "out").exists()


def test_plotting_a_folder_without_a_forecast_is_one_error(tmp_path: Path) -> None:
    result = _invoke("plot", tmp_path)
    assert result.exit_code == 2
    assert "is not an ensemble store of Warmcast" in result.stderr


def test_plotting_an_invalid_box_is_refused_with_an_example(tmp_path: Path) -> None:
    result = _invoke("plot", tmp_path, "--bbox", "60,30")
    assert result.exit_code == 2
    assert "such as -15,35,30,60" in result.stderr


def test_plotting_a_lead_time_that_is_not_complete_names_the_last(
    tiny_checkpoint: Path, gfs_files: list[Path], tmp_path: Path
) -> None:
    _forecast(tiny_checkpoint, tmp_path, [*gfs_files])
    result = _invoke("plot", tmp_path, "--lead-time", "18h")
    assert result.exit_code == 2
    assert "up to 12h" in result.stderr


@pytest.mark.smoke
def test_a_forecast_is_exported_whole_or_in_part(tiny_checkpoint: Path, gfs_files: list[Path], tmp_path: Path) -> None:
    _forecast(tiny_checkpoint, tmp_path, [*gfs_files])
    stored = xr.open_zarr(tmp_path / "ensemble.zarr").isel(init_time=0).load()
    result = _invoke("export", tmp_path, "-o", tmp_path / "all.nc")
    assert (result.exit_code, result.output.strip()) == (0, str(tmp_path / "all.nc"))
    with xr.open_dataset(tmp_path / "all.nc") as dataset:
        np.testing.assert_array_equal(dataset.u10.values, stored.u10.values)
    part = ["--summary", "--parameter-name", "u10", "--bbox=-15,35,30,60", "--datetime", "../2018-09-15T06"]
    result = _invoke("export", tmp_path, "-o", tmp_path / "part.grib2", *part, "--json")
    receipt = json.loads(result.stdout)
    assert (receipt["lead_hours"], receipt["size_bytes"]) == ([6], (tmp_path / "part.grib2").stat().st_size)
    assert set(receipt["fields"]) == {"u10_mean", "u10_quantiles", "u10_spread"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["-o", "a.txt"], "`output` must end with .nc (NetCDF) or .grib2. Got: 'a.txt'"),
        (["-o", "missing/a.nc"], "The folder of `output` does not exist. Got: `missing`"),
        (["-o", "a.nc", "--members", "1-9"], "which has 0-1. Got: '1-9'"),
        (["-o", "a.nc", "--summary", "--members", "1"], "A summary has no `members`"),
        (["-o", "a.grib2", "--parameter-name", "t2m"], "`parameter-name` may have u10, v10. Got: 't2m'"),
        (["-o", "a.grib2", "--datetime", "now"], "`datetime` must be a time such as"),
        (["-o", "a.grib2", "--bbox", "1"], "`bbox` must be west,south,east,north"),
    ],
)
def test_an_impossible_export_is_named_and_writes_nothing(
    tiny_checkpoint: Path,
    gfs_files: list[Path],
    tmp_path: Path,
    options: list[str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _forecast(tiny_checkpoint, tmp_path / "forecast", [*gfs_files])
    monkeypatch.chdir(tmp_path)
    result = _invoke("export", "forecast", *options)
    assert (result.exit_code, named in result.stderr) == (2, True), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["forecast"]
    assert "has no `ensemble.zarr`" in _invoke("export", tmp_path, "-o", "a.nc").stderr
