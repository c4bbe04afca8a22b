"""Every format of a forecast, requested again and again while it grows: no answer is wrong, and none is empty."""

import csv
import io
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest
import xarray as xr
import zarr

from tests.served import Served

Values = Mapping[str, Any]
"""What an answer has for each lead time, by its time."""

_PLACE, _BOX = "coords=POINT(0 0)&interpolation=nearest", "bbox=-30,-30,30,30"
_POLYGON = "coords=POLYGON((-30 -30,30 -30,30 30,-30 30,-30 -30))"
_QUERIES = {"position": _PLACE, "cube": _BOX, "area": _POLYGON, "area of a mean": f"{_POLYGON}&reduce=mean"}


def _read_json(content: Any) -> Values:
    document = content.json()
    places = [document] if "values" in document else document["positions"]
    assert document["complete_lead_times"] == len(document["lead_hours"]) - 1
    return {
        str(hours): [place["values"]["u10"][index] for place in places]
        for index, hours in enumerate(document["lead_hours"])
    }


def _read_csv(content: Any) -> Values:
    found: dict[str, list[Any]] = {}
    for row in csv.DictReader(io.StringIO(content.text)):
        values = [(name, text) for name, text in row.items() if name.startswith("u10")]
        found.setdefault(row["lead_hours"], []).append(values)
    assert all(text for rows in found.values() for values in rows for _, text in values)
    return found


def _read_coverage(content: Any) -> Values:
    document = content.json()
    found: dict[str, list[Any]] = {}
    for coverage in document.get("coverages", [document]):
        times = (coverage["domain"]["axes"].get("t") or document["domain"]["axes"]["t"])["values"]
        for name, ndarray in coverage["ranges"].items():
            values = np.array(ndarray["values"], np.float64).reshape(ndarray["shape"])
            values = np.moveaxis(values, ndarray["axisNames"].index("t"), 0)
            assert np.isfinite(values).all()
            for time, each in zip(times, values, strict=True):
                found.setdefault(time, []).append((name, each.tolist()))
    return found


def _read_netcdf(content: Any) -> Values:
    dataset = xr.open_dataset(io.BytesIO(content.content), engine="scipy").load()
    name = next(name for name in dataset if str(name).startswith("u10"))
    assert not dataset[name].isnull().any()
    return {str(time): dataset[name].sel(valid_time=time).values.tolist() for time in dataset.valid_time.values}


def _read_grib(content: Any) -> Values:
    found: dict[str, list[Any]] = {}
    for message in content.content.split(b"GRIB")[1:]:
        handle = eccodes.codes_new_from_message(b"GRIB" + message)
        hours = str(eccodes.codes_get(handle, "forecastTime"))
        found.setdefault(hours, []).append(eccodes.codes_get_values(handle).tolist())
        eccodes.codes_release(handle)
    return found


_READERS: Mapping[str, Callable[[Any], Values]] = {"json": _read_json, "csv": _read_csv, "covjson": _read_coverage}


def _formats(home: str, forecast_id: str) -> dict[str, tuple[str, Callable[[Any], Values]]]:
    """Return, by name, the path and the reader of every answer that grows with a forecast."""
    edr, name = f"/api/edr/collections/untrained/instances/{forecast_id}", "parameter-name=u10"
    found: dict[str, tuple[str, Callable[[Any], Values]]] = {
        f"{kind} {format_} {base}": (f"{base}/{kind.partition(' ')[0]}?{query}&{name}&f={format_}", reader)
        for (kind, query), (format_, reader), base in itertools.product(_QUERIES.items(), _READERS.items(), (home, edr))
    }
    for store in ("ensemble", "summary"):
        found[f"{store} netcdf"] = (f"{home}/{store}.nc?{name}", _read_netcdf)
        found[f"{store} grib"] = (f"{home}/{store}.grib2?{name}", _read_grib)
    return found


def _is_early(response: Any) -> bool:
    return response.status_code == 409 and response.json()["type"] == "/problems/not-finished"


class _Answers:
    """The answers of a growing forecast by format, and its zips by number of lead times."""

    def __init__(self, served: Served, forecast_id: str) -> None:
        self._served, self.id, self.home = served, forecast_id, f"/v1/forecast/{forecast_id}"
        self.formats = _formats(self.home, forecast_id)
        self.found: dict[str, list[Values]] = {name: [] for name in self.formats}
        self.zips: dict[tuple[str, int], bytes] = {}

    def request_all(self, number: int) -> None:
        """Request every format once, of which at least `number` lead times are complete.

        The statistics of a lead time are complete a moment after its members.
        """
        for name, (path, read) in self.formats.items():
            response = self._served.client.get(path)
            if name.startswith("summary") and not self.found[name] and _is_early(response):
                continue
            assert response.status_code == 200, (name, response.text)
            self.found[name].append(read(response))
        for store in ("ensemble", "summary"):
            response = self._served.client.get(f"{self.home}/as-of/{number}/{store}.zarr.zip")
            if store == "summary" and _is_early(response):
                continue
            assert response.status_code == 200, response.text
            assert self.zips.setdefault((store, number), response.content) == response.content

    def check(self, folder: Path) -> None:
        """Compare all answers with the last ones, and these with the stores."""
        for name, answers in self.found.items():
            numbers, last = [len(answer) for answer in answers], answers[-1]
            assert numbers[0] > 0, name
            assert numbers == sorted(numbers), name
            for answer in answers:
                assert dict(itertools.islice(last.items(), len(answer))) == answer, name
        base = f"{self._served.url}{self.home}"
        stores = {store: xr.open_zarr(f"{base}/{store}.zarr").isel(init_time=0).load() for store in _STORES}
        for (store, number), content in self.zips.items():
            (folder / "view.zip").write_bytes(content)
            with zarr.storage.ZipStore(folder / "view.zip", mode="r") as archive:
                view = xr.open_zarr(archive).isel(init_time=0).load()
            xr.testing.assert_identical(view, stores[store].isel(lead_time=slice(number)))
        for store, variable in _STORES.items():
            expected = [field.astype(np.float64) for field in stores[store][variable].values]
            np.testing.assert_array_equal(list(self.found[f"{store} netcdf"][-1].values()), expected)
        place = stores["ensemble"].u10.sel(latitude=0, longitude=0, method="nearest").values
        series = list(self.found[f"position json {self.home}"][-1].values())
        np.testing.assert_array_equal(np.array(series[1:], np.float32)[:, 0], place)


_STORES = {"ensemble": "u10", "summary": "u10_mean"}


@pytest.mark.parametrize("repeats", [1, pytest.param(100, marks=pytest.mark.campaign)])
def test_no_format_is_wrong_or_empty_while_a_forecast_grows(served: Served, tmp_path: Path, repeats: int) -> None:
    size = {"lead_time": "24h", "members": 2} if repeats == 1 else {"lead_time": "240h", "members": 8}
    requested = 0
    while requested < repeats:
        answers = _Answers(served, served.submit(**size, sampler={"nfe": 8 if repeats == 1 else 60})["id"])
        while (status := served.status(answers.id))["status"] in {"accepted", "running"}:
            if number := status["progress_detail"]["lead_times"]:
                answers.request_all(number)
                requested += 1
        assert status["status"] == "successful"
        answers.request_all(status["progress_detail"]["lead_times"])
        answers.check(tmp_path)
