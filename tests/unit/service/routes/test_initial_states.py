"""The initial state of a forecast as a Zarr store, read like any other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.request import Output
from models.testing import tiny_spec
from tests.in_process import InProcess
from weather.ingest.exchange import load_initial_state
from weather.initial_state import read_initial_state

Submit = Callable[..., ForecastRecord]


def _fetch(api: InProcess, record: ForecastRecord) -> dict[str, bytes]:
    """Return the files of the store; what it answers with 404 is missing, as for any reader of Zarr."""
    home = f"/v1/forecast/{record.id}/initial_state.zarr"
    root = api.get(f"{home}/zarr.json")
    assert root.status_code == 200, root.text
    files = {"zarr.json": root.content}
    for name, metadata in root.json()["consolidated_metadata"]["metadata"].items():
        shape, chunks = metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]
        for index in np.ndindex(*(-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True))):
            response = api.get(f"{home}/{name}/c.{'.'.join(map(str, index))}")
            if response.status_code != 404:
                files[f"{name}/c.{'.'.join(map(str, index))}"] = response.content
    return files


def _open(files: dict[str, bytes]) -> xr.Dataset:
    memory = {key: zarr.core.buffer.cpu.Buffer.from_bytes(content) for key, content in files.items()}
    dataset: xr.Dataset = xr.open_zarr(zarr.storage.MemoryStore(memory)).load()
    return dataset


@pytest.mark.parametrize("members", [True, False])
def test_the_frames_are_those_that_the_forecast_started_from(
    api: InProcess, submit_forecast: Submit, tmp_path: Path, members: bool
) -> None:
    record = submit_forecast(output=Output(members=members))
    state = load_initial_state(ForecastFolder(tmp_path, record.id).initial_state)
    dataset = _open(_fetch(api, record))
    frames = np.stack([dataset[name].values for name in ("u10", "v10")], axis=1)
    np.testing.assert_array_equal(frames, np.stack([frame[0] for frame in state.frames[::-1]]))
    assert dataset.u10.dims == ("time", "latitude", "longitude")
    times = [state.init_time - np.timedelta64(6, "h"), state.init_time]
    np.testing.assert_array_equal(dataset.time.values, np.array(times, "M8[ns]"))
    assert dataset.attrs["proj:code"] == "EPSG:4326"


def test_a_forecast_can_start_from_it_again(api: InProcess, submit_forecast: Submit, tmp_path: Path) -> None:
    record = submit_forecast()
    for key, content in _fetch(api, record).items():
        path = tmp_path / "state.zarr" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    state = load_initial_state(ForecastFolder(tmp_path, record.id).initial_state)
    again = read_initial_state([str(tmp_path / "state.zarr")], tiny_spec())
    assert again.digest == state.digest


def test_caches_may_keep_it_and_other_files_do_not_exist(api: InProcess, submit_forecast: Submit) -> None:
    home = f"/v1/forecast/{submit_forecast().id}/initial_state.zarr"
    response = api.get(f"{home}/zarr.json")
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert api.request("OPTIONS", f"{home}/zarr.json").headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    for key in ("u10/c.2.0.0", "t2m/c.0.0.0", "../initial_state/initial_state.npy", ""):
        missing = api.get(f"{home}/{key}")
        assert (missing.status_code, missing.json()["type"]) == (404, "/problems/not-found"), key
