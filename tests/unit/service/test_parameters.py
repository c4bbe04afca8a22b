"""Query parameters: unknown and repeated ones are refused by every route but those of the stores' files."""

from collections.abc import Callable

import httpx
import pytest
from fastapi.routing import APIRoute

from jobs.forecasts import ForecastRecord
from service.routes import as_of, batch_data, data, initial_states, schedules
from tests.in_process import InProcess, describe_api
from tests.served import small_request

_STORE_ROUTERS = (*(module.router for module in (as_of, batch_data, data, initial_states)), schedules.files_router)
_STORE_ROUTES = tuple(route for router in _STORE_ROUTERS for route in router.routes)
_OF_STORES = {route.path for route in _STORE_ROUTES if isinstance(route, APIRoute)}
_OPERATIONS = [
    (method.upper(), path)
    for path, operations in describe_api()["paths"].items()
    for method in operations
    if path.startswith("/v1/") and path.removeprefix("/v1").replace("{key}", "{key:path}") not in _OF_STORES
]


@pytest.fixture
def record(submit_forecast: Callable[..., ForecastRecord]) -> ForecastRecord:
    return submit_forecast()


def _check(response: httpx.Response, pointers: list[str], *details: str) -> None:
    problem = response.json()
    assert response.status_code == 422, problem
    assert problem["type"] == "/problems/validation"
    assert [error["pointer"] for error in problem["errors"]] == pointers, problem
    for error, detail in zip(problem["errors"], details, strict=True):
        assert detail in error["detail"]
        assert error["detail"] in problem["detail"]


def test_every_route_but_those_of_the_stores_is_tested() -> None:
    assert len(_OPERATIONS) >= 15
    assert len(_OF_STORES) == 12


@pytest.mark.parametrize(("method", "path"), _OPERATIONS)
@pytest.mark.parametrize("prefix", ["/v1", ""])
def test_an_unknown_parameter_is_refused(
    api: InProcess, record: ForecastRecord, method: str, path: str, prefix: str
) -> None:
    ids = {"forecast_id": record.id, "batch_id": "ba_none", "state_id": "st_none", "schedule_id": "sc_none"}
    address = prefix + path.removeprefix("/v1").format(**ids, model="untrained")
    response = api.request(method, f"{address}?mebers=3&lead_tme=6h")
    first = "The query parameter `mebers` is unknown. Expected "
    _check(response, ["?mebers", "?lead_tme"], first, "The query parameter `lead_tme` is unknown. Expected ")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/forecast?page=2", "Expected one of: status, limit, before, label, batch, owner."),
        ("/forecast/{id}?verbose=true", "Expected none."),
        ("/forecast/{id}/plots/plume.png?lat=40", "Expected one of: latitude, longitude, units."),
        ("/models?name=planet", "Expected none."),
    ],
)
def test_the_error_of_a_parameter_names_the_accepted_ones(
    api: InProcess, record: ForecastRecord, address: str, expected: str
) -> None:
    name = address.partition("?")[2].partition("=")[0]
    _check(api.get(address.format(id=record.id)), [f"?{name}"], expected)


def test_a_misspelt_dry_run_submits_nothing(api: InProcess) -> None:
    refused = api.post("/forecast?validate-only=true", json=small_request())
    _check(refused, ["?validate-only"], "Expected one of: validate_only.")
    assert api.get("/forecast").json()["forecasts"] == []


def test_a_single_parameter_may_not_be_repeated(api: InProcess, record: ForecastRecord) -> None:
    repeated = api.get("/forecast?limit=1&limit=2&status=failed")
    _check(repeated, ["?limit"], "The query parameter `limit` may be given once. Got: '1', '2'.")
    both = api.get(f"/forecast/{record.id}/plots/plume.png?units=kn&units=ms&colour=red")
    _check(both, ["?units", "?colour"], "Got: 'kn', 'ms'.", "`colour` is unknown")


def test_a_parameter_that_is_a_list_may_be_repeated(api: InProcess, record: ForecastRecord) -> None:
    response = api.get(f"/forecast/{record.id}/plots/maps.png?lead_time=6h&lead_time=12h")
    assert response.json()["type"] == "/problems/not-finished"


@pytest.mark.parametrize(
    ("address", "pointer", "detail"),
    [
        ("/forecast?limit=0", "?limit", "greater than or equal to 1. Got: '0'."),
        ("/forecast?status=lost", "?status", "Got: 'lost'."),
        ("/forecast/{id}?keep_data=perhaps", "?keep_data", "Got: 'perhaps'."),
        ("/forecast/{id}/plots/plume.png?latitude=91", "?latitude", "less than or equal to 90. Got: '91'."),
        ("/forecast/{id}/plots/maps.png?units=mph", "?units", "Got: 'mph'."),
        ("/forecast/{id}/plots/maps.png?bbox=1,2,3", "?bbox", "`bbox` must be west,south,east,north in degrees"),
    ],
)
def test_a_wrong_value_is_named_by_its_parameter(
    api: InProcess, record: ForecastRecord, address: str, pointer: str, detail: str
) -> None:
    method = "DELETE" if "keep_data" in address else "GET"
    _check(api.request(method, address.format(id=record.id)), [pointer], detail)


def test_a_wrong_header_is_named(api: InProcess) -> None:
    refused = api.post("/forecast", json=small_request(), headers={"Idempotency-Key": "two words"})
    _check(refused, ["Idempotency-Key"], "Got: 'two words'.")


@pytest.mark.parametrize("store", ["ensemble.zarr", "summary.zarr"])
def test_files_of_stores_ignore_parameters_that_readers_add(api: InProcess, record: ForecastRecord, store: str) -> None:
    """Readers such as zarrita add the query of a store's URL to the URL of each of its files."""
    address = f"/forecast/{record.id}/{store}/zarr.json"
    plain, with_query = api.get(address), api.get(f"{address}?version=2&token=x")
    assert (plain.status_code, with_query.status_code) == (200, 200)
    assert plain.content == with_query.content
