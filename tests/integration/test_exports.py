"""Files and series of a forecast, requested of a running service again and again while the forecast grows."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import xarray as xr
import zarr

from tests.served import Served

Found = tuple[int, Any]
"""Number of lead times, and wind u10 by lead time and member: fields, or values at a place."""


def _read_netcdf(content: bytes) -> Found:
    dataset = xr.open_dataset(io.BytesIO(content), engine="scipy").load()
    assert not dataset.u10.isnull().any()
    return dataset.sizes["valid_time"], dataset.u10.values


def _read_grib(content: bytes, folder: Path) -> Found:
    (folder / "export.grib2").write_bytes(content)
    fields: dict[int, list[Any]] = {}
    with (folder / "export.grib2").open("rb") as file:
        while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
            shape = (eccodes.codes_get(handle, "Nj"), eccodes.codes_get(handle, "Ni"))
            values = eccodes.codes_get_values(handle).astype(np.float32).reshape(shape)
            fields.setdefault(eccodes.codes_get(handle, "forecastTime"), []).append(values)
            eccodes.codes_release(handle)
    assert list(fields) == [6 * (index + 1) for index in range(len(fields))]
    return len(fields), np.array(list(fields.values()))


def test_nothing_is_wrong_or_empty_while_a_forecast_grows(served: Served, tmp_path: Path) -> None:
    forecast = served.submit(lead_time="120h", members=8, sampler={"nfe": 20})
    address = f"/v1/forecast/{forecast['id']}"
    paths = {
        "netcdf": f"{address}/ensemble.nc?parameter-name=u10",
        "grib": f"{address}/ensemble.grib2?parameter-name=u10",
        "series": f"{address}/position?coords=POINT(0 0)&parameter-name=u10&interpolation=nearest",
        "area": f"{address}/cube?bbox=-30,-30,30,30&parameter-name=u10",
        "mean": f"{address}/area?coords=POLYGON((-30 -30,30 -30,30 30,-30 30,-30 -30))&parameter-name=u10&reduce=mean",
    }
    readers: dict[str, Callable[[bytes], Found]] = {"netcdf": _read_netcdf, "grib": lambda it: _read_grib(it, tmp_path)}
    found: dict[str, list[Any]] = {name: [] for name in paths}
    zips: dict[int, bytes] = {}
    is_open = True
    while is_open:
        status = served.status(forecast["id"])
        is_open = status["status"] in ("accepted", "running")
        if number := status["progress_detail"]["lead_times"]:
            response = served.client.get(f"{address}/as-of/{number}/ensemble.zarr.zip")
            assert (response.status_code, is_open) in {(200, True), (200, False), (409, True)}
            if response.status_code == 200:
                assert zips.setdefault(number, response.content) == response.content
        for name, path in paths.items():
            response = served.client.get(path)
            if response.status_code == 409 and not found[name]:
                assert response.json()["type"] == "/problems/not-finished"
                is_open = True
                continue
            assert response.status_code == 200, response.text
            found[name].append(response.json() if name not in readers else readers[name](response.content))
    store = xr.open_zarr(f"{served.url}{address}/ensemble.zarr").isel(init_time=0).load()
    for name in readers:
        for number, values in found[name]:
            np.testing.assert_array_equal(values, store.u10.values[:number])
    place = store.u10.sel(latitude=0, longitude=0, method="nearest").values
    for document in found["series"]:
        values = document["positions"][0]["values"]["u10"][1:]
        np.testing.assert_array_equal(np.array(values, np.float32), place[: document["complete_lead_times"]])
    box = store.u10.assign_coords(longitude=(store.longitude + 180) % 360 - 180).sortby("longitude")
    box = box.sel(latitude=slice(30, -30), longitude=slice(-30, 30))
    for document in found["area"]:
        values = [position["values"]["u10"][1:] for position in document["positions"]]
        of_points = box[: document["complete_lead_times"]].stack(point=("latitude", "longitude"))
        np.testing.assert_array_equal(np.array(values, np.float32), of_points.transpose("point", ...).values)
    for document in found["mean"]:
        values = np.array(document["values"]["u10"][1:], np.float32)
        assert values.shape == (document["complete_lead_times"], 8)
        last = np.array(found["mean"][-1]["values"]["u10"][1:], np.float32)
        np.testing.assert_array_equal(values, last[: len(values)])
    zips[1] = served.client.get(f"{address}/as-of/1/ensemble.zarr.zip").content
    for number, content in zips.items():
        (tmp_path / "view.zip").write_bytes(content)
        with zarr.storage.ZipStore(tmp_path / "view.zip", mode="r") as archive:
            view = xr.open_zarr(archive).isel(init_time=0).load()
        xr.testing.assert_identical(view, store.isel(lead_time=slice(number)))
    for name in ("series", "area", "mean"):
        numbers = [document["complete_lead_times"] for document in found[name]]
        assert numbers == sorted(numbers)
        assert numbers[-1] == store.sizes["lead_time"]
    for name in readers:
        numbers = [number for number, _ in found[name]]
        assert numbers == sorted(numbers)
        assert numbers[-1] == store.sizes["lead_time"]
        assert len(set(numbers)) > 1, "it was requested while it grew"
