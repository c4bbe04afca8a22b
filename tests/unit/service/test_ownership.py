"""What is another key's is answered as what does not exist: status, headers and body of every route, for every caller.

Routes, and the query parameters of lists, are those of the OpenAPI document.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
from sqlalchemy import update

from jobs.folders import ForecastFolder
from jobs.rows.database import Database
from jobs.rows.states import Role, Status
from jobs.rows.tables import forecasts
from jobs.schedule_runs import read_clock
from jobs.settings import Settings
from service.app import create_app
from tests.in_process import InProcess, describe_api, run_in_process
from tests.rows import create_key, read_forecast
from tests.served import small_request
from tests.simulated import NAME, STEP, Waves, install, run_tick
from tests.stored_files import list_receipt, write_lead_times
from weather.stores.ensemble import EnsembleStore

Headers = dict[str, str]

_KINDS = {"forecast_id": "fc", "batch_id": "ba", "state_id": "st", "schedule_id": "sc"}
_PATHS = [path for path in describe_api()["paths"] if re.search(r"\{(forecast|batch|state|schedule)_id\}", path)]
_LISTS = {
    path: [each["name"] for each in described["get"]["parameters"] if each["in"] == "query"]
    for path, described in describe_api()["paths"].items()
    if "get" in described and described["get"].get("parameters") and "{" not in path.replace("{model}", "")
}
_QUERIES = {
    "position": "?coords=POINT(0 0)",
    "area": "?coords=POLYGON((0 0,30 0,30 30,0 0))",
    "cube": "?bbox=0,0,30,30",
    "{name}.nc": "?expires=99999999999&signature=0",
}
_METHODS = {
    "other": ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"),
    "reader": ("GET", "HEAD", "DELETE"),
    "operator": ("GET", "POST", "DELETE"),
    "nobody": ("GET", "OPTIONS", "POST"),
}
_PLAIN: Headers = {}
_OF_READS: tuple[Headers, ...] = (
    {"If-None-Match": "*"},
    {"If-None-Match": "ETAG"},
    {"Range": "bytes=0-3", "Origin": "https://pages.example"},
    {"Prefer": "wait=1", "Last-Event-ID": "1"},
)
_OF_WRITES: Headers = {"Prefer": "wait=1", "Idempotency-Key": "of-owner", "Content-Type": "application/json"}
_OF_PRODUCTS = re.compile(r"summary\.(nc|grib2|zarr\.zip)")
"""Routes that need what only a worker writes."""
_OPERATORS = re.compile(r"/v1/forecast/[^/]+(/events|/receipt)?|/api/retrieve/v1/jobs/[^/]+")


class World:
    """A service with keys: what the key `owner` has, and requests of the others."""

    def __init__(self, api: InProcess, keys: dict[str, Headers]) -> None:
        self.api, self.keys, self.ids = api, keys, dict[str, str]()

    def make(self, path: str, body: dict[str, Any], caller: str = "owner") -> str:
        """Return the id of what a caller makes."""
        response = self.api.post(path, json=body, headers=self.keys[caller] | {"Idempotency-Key": f"of-{caller}"})
        assert response.status_code in {201, 202}, response.text
        return str(response.json()["id"])

    def compare(
        self, caller: str, method: str, path: str, name: str, headers: Headers = _PLAIN, body: Any = None
    ) -> None:
        """Check that a request with an id of the owner has the answer of one with an id that does not exist."""
        answers, content = [], None if body is None else json.dumps(body)
        for each in (name, f"{name[:3]}0123456789abcdef01234567"):
            sent, address = headers | self.keys[caller], path.replace(name, each)
            options = {} if content is None else {"content": content.replace(name, each)}
            answers.append(_comparable(self.api.request(method, address, headers=sent, **options), each))
        assert answers[0][0] < 500, answers[0]
        assert answers[0] == answers[1], (caller, method, path, headers, content)


def _comparable(answer: httpx.Response, name: str) -> tuple[Any, ...]:
    """Return all of an answer but the id that was requested, the id of the request and seconds until a limit ends."""
    headers = [
        (key, re.sub(r";t=\d+", "", value.replace(name, "ID")))
        for key, value in answer.headers.multi_items()
        if key != "x-request-id"
    ]
    text = re.sub(r'"trace_id":"\w+"', "", answer.text).replace(name, "ID")
    return answer.status_code, headers, text, len(answer.content)


def _batch_of(forecast_id: str) -> dict[str, Any]:
    body = small_request(lead_time="6h", initial_states=[{"source": "forecast", "id": forecast_id}])
    return {name: value for name, value in body.items() if name != "initial_state"}


def _bring(world: World, database: Database, forecast_id: str, **values: Any) -> None:
    """Write all members of a forecast, and set fields of its row."""
    data, record = world.api.app.state.service.data, read_forecast(database, forecast_id)
    store = EnsembleStore.open(ForecastFolder(data, forecast_id).store)
    write_lead_times(store, range(store.layout.num_lead_times))
    values |= {"lead_times": record.num_lead_times, "receipt": list_receipt(data, record)}
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.id == forecast_id).values(values))


def _make_schedule(world: World, database: Database, waves: Waves, caller: str) -> str:
    forecast = {"model": "untrained", "members": 2, "lead_time": "12h", "sampler": {"nfe": 2}}
    body = {"name": "sea", "dataset": NAME, "forecast": forecast, "verify": False}
    schedule_id = world.make("/v1/schedules", body, caller)
    run_tick(world.api)
    (run,) = world.api.get(f"/v1/schedules/{schedule_id}/runs", headers=world.keys[caller]).json()["runs"]
    _bring(world, database, run["forecast"], status=Status.SUCCESSFUL, finished=1e9)
    return schedule_id


@pytest.fixture
def world(settings: Settings, database: Database, tmp_path: Path) -> Iterator[World]:
    """A service in which two keys have one of each kind, and the first has forecasts in all states."""
    roles: dict[str, Any] = {"owner": {}, "other": {}, "newcomer": {}, "operator": {"role": Role.OPERATOR}}
    made = {name: create_key(database, name, **options) for name, options in roles.items()}
    made["reader"] = create_key(database, "reader", role=Role.READER, of=made["other"][0].id)
    keys = {name: {"Authorization": f"Bearer {secret}"} for name, (_, secret) in made.items()}
    with run_in_process(create_app(settings, with_worker=False)) as api:
        world, waves = World(api, keys | {"nobody": {}}), Waves(tmp_path)
        install(api, database, waves)
        with database.read() as connection:
            cycle = np.datetime64(int(read_clock(connection) // 21600) * 21600, "s")
        waves.add(cycle - STEP, cycle)
        for caller in ("other", "owner"):
            forecast = world.make("/v1/forecast", small_request(labels={"a": caller}), caller)
            world.ids |= {"forecast": forecast, "batch": world.make("/v1/batch", _batch_of(forecast), caller)}
            world.ids["state"] = world.make("/v1/states", {"source": "forecast", "id": forecast}, caller)
            world.ids["schedule"] = _make_schedule(world, database, waves, caller)
            _bring(world, database, forecast, status=Status.SUCCESSFUL, finished=1e9)
        yield world


def _fill(path: str, world: World) -> str:
    query = next((query for end, query in _QUERIES.items() if path.endswith(end)), "")
    parts = {f"{kind}_id": name for kind, name in world.ids.items()}
    parts |= {"key": "zarr.json", "name": world.ids["forecast"], "model": "untrained", "num_lead_times": "1"}
    return path.format(**parts) + query


def test_every_route_answers_for_another_key_as_for_what_does_not_exist(world: World) -> None:
    assert len(_PATHS) >= 45
    for template in _PATHS:
        path = _fill(template, world)
        name = next(world.ids[kind] for kind in world.ids if f"{{{kind}_id}}" in template)
        method = "HEAD" if template.endswith("/events") else "GET"
        own = world.api.request(method, path.partition("?expires")[0], headers=world.keys["owner"])
        if "get" in describe_api()["paths"][template] and not _OF_PRODUCTS.search(template):
            assert own.status_code in {200, 307}, (path, own.text)
        for caller, methods in _METHODS.items():
            for method in methods if caller != "operator" or not _OPERATORS.fullmatch(path) else ():
                world.compare(caller, method, path, name)
        for headers in _OF_READS:
            etag = own.headers.get("etag", '"none"')
            sent = {key: value.replace("ETAG", etag) for key, value in headers.items()}
            world.compare("other", "GET", path, name, sent)
        for method, body in (("POST", {"members": [0]}), ("PATCH", {"state": "paused"}), ("DELETE", {})):
            world.compare("other", method, path, name, _OF_WRITES, body)
    for kind, name in world.ids.items():
        path = f"/v1/{kind}s" if kind in {"state", "schedule"} else f"/v1/{kind}"
        assert world.api.get(f"{path}/{name}", headers=world.keys["owner"]).status_code == 200


def test_lists_and_cursors_know_nothing_of_another_key(world: World) -> None:
    """Also with what the caller has itself, and what is newer or older than that of the other key."""
    before = {path: _listed(world, path, {}) for path in _LISTS}
    for path, parameters in _LISTS.items():
        for parameter in parameters:
            for name in world.ids.values():
                text = f"?{urlencode({parameter: name})}"
                world.compare("other", "GET", _fill(path, world) + text, name)
        for name in world.ids.values():
            assert name not in before[path], path
    assert {path for path in _LISTS if "schedule" in path or "batch" in path}


def _listed(world: World, path: str, query: dict[str, str]) -> str:
    return str(world.api.get(_fill(path, world), params=query, headers=world.keys["other"]).text)


_BODIES = (
    ("/v1/forecast", lambda ids: small_request(initial_state={"source": "forecast", "id": ids["forecast"]})),
    ("/v1/forecast", lambda ids: small_request(initial_state={"source": "state", "id": ids["state"]})),
    ("/v1/batch", lambda ids: _batch_of(ids["forecast"])),
    ("/v1/batch", lambda ids: _batch_of("") | {"initial_states": [{"source": "state", "id": ids["state"]}]}),
    ("/v1/states", lambda ids: {"source": "forecast", "id": ids["forecast"]}),
    ("/v1/states", lambda ids: {"source": "forecast", "id": ids["forecast"], "member": 0, "lead_time": "6h"}),
    ("/api/retrieve/v1/jobs/delete", lambda ids: {"job_ids": [ids["forecast"]]}),
    (
        "/api/retrieve/v1/processes/untrained/execution",
        lambda ids: {
            "inputs": {key: value for key, value in small_request().items() if key not in {"model", "initial_state"}}
            | {"initial_state": {"source": "state", "id": ids["state"]}}
        },
    ),
)


def test_bodies_reach_nothing_of_another_key(world: World) -> None:
    for path, body_of in _BODIES:
        body = body_of(world.ids)
        name = next(each for each in world.ids.values() if each in json.dumps(body))
        for headers in ({"Content-Type": "application/json"}, _OF_WRITES):
            for query in ("", "?validate_only=true") if path in {"/v1/forecast", "/v1/batch"} else ("",):
                for caller in ("other", "operator", "reader", "nobody"):
                    world.compare(caller, "POST", path + query, name, headers, body)
    listed = world.api.get("/v1/forecast", headers=world.keys["owner"]).json()["forecasts"]
    assert {each["data"] for each in listed} == {"available"}


def test_answers_of_a_key_do_not_change_with_what_another_key_does(world: World) -> None:
    """All routes without ids, also metadata, limits and usage."""
    paths = [path for path, described in describe_api()["paths"].items() if "get" in described]
    paths = [path.format(model="untrained") for path in paths if "{" not in path.replace("{model}", "")]
    paths = [path for path in paths if path not in {"/metrics", "/healthz", "/readyz", "/"}]
    assert len(paths) >= 18
    before = {path: _comparable(world.api.get(path, headers=world.keys["other"]), "ID") for path in paths}
    forecast = world.make("/v1/forecast", small_request(seed=9, labels={"b": "1"}) | {"members": 2}, "newcomer")
    world.make("/v1/states", {"source": "forecast", "id": forecast}, "newcomer")
    world.make("/v1/batch", _batch_of(forecast), "newcomer")
    after = {path: _comparable(world.api.get(path, headers=world.keys["other"]), "ID") for path in paths}
    changed = [path for path in paths if before[path] != after[path]]
    assert changed == [], [(before[path], after[path]) for path in changed]
