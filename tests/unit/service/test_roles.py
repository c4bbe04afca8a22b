"""What each role of an API key may do, on every route of the application."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from fastapi import FastAPI

from jobs.forecasts import ForecastRecord
from jobs.keys import ApiKey
from jobs.rows.database import Database
from jobs.rows.states import Role
from service.authentication import HEALTH_PATHS
from service.roles import VERIFIED_KEY_PATH
from service.routes import documentation
from tests.clock import MovableClock
from tests.in_process import InProcess, list_routes
from tests.rows import cancel_forecast, create_key, list_keys, revoke_key, rotate_key

Submit = Callable[..., ForecastRecord]
Headers = Mapping[str, str]

OPEN_PATHS = {*HEALTH_PATHS, *documentation.PATHS, "/metrics"}
FOR_OPERATORS = {"/audit"}
PAGE = "/view/{forecast_id}"
"""The page of a forecast, the same for every id; it reads the forecast with the key that its user enters."""
OF_ALL_OWNERS = {
    ("GET", "/forecast/{forecast_id}"),
    ("DELETE", "/forecast/{forecast_id}"),
    ("GET", "/forecast/{forecast_id}/events"),
    ("GET", "/forecast/{forecast_id}/receipt"),
    ("GET", "/api/retrieve/v1/jobs/{forecast_id}"),
    ("DELETE", "/api/retrieve/v1/jobs/{forecast_id}"),
}


def _routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Yield the method and the template of all routes but those that need no key."""
    yield from ((method, path) for method, path in list_routes(app) if path not in OPEN_PATHS)


def _path(template: str, forecast_id: str) -> str:
    parts = dict.fromkeys(("name", "key", "model", "state_id", "index", "file", "path", "batch_id", "kind"), "x")
    parts |= {"forecast_id": forecast_id, "num_lead_times": "1", "key:path": "zarr.json", "path:path": "x"}
    for name, value in parts.items():
        template = template.replace(f"{{{name}}}", value)
    return template


@pytest.fixture
def made(database: Database) -> dict[str, tuple[ApiKey, Headers]]:
    """A key of each role, and its headers; the reader is of the submitter."""
    keys: dict[str, tuple[ApiKey, Headers]] = {}

    def add(name: str, **options: Any) -> ApiKey:
        key, secret = create_key(database, name, **options)
        keys[name] = key, {"Authorization": f"Bearer {secret}"}
        return key

    owner = add("submitter").id
    add("reader", role=Role.READER, of=owner)
    add("operator", role=Role.OPERATOR)
    add("other")
    return keys


def test_a_reader_changes_nothing_on_any_route(
    api: InProcess, made: dict[str, tuple[ApiKey, Headers]], submit_forecast: Submit
) -> None:
    own = submit_forecast(owner=made["submitter"][0].id)
    assert api.post(VERIFIED_KEY_PATH, headers=made["reader"][1]).json()["role"] == "reader"
    routes = [
        (method, template)
        for method, template in _routes(api.app)
        if method != "GET" and (method, template) != ("POST", VERIFIED_KEY_PATH)
    ]
    assert len(routes) >= 12
    for method, template in (*routes, ("POST", "/nothing"), ("PATCH", "/v1/forecast")):
        for forecast_id in (own.id, "fc_none"):
            refused = api.request(method, _path(template, forecast_id), headers=made["reader"][1])
            assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden"), (method, template)
            assert "the role reader" in refused.json()["detail"]
    assert api.get(f"/v1/forecast/{own.id}", headers=made["submitter"][1]).json()["status"] == "accepted"


def test_no_route_gives_any_role_a_forecast_of_another_owner_but_those_that_are_listed(
    api: InProcess, made: dict[str, tuple[ApiKey, Headers]], database: Database, submit_forecast: Submit
) -> None:
    owner = made["other"][0].id
    record = cancel_forecast(database, submit_forecast(owner=owner).id, owner)
    with_forecast = [(method, path) for method, path in _routes(api.app) if "{forecast_id}" in path]
    with_forecast.remove(("GET", PAGE))
    assert len(with_forecast) >= 40
    for role in ("reader", "submitter", "operator"):
        for method, template in with_forecast:
            answer = api.request(method, _path(template, record.id), headers=made[role][1])
            is_common = (method, template.removeprefix("/v1")) in OF_ALL_OWNERS
            if role == "reader" and method != "GET":
                assert answer.status_code == 403, (method, template)
            elif role == "operator" and is_common:
                assert answer.status_code in {200, 204, 409}, (method, template, answer.text)
            else:
                assert answer.status_code in {404, 422}, (role, method, template, answer.text)
                assert owner not in answer.text


def test_a_route_refuses_no_read_of_a_role_but_those_of_operators(
    api: InProcess, made: dict[str, tuple[ApiKey, Headers]]
) -> None:
    for role in Role:
        for method, template in _routes(api.app):
            if method == "GET":
                answer = api.get(_path(template, "fc_none"), headers=made[role][1])
                is_refused = role != Role.OPERATOR and template.removeprefix("/v1") in FOR_OPERATORS
                assert (answer.status_code == 403) == is_refused, (role, template)
    for path in ("/v1/audit", "/audit", "/v1/audit/1"):
        refused = api.get(path, headers=made["submitter"][1])
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")


def test_a_reader_reads_what_its_owner_has_submitted(
    api: InProcess, made: dict[str, tuple[ApiKey, Headers]], submit_forecast: Submit
) -> None:
    own = submit_forecast(owner=made["submitter"][0].id)
    headers = made["reader"][1]
    assert [entry["id"] for entry in api.get("/v1/forecast", headers=headers).json()["forecasts"]] == [own.id]
    assert api.get(f"/v1/forecast/{own.id}/summary.zarr/zarr.json", headers=headers).status_code == 200
    assert [job["jobID"] for job in api.get("/api/retrieve/v1/jobs", headers=headers).json()["jobs"]] == [own.id]
    limits = api.get("/limits", headers=headers).json()
    assert (limits["role"], limits["owner"], limits["expires"]) == ("reader", made["submitter"][0].id, None)


def test_data_of_forecasts_without_a_key_is_private_once_a_reader_reads_them(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    path = f"/v1/forecast/{submit_forecast(owner='local').id}/summary.zarr/zarr.json"
    assert "public" in api.get(path).headers["cache-control"]
    _, secret = create_key(database, "archive", role=Role.READER, of="local")
    answer = api.get(path, headers={"PRIVATE-TOKEN": secret})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-cache")


def test_an_operator_lists_and_cancels_forecasts_of_all_keys(
    api: InProcess, made: dict[str, tuple[ApiKey, Headers]], submit_forecast: Submit
) -> None:
    records = [submit_forecast(owner=made[name][0].id) for name in ("submitter", "other", "operator")]
    headers = made["operator"][1]

    def ids(query: str) -> list[str]:
        return [entry["id"] for entry in api.get(f"/v1/forecast{query}", headers=headers).json()["forecasts"]]

    assert ids("") == [records[2].id]
    assert ids("?owner=all") == [record.id for record in reversed(records)]
    assert ids(f"?owner={records[1].owner}") == [records[1].id]
    page = api.get("/v1/forecast?owner=all&limit=1", headers=headers).json()
    address = next(link["href"] for link in page["links"] if link["rel"] == "next")
    following = api.get(address.removeprefix("http://localhost"), headers=headers).json()["forecasts"]
    assert [entry["id"] for entry in following] == [records[1].id]
    cancelled = api.delete(f"/v1/forecast/{records[0].id}", headers=headers)
    assert (cancelled.status_code, cancelled.json()["owner"]) == (202, records[0].owner)
    assert api.get(f"/v1/forecast/{records[0].id}", headers=made["submitter"][1]).json()["status"] == "dismissed"


@pytest.mark.parametrize("role", ["submitter", "reader"])
def test_only_operators_name_another_owner(
    api: InProcess, made: dict[str, tuple[ApiKey, Headers]], role: str, submit_forecast: Submit
) -> None:
    for owner in ("all", made["other"][0].id, "key_none", "local"):
        refused = api.get(f"/v1/forecast?owner={owner}", headers=made[role][1])
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
        assert refused.json()["errors"][0]["pointer"] == "?owner"
    own = made["submitter"][0].id
    assert api.get(f"/v1/forecast?owner={own}", headers=made[role][1]).status_code == 200


def test_only_who_holds_the_secret_learns_that_a_key_has_expired(
    api: InProcess, database: Database, clock: MovableClock
) -> None:
    key, secret = create_key(database, "guest", expires="2h")
    headers = {"Authorization": f"Bearer {secret}"}
    assert api.get("/limits", headers=headers).json()["expires"].endswith("Z")
    clock.advance(3600 * 2 + 1)
    refused = api.get("/limits", headers=headers)
    assert (refused.status_code, refused.json()["type"]) == (401, "/problems/unauthorized")
    assert "has expired, at 2" in refused.json()["detail"]
    for wrong in (secret[:-1], key.id):
        assert "unknown or revoked" in api.get("/limits", headers={"PRIVATE-TOKEN": wrong}).json()["detail"]
    revoke_key(database, key.id)
    assert "unknown or revoked" in api.get("/limits", headers=headers).json()["detail"]


def test_a_secret_is_valid_beside_its_successor_until_the_overlap_ends(
    api: InProcess, database: Database, clock: MovableClock, submit_forecast: Submit
) -> None:
    key, old = create_key(database, "desk")
    record = submit_forecast(owner=key.id)
    rotated, new = rotate_key(database, key.id, "1h")
    assert rotated.id == key.id

    def statuses() -> list[int]:
        path = f"/v1/forecast/{record.id}"
        return [api.get(path, headers={"PRIVATE-TOKEN": secret}).status_code for secret in (old, new)]

    assert statuses() == [200, 200]
    clock.advance(3601)
    assert statuses() == [401, 200]
    assert "was replaced" in api.get("/limits", headers={"PRIVATE-TOKEN": old}).json()["detail"]


def test_the_use_of_keys_is_stored_apart_from_requests(
    api: InProcess, database: Database, made: dict[str, tuple[ApiKey, Headers]]
) -> None:
    callers = api.app.state.service.callers
    callers.save_use()
    api.get("/limits", headers=made["reader"][1])
    api.get("/limits", headers={"PRIVATE-TOKEN": "wc_wrong"})
    callers.save_use()
    assert {key.name for key in list_keys(database) if key.last_used is not None} == {"reader"}
