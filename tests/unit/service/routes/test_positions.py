"""Time series at places, against xarray on the store of the forecast that they are of."""

import csv
import io
import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from sqlalchemy import update

from diagnostics.series import Series, read_series
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.request import Output
from jobs.rows.database import Database
from jobs.rows.tables import forecasts
from jobs.settings import Settings
from service import positions
from service.child_calls import ForecastAddress
from service.positions import PositionQuery, answer_positions
from tests.helpers import wait_until
from tests.in_process import InProcess
from tests.rows import commit_lead_times
from weather.ingest.exchange import load_initial_state
from weather.places import parse_places
from weather.stores.ensemble import EnsembleStore
from weather.times import Interval

WARSAW = "coords=POINT(21.5 52.2)"
LOST = 2
"""A member that is lost at the second lead time."""


@pytest.fixture
def record(submit_forecast: Callable[..., ForecastRecord], database: Database, tmp_path: Path) -> ForecastRecord:
    """A running forecast with two complete lead times."""
    record, draw = submit_forecast(), np.random.default_rng(1)
    store = EnsembleStore.open(ForecastFolder(tmp_path, record.id).store)
    for group in range(store.layout.num_groups):
        members = store.layout.group_members(group)
        for lead_index in range(2):
            shape = (len(members), len(store.layout.variables), *store.layout.grid.shape)
            fields = draw.normal(0, 5, shape).astype(np.float32)
            if lead_index and LOST in members:
                fields[members.index(LOST)] = np.nan
            store.commit(group, lead_index, fields)
    commit_lead_times(database, 2)
    return record


@pytest.fixture
def dataset(record: ForecastRecord, tmp_path: Path) -> xr.Dataset:
    dataset: xr.Dataset = xr.open_zarr(ForecastFolder(tmp_path, record.id).store).isel(init_time=0).load()
    return dataset


def _get(api: InProcess, record: ForecastRecord, query: str) -> dict[str, Any]:
    response = api.get(f"/v1/forecast/{record.id}/position?{query}")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def _array(values: Any) -> Any:
    return np.array(values, np.float64)


def test_members_are_those_of_the_store_after_the_analysis(
    api: InProcess, record: ForecastRecord, dataset: xr.Dataset
) -> None:
    document = _get(api, record, f"{WARSAW}&interpolation=nearest")
    point = dataset.sel(latitude=52.2, longitude=21.5, method="nearest")
    assert (document["lead_hours"], document["complete_lead_times"]) == ([0, 6, 12], 2)
    assert document["num_lead_times"] == record.num_lead_times
    assert document["valid_time"][1] == f"{str(point.valid_time.values[0])[:19]}Z"
    assert document["members"] == dataset.number.values.tolist()
    assert document["num_finite"] == [len(dataset.number), len(dataset.number), len(dataset.number) - 1]
    assert document["interpolation"] == "nearest"
    (position,) = document["positions"]
    assert (position["longitude"], position["latitude"]) == (21.5, 52.2)
    u, v = (_array(position["values"][name]) for name in ("u10", "v10"))
    np.testing.assert_array_equal(u[1:].astype(np.float32), point.u10.values[:2])
    assert position["values"]["v10"][2][LOST] is None
    np.testing.assert_allclose(_array(position["values"]["wind_speed_10m"]), np.hypot(u, v), rtol=1e-6)
    direction = np.degrees(np.arctan2(-u, -v)) % 360
    np.testing.assert_allclose(_array(position["values"]["wind_direction_10m"]), direction, atol=1e-3)
    assert document["units"] == {
        "u10": "m s-1",
        "v10": "m s-1",
        "wind_speed_10m": "m s-1",
        "wind_direction_10m": "degree",
    }


def test_the_first_values_are_those_of_the_analysis(
    api: InProcess, record: ForecastRecord, dataset: xr.Dataset, tmp_path: Path
) -> None:
    state = load_initial_state(ForecastFolder(tmp_path, record.id).initial_state)
    latitude, longitude = (
        int(np.abs(dataset[name].values - at).argmin()) for name, at in (("latitude", 52.2), ("longitude", 21.5))
    )
    start = f"{str(dataset.init_time.values)[:19]}Z"
    query = f"{WARSAW}&interpolation=nearest&parameter-name=u10&datetime={start}"
    document = _get(api, record, query)
    (series,) = document["positions"][0]["values"]["u10"]
    assert document["lead_hours"] == [0]
    expected = np.full(len(document["members"]), state.newest[:][0, 0, latitude, longitude])
    np.testing.assert_array_equal(_array(series).astype(np.float32), expected)


def test_several_places_are_interpolated_between_grid_points_in_their_order(
    api: InProcess, record: ForecastRecord, dataset: xr.Dataset
) -> None:
    document = _get(api, record, "coords=MULTIPOINT((10 40),(200.5 -33.3))&parameter-name=v10")
    for position, (longitude, latitude) in zip(document["positions"], [(10, 40), (200.5, -33.3)], strict=True):
        expected = dataset.v10.astype(np.float64).interp(latitude=latitude, longitude=longitude).values[:2]
        np.testing.assert_allclose(_array(position["values"]["v10"])[1:], expected, atol=1e-6)


def test_statistics_leave_lost_members_out_and_are_in_the_units_of_the_answer(
    api: InProcess, record: ForecastRecord, dataset: xr.Dataset
) -> None:
    query = "interpolation=nearest&values=statistics&quantiles=0.1,0.5&units=kn&exceedance=wind_speed_10m>10,v10<-2"
    document = _get(api, record, f"{WARSAW}&{query}")
    values = document["positions"][0]["values"]
    point = dataset.sel(latitude=52.2, longitude=21.5, method="nearest")
    u, v = (point[name].values[:2].astype(np.float64) * 3600 / 1852 for name in ("u10", "v10"))
    speed = np.hypot(u, v)
    statistics = values["wind_speed_10m"]
    assert list(statistics) == ["mean", "spread", "q0.1", "q0.5", "p>10"]
    np.testing.assert_allclose(_array(statistics["mean"])[1:], np.nanmean(speed, axis=1), rtol=1e-5)
    np.testing.assert_allclose(_array(statistics["spread"])[1:], np.nanstd(speed, axis=1, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(_array(statistics["q0.1"])[1:], np.nanquantile(speed, 0.1, axis=1), rtol=1e-5)
    share = np.nanmean(np.where(np.isnan(speed), np.nan, speed > 10), axis=1)
    np.testing.assert_allclose(_array(statistics["p>10"])[1:], share, rtol=1e-6)
    assert "p<-2" in values["v10"]
    assert "p<-2" not in values["u10"]
    assert list(values["wind_direction_10m"]) == ["mean"]
    mean = np.degrees(np.arctan2(-np.nanmean(u, axis=1), -np.nanmean(v, axis=1))) % 360
    np.testing.assert_allclose(_array(values["wind_direction_10m"]["mean"])[1:], mean, atol=1e-2)
    assert document["units"]["wind_speed_10m"] == "kn"


def test_a_table_has_a_line_for_each_place_time_and_member_or_of_statistics(
    api: InProcess, record: ForecastRecord
) -> None:
    document = _get(api, record, f"{WARSAW}&parameter-name=u10,wind_speed_10m&units=kmh")
    members = document["members"]
    response = api.get(f"/v1/forecast/{record.id}/position?{WARSAW}&parameter-name=u10,wind_speed_10m&units=kmh&f=csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert list(rows[0]) == [
        "longitude",
        "latitude",
        "lead_hours",
        "valid_time",
        "member",
        "u10 (km/h)",
        "wind_speed_10m (km/h)",
    ]
    assert len(rows) == 3 * len(members)
    got = [float(row["u10 (km/h)"] or "nan") for row in rows]
    expected = _array(document["positions"][0]["values"]["u10"]).reshape(-1)
    np.testing.assert_array_equal(got, expected)
    text = api.get(f"/v1/forecast/{record.id}/position?{WARSAW}&values=statistics&quantiles=&f=csv").text
    (header, *lines) = csv.reader(io.StringIO(text))
    assert header[4:7] == ["num_finite", "u10_mean (m s-1)", "u10_spread (m s-1)"]
    assert [line[4] for line in lines] == [str(len(members)), str(len(members)), str(len(members) - 1)]


def test_coverages_have_the_axes_that_their_ranges_name(api: InProcess, record: ForecastRecord) -> None:
    path = f"/v1/forecast/{record.id}/position?coords=MULTIPOINT(1 2,3 4)&f=covjson"
    for query, axes in (("", ["t", "number"]), ("&values=statistics", ["t"])):
        response = api.get(path + query)
        assert response.headers["content-type"] == "application/prs.coverage+json"
        document = json.loads(response.content, parse_constant=pytest.fail)
        assert [coverage["domain"]["axes"]["x"]["values"] for coverage in document["coverages"]] == [[1.0], [3.0]]
        for coverage in document["coverages"]:
            domain = {name: len(axis["values"]) for name, axis in coverage["domain"]["axes"].items()}
            assert coverage["ranges"].keys() == document["parameters"].keys()
            for values in coverage["ranges"].values():
                assert values["axisNames"] == axes
                assert values["shape"] == [domain[name] for name in axes]
                assert len(values["values"]) == np.prod(values["shape"])
    assert document["domainType"] == document["coverages"][0]["domain"]["domainType"] == "PointSeries"
    assert document["parameters"]["u10_mean"]["unit"] == {"symbol": "m s-1"}


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("", {"?coords"}),
        ("coords=POINT(0 91)", {"?coords"}),
        (f"{WARSAW}&parameter-name=t2m", {"?parameter-name"}),
        (f"{WARSAW}&units=mph", {"?units"}),
        (f"{WARSAW}&units=kn&parameter-name=wind_direction_10m", {"?units"}),
        (f"{WARSAW}&quantiles=2", {"?quantiles"}),
        (f"{WARSAW}&quantiles=a&datetime=soon", {"?quantiles", "?datetime"}),
        (f"{WARSAW}&exceedance=wind_direction_10m>90", {"?exceedance"}),
        (f"{WARSAW}&exceedance=u10>nan", {"?exceedance"}),
        (f"{WARSAW}&exceedance=u10>1e400", {"?exceedance"}),
        (f"{WARSAW}&datetime=1999-01-01", {"?datetime"}),
        (f"{WARSAW}&datetime=2018-02-30", {"?datetime"}),
        (f"{WARSAW}&values=all", {"?values"}),
        (f"{WARSAW}&interpolation=cubic", {"?interpolation"}),
        (f"{WARSAW}&f=netcdf", {"?f"}),
    ],
)
def test_a_wrong_parameter_is_pointed_at(
    api: InProcess, record: ForecastRecord, query: str, pointers: set[str]
) -> None:
    response = api.get(f"/v1/forecast/{record.id}/position?{query}")
    problem = response.json()
    assert (response.status_code, problem["type"]) == (422, "/problems/validation"), problem
    assert {error["pointer"] for error in problem["errors"]} == pointers


def test_an_answer_is_kept_until_the_forecast_grows_and_known_to_clients_that_have_it(
    api: InProcess, record: ForecastRecord, database: Database
) -> None:
    path = f"/v1/forecast/{record.id}/position?{WARSAW}"
    response = api.get(path)
    assert api.get(path, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304
    assert api.get(path).content == response.content
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.id == record.id).values(lead_times=3))
    later = api.get(path)
    assert later.headers["ETag"] != response.headers["ETag"]
    assert later.json()["complete_lead_times"] == 2, "a lead time that is committed, but not yet published"


def test_a_forecast_without_members_or_lead_times_has_no_series(
    api: InProcess, submit_forecast: Callable[..., ForecastRecord]
) -> None:
    for output, expected in (
        (Output(), (409, "/problems/not-finished")),
        (Output(members=False), (404, "/problems/not-found")),
    ):
        record = submit_forecast(output=output)
        response = api.get(f"/v1/forecast/{record.id}/position?{WARSAW}")
        assert (response.status_code, response.json()["type"]) == expected


def test_two_batches_of_series_are_read_at_a_time_and_more_are_refused_without_delay_of_other_requests(
    api: InProcess, record: ForecastRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_released, lock = threading.Event(), threading.Lock()
    running, most = 0, 0

    def read_slowly(*arguments: Any) -> Series:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert is_released.wait(30)
        with lock:
            running -= 1
        return read_series(*arguments)

    monkeypatch.setattr(positions, "read_series", read_slowly)
    path = f"/v1/forecast/{record.id}/position"
    points = ",".join(f"({longitude} 0)" for longitude in range(19))
    requests = [api.start("GET", f"{path}?coords=MULTIPOINT({points},({number} 1))") for number in range(110)]
    wait_until(lambda: sum(request.done() for request in requests) >= 110 - 18 * 5)
    assert api.start("GET", "/healthz").result(10).status_code == 200
    assert api.start("GET", f"{path}?coords=POINT(0 91)").result(10).status_code == 422
    is_released.set()
    responses = [request.result(60) for request in requests]
    counts = Counter(response.status_code for response in responses)
    assert counts[200] + counts[429] == 110
    assert 16 * 5 + 2 <= counts[200] <= 18 * 5
    refusal = next(response for response in responses if response.status_code == 429)
    assert (refusal.json()["type"], refusal.json()["retryable"]) == ("/problems/too-busy", True)
    assert most == 2


def test_requests_that_are_answered_together_have_each_its_own_answer_or_error(
    record: ForecastRecord, settings: Settings
) -> None:
    with Database(settings.storage.sql_url).read() as connection:
        address = ForecastAddress.of(read_forecast(connection, record.id), settings.storage)
    first_step = Interval.parse("../2024-01-01T06:00:00Z")
    queries = [
        _query("POINT(21.5 52.2)"),
        _query("MULTIPOINT((0 0),(179.9 -89))", interpolation="nearest", form="csv"),
        _query("POINT(1 1)", names=("rain",)),
        _query("POINT(-30 10)", statistics=True, times=first_step, form="covjson"),
    ]
    together = answer_positions(address, queries)
    assert [isinstance(answer, bytes) for answer in together] == [True, True, False, True]
    alone = [answer_positions(address, [query])[0] for query in queries]
    assert [str(answer) for answer in together] == [str(answer) for answer in alone]


def _query(coords: str, **options: Any) -> PositionQuery:
    defaults: dict[str, Any] = {"names": (), "interpolation": "bilinear", "units": "ms", "statistics": False}
    defaults |= {"probabilities": (0.5,), "exceedance": "", "times": Interval.parse("../.."), "form": "json"}
    return PositionQuery(places=parse_places(coords), **defaults | options)
