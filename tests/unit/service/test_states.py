"""Every route in every state of a forecast: its response, and whether the problem is retryable."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.request import Output
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Data, Status
from jobs.rows.tables import forecasts
from service import problems
from service.problems import KIND_OF_ERROR, ProblemKind
from tests.in_process import InProcess
from tests.served import small_request
from tests.stored_files import list_receipt, write_lead_times
from weather.stores.ensemble import EnsembleStore

Submit = Callable[..., ForecastRecord]

_ROUTES = {
    "status": ("GET", ""),
    "events": ("HEAD", "/events"),
    "deliveries": ("GET", "/deliveries"),
    "log": ("GET", "/log"),
    "receipt": ("GET", "/receipt"),
    "diagnostics": ("GET", "/diagnostics"),
    "members": ("GET", "/ensemble.zarr/zarr.json"),
    "chunk": ("GET", "/ensemble.zarr/u10/c.0.0.0.0.0"),
    "late chunk": ("GET", "/ensemble.zarr/u10/c.0.3.0.0.0"),
    "summary": ("GET", "/summary.zarr/zarr.json"),
    "initial state": ("GET", "/initial_state.zarr/zarr.json"),
    "zip": ("GET", "/ensemble.zarr.zip"),
    "frozen zip": ("GET", "/as-of/2/ensemble.zarr.zip"),
    "maps": ("GET", "/plots/maps.png"),
    "plume": ("GET", "/plots/plume.png"),
    "position": ("GET", "/position?coords=POINT(0 0)"),
    "area": ("GET", "/cube?bbox=0,0,30,30&reduce=mean"),
    "netcdf": ("GET", "/ensemble.nc"),
    "grib": ("GET", "/ensemble.grib2"),
    "verify": ("POST", "/verify"),
    "replay": ("POST", "/replay"),
    "cancel": ("DELETE", "?keep_data=true"),
}
_DRAWN = ("maps", "plume", "position", "area", "netcdf", "grib", "verify")
_OK, _ACCEPTED = (200, None, False), (202, None, False)
_NOT_FINISHED, _UNSUCCESSFUL = (409, "not-finished", True), (409, "unsuccessful", False)
_NOT_FOUND, _GONE, _OVER = (404, "not-found", False), (410, "data-gone", False), (409, "forecast-over", False)


def _expected(route: str, status: Status, lead_times: int, data: Data, members: bool) -> tuple[int, str | None, bool]:
    """Return the status, the problem and `retryable` that a route must answer with."""
    missing = _NOT_FINISHED if status in OPEN else _UNSUCCESSFUL
    if route in {"status", "events", "log", "deliveries", "diagnostics"}:
        return _OK
    if route == "receipt":
        return _OK if status == Status.SUCCESSFUL else missing
    if route == "cancel":
        return _ACCEPTED if status in OPEN else _OVER
    if data != Data.AVAILABLE:
        return _GONE
    if route == "replay":
        return _ACCEPTED
    if route in {"summary", "initial state"}:
        return _OK
    if not members or route == "late chunk":
        return _NOT_FOUND
    if route == "zip":
        return _OK if status == Status.SUCCESSFUL else missing
    if route == "frozen zip":
        return _OK if lead_times else _NOT_FINISHED if status in OPEN else _NOT_FOUND
    if route in _DRAWN:
        return _OK if lead_times else missing
    return _OK


def _states() -> list[tuple[Status, int, Data]]:
    """Return every state: status, complete lead times, data."""
    opened = [(Status.ACCEPTED, 0), (Status.RUNNING, 0), (Status.RUNNING, 2)]
    ended = [
        (Status.SUCCESSFUL, 2),
        (Status.FAILED, 0),
        (Status.FAILED, 2),
        (Status.DISMISSED, 0),
        (Status.DISMISSED, 2),
    ]
    return [(*state, Data.AVAILABLE) for state in opened] + [(*state, data) for state in ended for data in Data]


@pytest.fixture
def bring(submit_forecast: Submit, database: Database, tmp_path: Path) -> Callable[..., ForecastRecord]:
    """Create a forecast in a given state; two lead times of its ensemble are written."""

    def bring(status: Status, lead_times: int, data: Data, *, members: bool = True) -> ForecastRecord:
        record = submit_forecast(checkpoint="untrained", output=Output(members=members))
        folder = ForecastFolder(tmp_path, record.id)
        if members:
            write_lead_times(EnsembleStore.open(folder.store), range(2))
        receipt = list_receipt(tmp_path, record)
        if data != Data.AVAILABLE:
            folder.path.remove()
        finished = None if status in OPEN else record.created
        values = {"status": status, "lead_times": lead_times, "data": data, "finished": finished, "receipt": receipt}
        with database.write() as connection:
            connection.execute(update(forecasts).where(forecasts.c.id == record.id).values(values))
        return record

    return bring


def _request(api: InProcess, record: ForecastRecord, route: str) -> httpx.Response:
    method, path = _ROUTES[route]
    options = {
        "verify": {"files": {"reference": (None, "era5"), "truth": ("a.nc", b"CDF")}},
        "replay": {"json": {"members": [1]}},
    }
    return api.request(method, f"/v1/forecast/{record.id}{path}", **options.get(route, {}))


@pytest.mark.parametrize("members", [True, False])
def test_a_problem_is_retryable_only_while_asking_again_can_help(
    api: InProcess, bring: Callable[..., ForecastRecord], members: bool
) -> None:
    for status, lead_times, data in _states():
        record = bring(status, lead_times, data, members=members)
        for route in _ROUTES:
            expected = _expected(route, status, lead_times, data, members)
            if route == "verify" and expected == _OK:
                continue
            response = _request(api, record, route)
            problem = response.json() if response.status_code >= 400 else {"type": None, "retryable": False}
            slug = problem["type"] and problem["type"].removeprefix("/problems/")
            actual = (response.status_code, slug, problem["retryable"])
            assert actual == expected, (route, status, lead_times, data, response.text[:300])
            if response.status_code >= 400:
                assert ("retry-after" in response.headers) == problem["retryable"], route


@pytest.mark.parametrize("members", [True, False])
def test_links_name_what_exists_and_nothing_else(
    api: InProcess, bring: Callable[..., ForecastRecord], members: bool
) -> None:
    for status, lead_times, data in _states():
        record = bring(status, lead_times, data, members=members)
        links = {link["rel"]: link["href"] for link in api.get(f"/forecast/{record.id}").json()["links"]}
        expected = {"self", "monitor"} | ({"describedby"} if status == Status.SUCCESSFUL else set())
        if data == Data.AVAILABLE:
            expected |= {"data", "summary"} | ({"enclosure"} if status == Status.SUCCESSFUL and members else set())
        assert links.keys() == expected, (status, lead_times, data)
        for rel, href in links.items():
            path = f"{href}/zarr.json" if rel in {"data", "summary"} else href
            assert api.head(path).status_code == 200, (rel, status, lead_times, data)


_BATCH_ROUTES = {
    "status": ("GET", ""),
    "events": ("HEAD", "/events"),
    "verifications": ("GET", "/verifications"),
    "members": ("GET", "/ensemble.zarr/zarr.json"),
    "chunk": ("GET", "/ensemble.zarr/u10/c.0.0.0.0.0"),
    "late chunk": ("GET", "/ensemble.zarr/u10/c.1.0.0.0.0"),
    "summary": ("GET", "/summary.zarr/zarr.json"),
    "verify": ("POST", "/verify"),
    "restart": ("POST", "/restart"),
    "cancel": ("DELETE", "?keep_data=true"),
}


def _expected_of_batch(route: str, status: Status, lead_times: int, data: Data) -> tuple[int, str | None, bool]:
    """Return what a route must answer for a batch of one part, which is in a state."""
    is_again = status in {Status.FAILED, Status.DISMISSED}
    if route in {"status", "events", "verifications"} or (route == "restart" and not is_again):
        return _OK
    if route == "cancel":
        return _ACCEPTED if status in OPEN else (409, "batch-over", False)
    if data != Data.AVAILABLE:
        return _GONE
    if route == "restart":
        return _ACCEPTED
    if route == "late chunk":
        return _NOT_FOUND
    if route == "verify" and not lead_times:
        return _NOT_FINISHED if status in OPEN else _UNSUCCESSFUL
    return _OK


def test_a_problem_of_a_batch_is_retryable_only_while_asking_again_can_help(
    api: InProcess, submit_forecast: Submit, database: Database, tmp_path: Path
) -> None:
    source = {"source": "forecast", "id": submit_forecast(checkpoint="untrained").id}
    body = small_request(lead_time="12h", initial_states=[source])
    del body["initial_state"]
    for status, lead_times, data in _states():
        batch = api.post("/v1/batch", json=body).json()
        folder = ForecastFolder(tmp_path, batch["parts"][0]["id"])
        write_lead_times(EnsembleStore.open(folder.store), range(1))
        if data != Data.AVAILABLE:
            folder.path.remove()
        values = {"status": status, "lead_times": min(lead_times, 1), "data": data}
        with database.write() as connection:
            connection.execute(update(forecasts).where(forecasts.c.batch_id == batch["id"]).values(values))
        for route, (method, path) in _BATCH_ROUTES.items():
            expected = _expected_of_batch(route, status, lead_times, data)
            if (route == "verify" and expected == _OK) or (route == "cancel" and status not in OPEN):
                continue
            files = {"files": {"reference": (None, "era5"), "truth": ("a.nc", b"CDF")}} if route == "verify" else {}
            response = api.request(method, f"/v1/batch/{batch['id']}{path}", **files)
            problem = response.json() if response.status_code >= 400 else {"type": None, "retryable": False}
            slug = problem["type"] and problem["type"].removeprefix("/problems/")
            actual = (response.status_code, slug, problem["retryable"])
            assert actual == expected, (route, status, lead_times, data, response.text[:300])
        over = api.delete(f"/v1/batch/{batch['id']}?keep_data=true")
        is_open = status in {Status.FAILED, Status.DISMISSED} and data == Data.AVAILABLE
        assert over.status_code == (202 if is_open else 409), (status, data, "restarted, or over")


def test_a_page_links_to_the_next_only_if_there_is_one(api: InProcess, submit_forecast: Submit) -> None:
    ids = [submit_forecast(seed=seed).id for seed in range(4)][::-1]
    for limit, pages in ((1, 4), (2, 2), (3, 2), (4, 1), (5, 1)):
        address, seen = f"/v1/forecast?limit={limit}", []
        for page in range(pages):
            listed = api.get(address).json()
            seen += [forecast["id"] for forecast in listed["forecasts"]]
            following = [link["href"] for link in listed["links"] if link["rel"] == "next"]
            assert len(following) == (page + 1 < pages)
            address = following[0] if following else ""
        assert seen == ids


def test_only_these_kinds_of_problems_are_retryable() -> None:
    kinds = [*KIND_OF_ERROR.values(), *(value for value in vars(problems).values() if isinstance(value, ProblemKind))]
    retryable = {kind.slug for kind in kinds if kind.retry_after}
    assert retryable == {
        *("body-timeout", "insufficient-storage", "limit-reached", "not-finished", "queue-full"),
        *("source-unavailable", "too-busy", "too-many-keys", "unavailable"),
    }
