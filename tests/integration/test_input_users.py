"""Every command that reads weather, and the service, read inputs as people have them."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from models.testing import tiny_spec
from tests.cases import ACCEPTED, REFUSED, Case
from tests.inputs import INIT_TIME, state, state_spec, write_netcdf
from tests.served import Served, small_request
from training.data.loading import load_training_data
from warmcast.cli import app
from weather.readers.series import read_truth
from weather.testing import travelling_waves

pytestmark = pytest.mark.filterwarnings("ignore:.*Consolidated.*", "ignore:Duplicate name", "ignore:.*Zarr V3 spec")
SINGLE = {name: case for name, case in ACCEPTED.items() if case.members == (0,)}


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _times(case: Case) -> list[np.datetime64]:
    return [INIT_TIME + np.timedelta64(case.later_hours + hours, "h") for hours in (-6, 0)]


@pytest.mark.parametrize("name", SINGLE)
def test_a_truth_in_every_form_is_that_of_the_clean_state(tmp_path: Path, name: str) -> None:
    case, clean, times = SINGLE[name], state(), _times(SINGLE[name])
    truth = read_truth([str(path) for path in case.make(tmp_path)], ("u10", "v10"), state_spec().grid.grid, times)
    assert list(truth) == times
    for frame, time in enumerate(times):
        expected = [clean[variable].values[frame] for variable in ("u10", "v10")]
        np.testing.assert_allclose(truth[time], expected, rtol=0, atol=case.tolerance)


@pytest.mark.parametrize("name", SINGLE)
def test_data_in_every_form_trains_as_the_clean_state(tmp_path: Path, name: str) -> None:
    case, clean = SINGLE[name], state()
    data = load_training_data(case.make(tmp_path), ("u10", "v10"))
    assert data.grid.matches(state_spec().grid.grid)
    assert list(data.valid_times[-2:]) == _times(case)
    expected = np.stack([clean[variable].values for variable in ("u10", "v10")], axis=1)
    np.testing.assert_allclose(
        data.frames(np.arange(len(data.valid_times)))[-2:], expected, rtol=0, atol=case.tolerance
    )


def _years(folder: Path, change: Callable[[xr.Dataset, int], xr.Dataset]) -> Path:
    """Write six weeks around the New Year of 2001, one file a year; the validation year of checkpoints is 2001."""
    times = [np.datetime64("2000-12-10T00", "s") + np.timedelta64(6 * step, "h") for step in range(170)]
    waves = travelling_waves(tiny_spec().grid.grid, times)
    folder.mkdir()
    for year in (2000, 2001):
        write_netcdf(change(waves.isel(time=waves.time.dt.year == year), year), folder / f"{year}.nc")
    return folder


FORMS: dict[str, Callable[[xr.Dataset, int], xr.Dataset]] = {
    "short names": lambda data, _: data.rename(latitude="lat", longitude="lon").sortby("lat"),
    "one member": lambda data, _: data.expand_dims(number=[0], axis=1),
    "coordinates of two precisions": lambda data, year: data.assign_coords(
        latitude=data.latitude.astype(np.float32 if year == 2001 else np.float64)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_evaluate_scores_against_data_in_another_form(untrained_checkpoint: Path, tmp_path: Path, form: str) -> None:
    scores = []
    for name, change in {"clean": lambda data, _: data, "other": FORMS[form]}.items():
        output = tmp_path / f"{name}.json"
        options = ["--starts", 2, "--members", 2, "--lead-time", "6h", "--nfe", 2, "--json", output]
        data = _years(tmp_path / name, change)
        result = _invoke("evaluate", "--checkpoint", untrained_checkpoint, "--data", data, *options)
        assert result.exit_code == 0, result.output
        scores.append(json.loads(output.read_text())["scores"]["u10"][0]["crps_fair"])
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)


def test_climatology_takes_states_from_data_with_short_names(untrained_checkpoint: Path, tmp_path: Path) -> None:
    data = _years(tmp_path / "data", FORMS["short names"])
    options = ["--valid-time", "2001-01-10T00", "--output", tmp_path / "climatology.nc"]
    result = _invoke("climatology", "--checkpoint", untrained_checkpoint, "--data", data, *options)
    assert result.exit_code == 0, result.output


def _forecast(checkpoint: Path, output: Path, source: Path, *more: object) -> Result:
    options = ["--members", 3, "--lead-time", "12h", "--nfe", 2, "--seed", 1, "--checkpoint", checkpoint]
    return _invoke("forecast", "--initial-state", source, *options, "--output", output, *more)


def test_a_forecast_starts_from_an_earlier_forecast(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert _forecast(tiny_checkpoint, tmp_path / "a", write_netcdf(state(), tmp_path / "state.nc")).exit_code == 0
    store = tmp_path / "a/ensemble.zarr"
    with xr.open_zarr(store) as ensemble, xr.set_options(keep_attrs=True):
        ensemble.load().drop_encoding().to_netcdf(tmp_path / "ensemble.nc")
        ensemble.mean("number").to_netcdf(tmp_path / "mean.nc")
        with xr.set_options(keep_attrs=False):
            ensemble.mean("number").to_netcdf(tmp_path / "mean without units.nc")
        ensemble.std("number").to_netcdf(tmp_path / "std.nc")
    refused = _forecast(tiny_checkpoint, tmp_path / "std", tmp_path / "std.nc")
    assert refused.exit_code == 2
    assert "is nowhere negative" in " ".join(refused.output.split())
    for index, source in enumerate(
        (store, *(tmp_path / f"{name}.nc" for name in ("ensemble", "mean", "mean without units")))
    ):
        result = _forecast(tiny_checkpoint, tmp_path / f"b{index}", source)
        assert result.exit_code == 0, result.output
        with xr.open_zarr(tmp_path / f"b{index}/ensemble.zarr") as later:
            assert later.init_time.values[0] == np.datetime64("2018-09-15T12")


def test_statistics_of_a_forecast_are_no_state(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert _forecast(tiny_checkpoint, tmp_path / "a", write_netcdf(state(), tmp_path / "state.nc")).exit_code == 0
    result = _forecast(tiny_checkpoint, tmp_path / "b", tmp_path / "a/summary.zarr")
    assert result.exit_code == 2
    assert "damaged" not in result.output


def _upload(served: Served, files: list[Path]) -> httpx.Response:
    body = small_request(initial_state={"source": "upload"}, lead_time="6h")
    parts = [("initial_state", (path.name, path.read_bytes())) for path in files]
    response: httpx.Response = served.client.post("/forecast", data={"request": json.dumps(body)}, files=parts)
    return response


@pytest.mark.parametrize(
    "name", ["two runs", "a zip as the Climate Data Store sends it", "gzip", "GraphCast", "WMO headers"]
)
def test_an_upload_starts_a_forecast(served: Served, tmp_path: Path, name: str) -> None:
    response = _upload(served, ACCEPTED[name].make(tmp_path))
    assert response.status_code == 202, response.text
    assert response.json()["init_time"] == "2018-09-15T00:00:00"


@pytest.mark.parametrize("name", ["spread of GEFS", "two values for one time", "a newest frame of zeros", "HEALPix"])
def test_an_upload_is_refused_with_its_reason(served: Served, tmp_path: Path, name: str) -> None:
    case = REFUSED[name]
    paths = case.make(tmp_path)
    response = _upload(served, paths)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert any(path.name in response.text for path in paths)
    assert "damaged" not in response.text
