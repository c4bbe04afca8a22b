"""Every route that changes something leaves an entry in the audit log, also one that is added later."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from jobs.audit import list_audit
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.tables import forecasts
from jobs.settings import Settings
from models.testing import tiny_spec
from service.app import create_app
from service.roles import VERIFIED_KEY_PATH
from tests.in_process import InProcess, list_routes, run_in_process
from tests.receivers import SECRET
from tests.served import small_request
from tests.simulated import NAME, Waves, install
from tests.stored_files import write_lead_times
from warmcast.commands import COMMANDS
from weather.stores.ensemble import EnsembleStore
from weather.testing import travelling_waves

Submit = Callable[..., ForecastRecord]
Entries = list[tuple[str, str | None]]
Send = Callable[..., tuple[str, Entries]]

WITHOUT_ENTRY = {
    ("POST", "/inspect"): "reads the files of its request, and keeps nothing",
    ("POST", VERIFIED_KEY_PATH): "says whose key it is, and changes nothing",
}
ACTIONS = {
    ("POST", "/forecast"): {"submit", "callback"},
    ("DELETE", "/forecast/{forecast_id}"): {"cancel"},
    ("POST", "/forecast/{forecast_id}/replay"): {"replay"},
    ("POST", "/forecast/{forecast_id}/verify"): {"verify"},
    ("POST", "/batch"): {"submit", "callback"},
    ("DELETE", "/batch/{batch_id}"): {"cancel"},
    ("POST", "/batch/{batch_id}/restart"): {"restart", "callback"},
    ("POST", "/batch/{batch_id}/verify"): {"verify"},
    ("POST", "/states"): {"keep_state"},
    ("DELETE", "/states/{state_id}"): {"delete"},
    ("POST", "/schedules"): {"create_schedule"},
    ("PATCH", "/schedules/{schedule_id}"): {"change_schedule"},
    ("DELETE", "/schedules/{schedule_id}"): {"delete_schedule"},
}
"""Actions that routes must leave; other routes leave at least one entry."""
CALLBACK = {"url": "http://localhost/", "secret": SECRET}


@pytest.fixture
def send(settings: Settings, database: Database, submit_forecast: Submit, tmp_path: Path) -> Any:
    """Send a successful request to a route; return the id that its entries must name, and the new entries."""
    allowed = settings.replace(webhook_hosts="localhost", webhook_http=True)
    times = [np.datetime64("2018-09-15T06", "s")]
    travelling_waves(tiny_spec().grid.grid, times).to_netcdf(tmp_path / "truth.nc")
    truth = {
        "data": {"reference": "waves"},
        "files": [("truth", ("truth.nc", (tmp_path / "truth.nc").read_bytes()))],
    }

    def forecast() -> str:
        record = submit_forecast(checkpoint="untrained")
        write_lead_times(EnsembleStore.open(ForecastFolder(tmp_path, record.id).store), range(1))
        _complete_one(database, forecasts.c.id == record.id)
        return record.id

    def batch(api: InProcess) -> str:
        view = api.post("/v1/batch", json=_batch_of(submit_forecast().id)).json()
        write_lead_times(EnsembleStore.open(ForecastFolder(tmp_path, view["parts"][0]["id"]).store), range(1))
        _complete_one(database, forecasts.c.batch_id == view["id"])
        return str(view["id"])

    with run_in_process(create_app(allowed, with_worker=False)) as api:
        install(api, database, Waves(tmp_path))

        def send(method: str, template: str) -> tuple[str, Entries]:
            ids, options = dict[str, str](), dict[str, Any]()
            if "{batch_id}" in template:
                ids["batch_id"] = batch(api)
            elif "{schedule_id}" in template:
                ids["schedule_id"] = api.post("/v1/schedules", json=_schedule(method)).json()["id"]
            elif "{state_id}" in template:
                source = {"source": "forecast", "id": forecast()}
                ids["state_id"] = api.post("/v1/states", json=source).json()["id"]
            elif "{forecast_id}" in template or template.endswith("/delete"):
                ids["forecast_id"] = forecast()
            if template.endswith("/verify"):
                options = truth
            elif template.endswith("/restart"):
                api.delete(f"/v1/batch/{ids['batch_id']}")
            elif (method, template) != ("DELETE", template):
                options = {"json": _body(template, ids, submit_forecast)}
            before = _subjects(database)
            response = api.request(method, template.format(**ids, model="untrained"), **options)
            assert response.is_success, (method, template, response.text)
            new = _subjects(database)[len(before) :]
            made = response.json() if response.content else {}
            is_own = template.endswith("/replay") or not ids
            return made.get("id") or made["jobID"] if is_own else next(iter(ids.values())), new

        yield send


def _schedule(name: str) -> dict[str, Any]:
    forecast = {"model": "untrained", "members": 2, "lead_time": "12h", "callback": CALLBACK}
    return {"name": name, "dataset": NAME, "forecast": forecast}


def _complete_one(database: Database, condition: Any) -> None:
    with database.write() as connection:
        connection.execute(update(forecasts).where(condition).values(lead_times=1))


def _batch_of(forecast_id: str) -> dict[str, Any]:
    body = small_request(members=2, callback=CALLBACK, initial_states=[{"source": "forecast", "id": forecast_id}])
    del body["initial_state"]
    return body


def _body(template: str, ids: dict[str, str], submit_forecast: Submit) -> Any:
    """Return the JSON body of a request to a route."""
    if template.endswith("/batch"):
        return _batch_of(submit_forecast().id)
    if template.endswith("/schedules"):
        return _schedule("new")
    if "{schedule_id}" in template:
        return {"state": "paused"}
    if template.endswith("/states"):
        return {"source": "forecast", "id": submit_forecast(checkpoint="untrained").id}
    if template.endswith("/execution"):
        return {"inputs": {name: value for name, value in small_request().items() if name != "model"}}
    if template.endswith("/delete"):
        return {"job_ids": [ids["forecast_id"]]}
    return {"members": [0]} if template.endswith("/replay") else small_request(callback=CALLBACK)


def _subjects(database: Database) -> Entries:
    """Return action and subject of all entries, oldest first."""
    with database.read() as connection:
        return [(entry.action, entry.subject) for entry in reversed(list_audit(connection, 10_000))]


def test_every_route_that_changes_something_leaves_entries(send: Send, settings: Settings) -> None:
    app = create_app(settings, with_worker=False)
    changing = {
        (method, path.removeprefix("/v1")) for method, path in list_routes(app) if method not in {"GET", "HEAD"}
    }
    assert WITHOUT_ENTRY.keys() | ACTIONS.keys() <= changing
    assert len(changing) >= 14
    for method, template in sorted(changing - WITHOUT_ENTRY.keys()):
        subject, entries = send(method, template)
        assert subject in {name for _, name in entries}, (method, template, entries)
        assert len(entries) == len(set(entries)), (method, template, entries)
        assert ACTIONS.get((method, template), set()) <= {action for action, _ in entries}, (method, template, entries)


def test_every_command_of_keys_that_changes_one_leaves_an_entry() -> None:
    """`test_commands_of_keys_are_entries_of_the_command_line` runs those that change something."""
    names = {name.removeprefix("key ") for name in COMMANDS if name.startswith("key ")}
    assert names - {"list"} == {"create", "limit", "rotate", "revoke"}
