from collections.abc import Callable
from itertools import product

import pytest
from sqlalchemy import text, update

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.keys import LOCAL_OWNER
from jobs.request import Output
from jobs.rows.database import Database
from jobs.rows.states import Data
from jobs.rows.tables import forecasts
from jobs.settings import Settings
from service.app import create_app
from service.dependencies import (
    Service,
    check_ensemble,
    find_data_folder,
    find_members_folder,
)
from service.problems import ServiceError
from tests.in_process import InProcess, run_in_process
from tests.rows import commit_lead_times, create_key, read_forecast, revoke_key, succeed

Submit = Callable[..., ForecastRecord]


def _service(api: InProcess) -> Service:
    service: Service = api.app.state.service
    return service


def _listed(api: InProcess, **headers: str) -> tuple[int, str]:
    """Return the status of a list of forecasts, and the ids in it or the problem's detail."""
    response = api.get("/v1/forecast", headers={name.replace("_", "-"): value for name, value in headers.items()})
    if response.status_code == 200:
        return 200, ",".join(forecast["id"] for forecast in response.json()["forecasts"])
    assert response.headers["www-authenticate"] == "Bearer"
    return response.status_code, response.json()["detail"]


def test_without_any_key_this_machine_is_the_local_owner(api: InProcess, submit_forecast: Submit) -> None:
    record = submit_forecast(owner=LOCAL_OWNER)
    submit_forecast(owner="another")
    assert _listed(api) == (200, record.id)


def test_without_any_key_other_machines_are_refused_and_get_the_command_that_creates_one(settings: Settings) -> None:
    with run_in_process(create_app(settings, only_loopback=False, with_worker=False)) as api:
        status, detail = _listed(api)
    assert status == 401
    assert "`warmcast key create NAME`" in detail


def test_a_service_with_a_public_url_refuses_all_but_health_until_it_has_a_key(
    settings: Settings, database: Database
) -> None:
    app = create_app(settings.replace(public_url="https://warmcast.example"), with_worker=False)
    with run_in_process(app) as api:
        paths = {*app.openapi()["paths"], "/docs", "/docs/favicon.png", "/openapi.json", "/nothing"}
        assert len(paths) > 15
        for path in sorted(paths - {"/healthz", "/readyz"}):
            refused = api.get(path)
            assert refused.status_code == 401, path
            assert "`warmcast key create NAME`" in refused.json()["detail"]
        assert (api.get("/healthz").status_code, api.get("/readyz").status_code) == (200, 503)
        _, secret = create_key(database, "desk")
        assert _listed(api, authorization=f"Bearer {secret}")[0] == 200
        statuses = {path: api.get(path).status_code for path in ("/metrics", "/v1/models", "/docs", "/nothing")}
    assert statuses == {"/metrics": 401, "/v1/models": 401, "/docs": 200, "/nothing": 401}


@pytest.mark.parametrize("only_loopback", [True, False])
def test_a_key_identifies_its_owner_in_either_header(
    settings: Settings, database: Database, submit_forecast: Submit, only_loopback: bool
) -> None:
    key, secret = create_key(database, "desk")
    other, _ = create_key(database, "other")
    record = submit_forecast(owner=key.id)
    submit_forecast(owner=other.id)
    with run_in_process(create_app(settings, only_loopback=only_loopback, with_worker=False)) as api:
        assert _listed(api, authorization=f"Bearer {secret}") == (200, record.id)
        assert _listed(api, authorization=f"bearer {secret}") == (200, record.id)
        assert _listed(api, private_token=secret) == (200, record.id)


def test_from_the_first_key_on_every_caller_needs_one(api: InProcess, database: Database) -> None:
    assert _listed(api)[0] == 200
    key, _ = create_key(database, "desk")
    assert _listed(api) == (401, "An API key is required: `Authorization: Bearer KEY`.")
    revoke_key(database, key.id)
    assert _listed(api)[0] == 401, "the revocation of the last key must not open the service again"


@pytest.mark.parametrize("header", ["authorization", "private_token"])
def test_a_revoked_or_unknown_key_is_refused_at_once(api: InProcess, database: Database, header: str) -> None:
    key, secret = create_key(database, "desk")
    prefix = "Bearer " if header == "authorization" else ""
    assert _listed(api, **{header: prefix + secret})[0] == 200
    revoke_key(database, key.id)
    for wrong in (secret, secret[:-1], secret.upper(), key.id, "wc_", "local"):
        refused = _listed(api, **{header: prefix + wrong})
        assert refused == (401, "The API key is unknown or revoked."), wrong


def test_a_wrong_key_is_refused_even_while_no_key_is_needed(api: InProcess) -> None:
    assert _listed(api, authorization="Bearer wc_wrong") == (401, "The API key is unknown or revoked.")


def test_a_bearer_key_precedes_a_private_token(api: InProcess, database: Database) -> None:
    _, secret = create_key(database, "desk")
    assert _listed(api, authorization=f"Bearer {secret}", private_token="wrong")[0] == 200
    assert _listed(api, authorization="Bearer wrong", private_token=secret)[0] == 401


@pytest.mark.parametrize("value", ["Basic ZGVzazp4", "Bearer", "Bearer ", ""])
def test_credentials_of_another_scheme_are_ignored(api: InProcess, database: Database, value: str) -> None:
    assert _listed(api, authorization=value)[0] == 200
    _, secret = create_key(database, "desk")
    assert _listed(api, authorization=value)[1].startswith("An API key is required")
    assert _listed(api, authorization=value, private_token=secret)[0] == 200


def test_a_secret_is_in_no_problem(api: InProcess) -> None:
    assert "wc_guess" not in api.get("/v1/models", headers={"Authorization": "Bearer wc_guess"}).text


def test_every_route_of_the_api_needs_a_caller(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    record = submit_forecast()
    create_key(database, "desk")
    operations = api.app.openapi()["paths"].items()
    paths = [(path, set(methods)) for path, methods in operations if path.startswith(("/v1/", "/api/"))]
    assert len(paths) >= 25
    for template, methods in paths:
        ids = {"forecast_id": record.id, "batch_id": "ba_none", "state_id": "st_none", "schedule_id": "sc_none"}
        path = template.format(**ids, key="zarr.json", model="planet", num_lead_times=1, name="a")
        for method in methods:
            assert api.request(method, path).status_code == 401, (method, path)
        assert api.head(path).status_code in {401, 405}, path


def test_a_forecast_of_another_owner_does_not_exist(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    key, secret = create_key(database, "desk")
    own, foreign = submit_forecast(owner=key.id), submit_forecast(owner=LOCAL_OWNER)
    headers = {"Authorization": f"Bearer {secret}"}
    assert api.get(f"/v1/forecast/{own.id}", headers=headers).status_code == 200
    answers = [api.get(f"/v1/forecast/{unknown}", headers=headers) for unknown in (foreign.id, "fc_none")]
    problems = [
        {name: value for name, value in answer.json().items() if name not in {"trace_id", "detail"}}
        for answer in answers
    ]
    assert problems[0] == problems[1]
    assert problems[0]["status"] == 404
    assert answers[0].json()["detail"].replace(foreign.id, "fc_none") == answers[1].json()["detail"]


def test_the_key_is_checked_before_the_forecast(api: InProcess, database: Database) -> None:
    create_key(database, "desk")
    assert api.get("/v1/forecast/fc_none").status_code == 401


def test_no_caller_is_authenticated_while_the_database_fails(api: InProcess, database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("ALTER TABLE api_key RENAME TO away"))
    response = api.get("/v1/forecast")
    assert (response.status_code, response.json()["type"]) == (503, "/problems/unavailable")


@pytest.mark.parametrize("data", [Data.DELETED, Data.EXPIRED])
def test_deleted_data_has_no_folder(api: InProcess, database: Database, submit_forecast: Submit, data: Data) -> None:
    record = succeed(database, submit_forecast())
    assert find_data_folder(record, _service(api)).store.exists()
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.id == record.id).values(data=data))
    for find in (find_data_folder, find_members_folder, check_ensemble):
        with pytest.raises(ServiceError, match=f"data of forecast {record.id} is {data}") as raised:
            find(read_forecast(database, record.id), _service(api))
        assert raised.value.kind.status == 410


def test_a_forecast_without_stored_members_has_only_its_folder(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    record = succeed(database, submit_forecast(output=Output(members=False)))
    assert isinstance(find_data_folder(record, _service(api)), ForecastFolder)
    with pytest.raises(ServiceError, match="stores only its summary") as raised:
        find_members_folder(record, _service(api))
    assert raised.value.kind.status == 404


def test_an_ensemble_can_be_used_from_its_first_complete_lead_time(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    record = submit_forecast()
    with pytest.raises(ServiceError, match="is accepted and has no complete lead time yet") as raised:
        check_ensemble(record, _service(api))
    assert raised.value.kind.status == 409
    commit_lead_times(database, 1)
    check_ensemble(read_forecast(database, record.id), _service(api))


def test_links_begin_with_the_public_url_or_else_with_the_address_of_the_request(
    settings: Settings, database: Database, submit_forecast: Submit
) -> None:
    key, secret = create_key(database, "desk")
    record = submit_forecast(owner=key.id)
    bases = {}
    for public_url, host in product((None, "https://warmcast.example/w/"), ("localhost:8000", "127.0.0.1")):
        app = create_app(settings.replace(public_url=public_url), with_worker=False)
        with run_in_process(app) as api:
            headers = {"Host": host, "Authorization": f"Bearer {secret}"}
            view = api.get(f"/v1/forecast/{record.id}", headers=headers).json()
        (own,) = (link["href"] for link in view["links"] if link["rel"] == "self")
        bases[public_url, host] = own.removesuffix(f"/v1/forecast/{record.id}")
    assert bases == {
        (None, "localhost:8000"): "http://localhost:8000",
        (None, "127.0.0.1"): "http://127.0.0.1",
        ("https://warmcast.example/w/", "localhost:8000"): "https://warmcast.example/w",
        ("https://warmcast.example/w/", "127.0.0.1"): "https://warmcast.example/w",
    }
