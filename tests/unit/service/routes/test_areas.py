"""Values in areas, against xarray on the store of the forecast that they are of."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from service import areas
from tests.in_process import InProcess
from tests.rows import commit_lead_times
from tests.stored_files import write_lead_times
from weather.stores.ensemble import EnsembleStore

BOX = "cube?bbox=-40,20,40,70"
TRIANGLE = "area?coords=POLYGON((0 0, 80 0, 80 80, 0 0))"


@pytest.fixture
def record(submit_forecast: Callable[..., ForecastRecord], database: Database, tmp_path: Path) -> ForecastRecord:
    """A running forecast with two complete lead times, the first member of which is lost at the second one."""
    record = submit_forecast()
    store = EnsembleStore.open(ForecastFolder(tmp_path, record.id).store)
    write_lead_times(store, range(1))
    for group in range(store.layout.num_groups):
        members, shape = store.layout.group_members(group), store.layout.grid.shape
        fields = np.random.default_rng(group).normal(0, 5, (len(members), 2, *shape)).astype(np.float32)
        fields[: int(group == 0)] = np.nan
        store.commit(group, 1, fields)
    commit_lead_times(database, 2)
    return record


@pytest.fixture
def store(record: ForecastRecord, tmp_path: Path) -> xr.Dataset:
    """The two complete lead times of the forecast, with longitudes from −180."""
    dataset: xr.Dataset = xr.open_zarr(ForecastFolder(tmp_path, record.id).store).isel(init_time=0).load()
    east = (dataset.longitude + 180) % 360 - 180
    return dataset.isel(lead_time=slice(2)).assign_coords(longitude=east).sortby("longitude")


def _get(api: InProcess, record: ForecastRecord, query: str) -> dict[str, Any]:
    response = api.get(f"/v1/forecast/{record.id}/{query}")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = json.loads(response.content, parse_constant=pytest.fail)
    return document


def _array(values: Any) -> Any:
    return np.array(values, np.float64)


def _weights(latitude: xr.DataArray, south: float, north: float) -> xr.DataArray:
    """Return the areas of the cells of the grid's rows within limits, from the sines of their edges."""
    degrees = latitude.values
    edges = np.concatenate([[90], (degrees[1:] + degrees[:-1]) / 2, [-90]])
    weights = latitude.copy(data=-np.diff(np.sin(np.radians(edges))))
    return weights.sel(latitude=slice(north, south))


def test_a_box_has_the_members_of_the_store_at_its_points(
    api: InProcess, record: ForecastRecord, store: xr.Dataset
) -> None:
    document = _get(api, record, BOX)
    box = store.sel(latitude=slice(70, 20), longitude=slice(-40, 40)).stack(point=("latitude", "longitude"))
    assert (document["reduce"], document["num_points"]) == ("none", box.sizes["point"])
    assert document["lead_hours"] == [0, 6, 12]
    places = [(each["latitude"], each["longitude"]) for each in document["positions"]]
    assert places == box.point.values.tolist()
    for name in ("u10", "v10"):
        values = _array([each["values"][name] for each in document["positions"]])[:, 1:]
        np.testing.assert_array_equal(values.astype(np.float32), box[name].transpose("point", ...).values)
    assert document["num_finite"][2] == len(document["members"]) - 1


def test_a_polygon_has_the_statistics_of_positions_at_its_points(
    api: InProcess, record: ForecastRecord, store: xr.Dataset
) -> None:
    options = "values=statistics&quantiles=0.5&exceedance=wind_speed_10m>12&units=kn"
    document = _get(api, record, f"{TRIANGLE}&{options}")
    inside = store.where((store.latitude >= 0) & (store.longitude <= 80) & (store.latitude <= store.longitude))
    expected = inside.u10.isel(lead_time=0, number=0).stack(point=("latitude", "longitude")).dropna("point")
    places = [(each["latitude"], each["longitude"]) for each in document["positions"]]
    assert places == expected.point.values.tolist()
    latitude, longitude = places[3]
    alone = _get(api, record, f"position?coords=POINT({longitude} {latitude})&interpolation=nearest&{options}")
    assert document["positions"][3]["values"] == alone["positions"][0]["values"]


@pytest.mark.parametrize("reduction", ["mean", "max", "min"])
def test_a_reduction_is_made_of_each_member_before_the_statistics(
    api: InProcess, record: ForecastRecord, store: xr.Dataset, reduction: str
) -> None:
    box = store.sel(latitude=slice(70, 20), longitude=slice(-40, 40)).astype(np.float64)
    speed = np.hypot(box.u10, box.v10)
    over = ("latitude", "longitude")
    of_members = (
        speed.weighted(_weights(store.latitude, 20, 70)).mean(over)
        if reduction == "mean"
        else getattr(speed, reduction)(over)
    )
    of_members = of_members.where(~speed.isnull().any(over))
    document = _get(api, record, f"{BOX}&reduce={reduction}&parameter-name=wind_speed_10m")
    np.testing.assert_allclose(_array(document["values"]["wind_speed_10m"])[1:], of_members, rtol=1e-6)
    threshold = float(of_members.median())
    query = f"{BOX}&reduce={reduction}&values=statistics&quantiles=&exceedance=wind_speed_10m>{threshold:.3f}"
    statistics = _get(api, record, query)["values"]["wind_speed_10m"]
    np.testing.assert_allclose(_array(statistics["mean"])[1:], of_members.mean("number"), rtol=1e-6)
    share = (of_members > round(threshold, 3)).where(of_members.notnull()).mean("number")
    np.testing.assert_allclose(_array(statistics[f"p>{threshold:.3f}".rstrip("0")])[1:], share, rtol=1e-6)


def test_the_mean_direction_is_that_of_the_mean_wind_and_extremes_have_none(
    api: InProcess, record: ForecastRecord
) -> None:
    values = _get(api, record, f"{BOX}&reduce=mean")["values"]
    u, v, direction = (_array(values[name]) for name in ("u10", "v10", "wind_direction_10m"))
    np.testing.assert_allclose(direction, np.degrees(np.arctan2(-u, -v)) % 360, atol=1e-3)
    assert "wind_direction_10m" not in _get(api, record, f"{BOX}&reduce=max")["values"]


def test_a_coverage_is_a_grid_whose_points_outside_are_null_or_the_series_of_a_polygon(
    api: InProcess, record: ForecastRecord
) -> None:
    document = _get(api, record, f"{TRIANGLE}&values=statistics&f=covjson&parameter-name=u10")
    domain, values = document["domain"], document["ranges"]["u10_mean"]
    axes = {name: axis["values"] for name, axis in domain["axes"].items()}
    assert (domain["domainType"], values["axisNames"]) == ("Grid", ["t", "y", "x"])
    assert values["shape"] == [len(axes[name]) for name in ("t", "y", "x")]
    field = _array(values["values"]).reshape(values["shape"])
    y, x = np.meshgrid(axes["y"], axes["x"], indexing="ij")
    np.testing.assert_array_equal(np.isfinite(field[1]), y <= x)
    by_place = _get(api, record, f"{TRIANGLE}&values=statistics&parameter-name=u10")["positions"]
    assert field[1][y <= x].tolist() == [each["values"]["u10"]["mean"][1] for each in by_place]
    members = _get(api, record, f"{TRIANGLE}&f=covjson")
    assert members["ranges"]["v10"]["axisNames"] == ["t", "number", "y", "x"]
    assert members["ranges"].keys() == members["parameters"].keys()
    series = _get(api, record, f"{TRIANGLE}&values=statistics&reduce=mean&f=covjson")
    assert series["domain"]["domainType"] == "PolygonSeries"
    assert series["domain"]["axes"]["composite"]["values"] == [[[[0, 0], [80, 0], [80, 80], [0, 0]]]]
    assert series["ranges"]["u10_mean"]["shape"] == [3]


def test_a_table_has_a_line_for_each_point_or_none_of_places(api: InProcess, record: ForecastRecord) -> None:
    document = _get(api, record, f"{BOX}&values=statistics")
    for query, start in (("", ["longitude", "latitude"]), ("&reduce=mean", [])):
        response = api.get(f"/v1/forecast/{record.id}/{BOX}&values=statistics&f=csv{query}")
        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        header, *rows = csv.reader(io.StringIO(response.text))
        assert header[: len(start) + 3] == [*start, "lead_hours", "valid_time", "num_finite"]
        assert len(rows) == 3 * (document["num_points"] if start else 1)


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("area", {"?coords"}),
        ("area?coords=POLYGON((0 0,9 9,9 0,0 9,0 0))&quantiles=2", {"?coords", "?quantiles"}),
        ("area?coords=POLYGON((0.1 0.1,0.2 0.1,0.2 0.2,0.1 0.1))", {"?coords"}),
        ("cube?bbox=1,2,3", {"?bbox"}),
        (f"{BOX}&reduce=median", {"?reduce"}),
        (f"{BOX}&reduce=max&parameter-name=wind_direction_10m", {"?reduce"}),
        (f"{BOX}&parameter-name=t2m", {"?parameter-name"}),
        (f"{BOX}&datetime=1999-01-01", {"?datetime"}),
        (
            "area?reduce=mean&f=covjson&coords=MULTIPOLYGON(((0 0,30 0,30 30,0 0)),((40 0,80 0,80 30,40 0)))",
            {"?f"},
        ),
    ],
)
def test_a_wrong_parameter_is_pointed_at(
    api: InProcess, record: ForecastRecord, query: str, pointers: set[str]
) -> None:
    response = api.get(f"/v1/forecast/{record.id}/{query}")
    problem = response.json()
    assert (response.status_code, problem["type"]) == (422, "/problems/validation"), problem
    assert {error["pointer"] for error in problem["errors"]} == pointers


def test_an_answer_that_is_too_large_is_refused_with_the_limit_and_a_way_out(
    api: InProcess, record: ForecastRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    globe = "cube?bbox=-180,-90,180,90"
    monkeypatch.setattr(areas, "MAX_VALUES", 10_000)
    response = api.get(f"/v1/forecast/{record.id}/{globe}")
    assert response.status_code == 422
    assert "at most 10,000 values" in response.json()["detail"]
    assert "reduce=mean" in response.json()["detail"]
    assert _get(api, record, f"{globe}&reduce=mean")["num_points"] == 512
    monkeypatch.setattr(areas, "_MAX_READ_VALUES", 100)
    refused = api.get(f"/v1/forecast/{record.id}/{BOX}&values=statistics&parameter-name=u10&quantiles=")
    assert "statistics are of must have at most 100 values" in refused.json()["detail"]
