"""A client of OGC API – EDR, which knows the landing page alone, and finds values by what documents say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.keys import LOCAL_OWNER
from jobs.rows.database import Database
from tests.in_process import InProcess
from tests.rows import commit_lead_times, create_key
from tests.stored_files import write_lead_times
from weather.stores.ensemble import EnsembleStore

HOME = "/api/edr"
QUERIES = {
    "position": "coords=POINT(12.5 55.7)",
    "area": "coords=POLYGON((0 0, 80 0, 80 80, 0 0))",
    "cube": "bbox=-40,20,40,70",
}
Submit = Callable[..., ForecastRecord]


@pytest.fixture
def record(submit_forecast: Submit, database: Database, tmp_path: Path) -> ForecastRecord:
    """A running forecast with two complete lead times."""
    record = submit_forecast(owner=LOCAL_OWNER, checkpoint="untrained")
    write_lead_times(EnsembleStore.open(ForecastFolder(tmp_path, record.id).store), range(2))
    commit_lead_times(database, 2)
    return record


def _get(api: InProcess, url: str, **headers: str) -> Any:
    response = api.get(url, headers=headers)
    assert response.status_code == 200, (url, response.text)
    return response.json()


def _follow(api: InProcess, document: Any, rel: str) -> Any:
    (href,) = [link["href"] for link in document["links"] if link["rel"] == rel]
    return _get(api, href)


def test_a_client_finds_its_way_from_the_landing_page_to_the_values_of_a_running_forecast(
    api: InProcess, record: ForecastRecord
) -> None:
    landing = _get(api, HOME)
    classes = _follow(api, landing, "conformance")["conformsTo"]
    assert "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/core" in classes
    collections = _follow(api, landing, "data")["collections"]
    collection = next(each for each in collections if each["id"] == record.request.checkpoint)
    assert _follow(api, collection, "self") == collection
    (instance,) = _get(api, collection["data_queries"]["instances"]["link"]["href"])["instances"]
    assert _follow(api, instance, "self") == instance
    assert _follow(api, instance, "describedby")["id"] == instance["id"] == record.id
    assert instance["parameter_names"].keys() == {"u10", "v10", "wind_speed_10m", "wind_direction_10m"}
    assert instance["parameter_names"]["u10"]["unit"] == {"symbol": "m s-1"}
    for name, query in QUERIES.items():
        link = instance["data_queries"][name]["link"]
        assert link["variables"]["query_type"] == name
        ours = _get(api, f"/v1/forecast/{record.id}/{name}?{query}")
        assert _get(api, f"{link['href']}?{query}&crs=CRS84&z=10") == ours, "parameters of others are ignored"
        for form in link["variables"]["output_formats"]:
            assert api.get(f"{link['href']}?{query}&f={form}").status_code == 200
        assert api.head(f"{link['href']}?{query}").status_code == 200


def test_the_extent_of_an_instance_is_that_of_its_complete_lead_times(api: InProcess, record: ForecastRecord) -> None:
    instance = _get(api, f"{HOME}/collections/{record.request.checkpoint}/instances/{record.id}")
    times = _get(api, f"/v1/forecast/{record.id}/position?{QUERIES['position']}")["valid_time"]
    assert instance["extent"]["temporal"]["interval"] == [[times[0], times[-1]]]
    assert instance["extent"]["spatial"]["bbox"][0][::2] == [-180, 180]


def test_a_forecast_is_an_instance_of_its_own_checkpoint_and_owner_alone(
    api: InProcess, record: ForecastRecord, database: Database
) -> None:
    model = record.request.checkpoint
    _, secret = create_key(database, "desk")
    foreign = {"Authorization": f"Bearer {secret}"}
    assert _get(api, f"{HOME}/collections/{model}/instances", **foreign)["instances"] == []
    for collection, headers in ((model, foreign), ("earth", {})):
        home = f"{HOME}/collections/{collection}/instances/{record.id}"
        for path in (home, *(f"{home}/{name}?{query}" for name, query in QUERIES.items())):
            for method in ("GET", "HEAD"):
                assert api.request(method, path, headers=headers).status_code == (404 if headers else 401), path
    unknown = api.get(f"{HOME}/collections/none/instances", headers=foreign)
    assert (unknown.status_code, "none" in unknown.json()["detail"]) == (404, True)


def test_instances_are_listed_in_pages_newest_first(api: InProcess, submit_forecast: Submit) -> None:
    records = [submit_forecast(owner=LOCAL_OWNER, checkpoint="untrained") for _ in range(3)]
    model = records[0].request.checkpoint
    page, found = _get(api, f"{HOME}/collections/{model}/instances?limit=2"), []
    found += [each["id"] for each in page["instances"]]
    found += [each["id"] for each in _follow(api, page, "next")["instances"]]
    assert found == [record.id for record in reversed(records)]
    assert _get(api, f"{HOME}/collections/earth/instances")["instances"] == []
