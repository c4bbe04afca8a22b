import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import func, select, update

from jobs.dispatching.live_workers import Machine
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, insert_forecast, new_forecast_id
from jobs.mode import Mode, settle_mode
from jobs.planning.estimates import Speed
from jobs.request import ForecastRequest
from jobs.rows.database import Database
from jobs.rows.tables import forecasts
from jobs.settings import Settings
from models.testing import tiny_spec, write_tiny_checkpoint
from service.app import create_app
from storage.paths import DiskPath
from tests.in_process import InProcess, run_in_process
from tests.rows import (
    cancel_forecast,
    commit_lead_times,
    create_key,
    read_forecast,
    record_heartbeat,
    record_speed,
    succeed,
)
from tests.served import small_request
from weather.stores.ensemble import EnsembleStore
from weather.testing import travelling_waves

Submit = Callable[..., ForecastRecord]
Limited = Callable[..., InProcess]


@pytest.fixture
def limited(settings: Settings, database: Database) -> Iterator[Limited]:
    """Start a service with other settings."""
    running = []

    def limited(**values: Any) -> InProcess:
        running.append(run_in_process(create_app(settings.replace(**values), with_worker=False)))
        return running[-1].__enter__()

    yield limited
    for service in running:
        service.__exit__(None, None, None)


def _post(api: InProcess, path: str = "/v1/forecast", *, key: str | None = None, **fields: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key is not None else {}
    return api.post(path, json=small_request(**fields), headers=headers)


def _accepted(api: InProcess, **fields: Any) -> dict[str, Any]:
    response = _post(api, **fields)
    assert response.status_code == 202, response.text
    view: dict[str, Any] = response.json()
    return view


def _refused(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["type"]) == (status, f"/problems/{kind}"), problem
    return problem


def _ids(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [forecast["id"] for forecast in response.json()["forecasts"]]


def _links(document: dict[str, Any]) -> dict[str, str]:
    return {link["rel"]: link["href"].removeprefix("http://localhost") for link in document["links"]}


def _folders(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.storage.data.glob("forecasts/*"))


def _count_rows(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(forecasts)) or 0


def test_an_accepted_forecast_can_be_opened_at_once(api: InProcess, settings: Settings, database: Database) -> None:
    response = _post(api, members=3, lead_time="24h", seed=7)
    view = response.json()
    assert (response.status_code, view["status"], view["progress"]) == (202, "accepted", 0)
    assert response.headers["location"].removeprefix("http://localhost") == _links(view)["self"]
    assert api.get(_links(view)["self"]).json() == view
    assert api.get(f"{_links(view)['data']}/zarr.json").status_code == 200
    assert api.get(f"{_links(view)['summary']}/zarr.json").status_code == 200
    store = EnsembleStore.open(ForecastFolder(settings.storage.data, view["id"]).store)
    assert (store.layout.members, store.num_complete_of_group(0)) == ((0, 1, 2), 0)
    record = read_forecast(database, view["id"])
    assert (record.owner, record.request.seed, record.num_lead_times) == ("local", 7, 4)


def test_a_forecast_without_a_seed_gets_a_random_one_and_with_an_idempotency_key_always_the_same(
    api: InProcess,
) -> None:
    random = {_accepted(api, seed=None)["request"]["seed"] for _ in range(3)}
    assert len(random) == 3
    first = _post(api, seed=None, key="a")
    again = _post(api, seed=None, key="a")
    other = _post(api, seed=None, key="b")
    assert [response.status_code for response in (first, again, other)] == [202, 200, 202]
    seeds = [response.json()["request"]["seed"] for response in (first, again, other)]
    assert (seeds[0] == seeds[1], seeds[0] == seeds[2]) == (True, False)
    assert all(0 <= seed < 2**48 for seed in [*random, *seeds])


def test_concurrent_requests_with_one_key_make_one_forecast_and_one_folder(
    api: InProcess, settings: Settings, database: Database
) -> None:
    headers = {"Idempotency-Key": "one"}
    _accepted(api)  # the state of the catalogue is read once
    started = [api.start("POST", "/v1/forecast", json=small_request(), headers=headers) for _ in range(12)]
    responses = [request.result(60) for request in started]
    assert sorted(response.status_code for response in responses) == [200] * 11 + [202]
    assert len({response.json()["id"] for response in responses}) == 1
    assert {response.headers.get("idempotent-replayed") for response in responses} == {None, "true"}
    assert _count_rows(database) == len(_folders(settings)) == 2


def test_a_key_belongs_to_one_request_of_one_owner(api: InProcess, database: Database, settings: Settings) -> None:
    first = _post(api, key="run-1", members=2)
    problem = _refused(_post(api, key="run-1", members=3), 422, "idempotency-key-reuse")
    assert first.json()["id"] in problem["detail"]
    _, secret = create_key(database, "desk")
    headers = {"PRIVATE-TOKEN": secret, "Idempotency-Key": "run-1"}
    other = api.post("/v1/forecast", json=small_request(members=3), headers=headers)
    assert other.status_code == 202
    assert len(_folders(settings)) == 2


def test_a_repeated_request_returns_the_forecast_whatever_became_of_it(api: InProcess, database: Database) -> None:
    view = _post(api, key="k").json()
    cancel_forecast(database, view["id"], "local")
    again = _post(api, key="k")
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (200, view["id"], "dismissed")


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "tab\tbed"])
def test_an_idempotency_key_must_be_short_and_without_spaces(api: InProcess, key: str, settings: Settings) -> None:
    problem = _refused(_post(api, key=key), 422, "validation")
    assert "Idempotency-Key" in problem["detail"]
    assert _folders(settings) == []


def test_the_longest_key_is_accepted(api: InProcess) -> None:
    assert _post(api, key="x" * 255).status_code == 202


def test_a_full_queue_refuses_new_forecasts_until_one_has_ended(limited: Limited, database: Database) -> None:
    api = limited(max_open_forecasts=2)
    waiting = [_post(api, key=str(number)).json()["id"] for number in range(2)]
    refused = _post(api, key="2")
    problem = _refused(refused, 429, "queue-full")
    assert (refused.headers["retry-after"], problem["retryable"]) == ("30", True)
    assert "is reached: 2." in problem["detail"]
    assert _post(api, key="1").json()["id"] == waiting[1], "a repeated request needs no place in the queue"
    assert api.post("/v1/forecast?validate_only=true", json=small_request()).status_code == 200
    cancel_forecast(database, waiting[0], "local")
    assert _post(api, key="2").status_code == 202
    assert _post(api, key="3").status_code == 429


def test_the_queue_is_shared_by_all_owners(limited: Limited, database: Database) -> None:
    api = limited(max_open_forecasts=1)
    _accepted(api)
    headers = {"PRIVATE-TOKEN": create_key(database, "desk")[1]}
    assert api.post("/v1/forecast", json=small_request(), headers=headers).status_code == 202, "its only one"
    _refused(api.post("/v1/forecast", json=small_request(), headers=headers), 429, "queue-full")


def test_concurrent_requests_do_not_overfill_the_queue(limited: Limited, database: Database) -> None:
    api = limited(max_open_forecasts=3)
    _accepted(api)
    started = [api.start("POST", "/v1/forecast", json=small_request(seed=seed)) for seed in range(10)]
    statuses = sorted(request.result(60).status_code for request in started)
    assert statuses == [202, 202] + [429] * 8
    assert _count_rows(database) == 3


def test_a_refused_request_leaves_no_row_and_no_folder(
    api: InProcess, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refused(_post(api, members=0), 422, "validation")
    _refused(_post(api, model="nobody"), 404, "no-such-model")
    _refused(_post(api, members=1001), 422, "validation")
    _refused(_post(api, priority="urgent"), 422, "validation")
    monkeypatch.setattr(DiskPath, "free_bytes", lambda _: 1000.0)
    problem = _refused(_post(api), 507, "insufficient-storage")
    assert problem["retryable"]
    assert (_count_rows(database), _folders(settings)) == (0, [])


def test_a_folder_that_cannot_be_written_whole_is_removed(
    api: InProcess, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("The disk is away.")

    monkeypatch.setattr("jobs.submit.SummaryStore.create", fail)
    _refused(_post(api), 500, "internal")
    assert (_count_rows(database), _folders(settings)) == (0, [])


def test_workers_are_notified_of_new_forecasts_only(api: InProcess) -> None:
    notices: list[int] = []

    class _Dispatcher:
        def notify(self, number: int) -> None:
            notices.append(number)

    api.app.state.service = replace(api.app.state.service, dispatcher=_Dispatcher())
    _post(api, key="a", members=1)
    assert len(notices) == 1
    assert notices[0] >= 1
    _post(api, key="a", members=1)
    _post(api, members=0)
    api.post("/v1/forecast?validate_only=true", json=small_request())
    assert len(notices) == 1


def test_an_estimate_writes_nothing_and_describes_the_same_forecast(
    api: InProcess, settings: Settings, database: Database
) -> None:
    body = small_request(members=5, lead_time="2d", sampler={"nfe": 4, "solver": "midpoint"})
    estimate = api.post("/v1/forecast?validate_only=true", json=body).json()
    assert (_count_rows(database), _folders(settings)) == (0, [])
    accepted = api.post("/v1/forecast", json=body).json()
    assert estimate["request"] == accepted["request"]
    assert estimate["network_evaluations"] == 5 * 8 * (4 + 1)
    assert (estimate["seconds"], estimate["wait_seconds"], estimate["memory_bytes"]) == (None, None, None)


def _record_speed(database: Database, record: ForecastRecord, seconds: float) -> None:
    """Record a live worker that takes so many seconds for each lead time of a group of the forecast."""
    machine = Machine("cpu: a processor", 1)
    speed = Speed(record.request.group_size, 0.0, seconds / record.request.sampling.nfe, 0.0, None)
    record_heartbeat(database, "worker", "cpu", {}, machine)
    record_speed(database, record.request.checkpoint_digest, machine, speed, 1)


@pytest.mark.parametrize(("seconds", "retry_after"), [(None, "2"), (0.001, "1"), (3.0, "9"), (1000.0, "30")])
def test_a_client_is_advised_to_ask_again_after_a_quarter_of_the_remaining_time(
    api: InProcess, database: Database, submit_forecast: Submit, seconds: float | None, retry_after: str
) -> None:
    record = submit_forecast()
    if seconds is not None:
        _record_speed(database, record, seconds)
    response = api.get(f"/v1/forecast/{record.id}")
    assert response.headers["retry-after"] == retry_after
    eta = response.json()["progress_detail"]["eta_seconds"]
    assert eta == (None if seconds is None else pytest.approx(12 * seconds, abs=0.06))


def test_a_client_polls_a_forecast_that_has_ended_no_longer(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    record = submit_forecast()
    assert "retry-after" in api.get(f"/v1/forecast/{record.id}").headers
    succeed(database, record)
    assert "retry-after" not in api.get(f"/v1/forecast/{record.id}").headers


def test_the_entity_tag_changes_with_every_change_of_the_status(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    record = submit_forecast()

    def tag() -> str:
        return api.get(f"/v1/forecast/{record.id}").headers["etag"]

    tags = [tag(), tag()]
    commit_lead_times(database, 1)
    tags.append(tag())
    cancel_forecast(database, record.id, "local")
    tags.append(tag())
    api.delete(f"/v1/forecast/{record.id}")
    tags.append(tag())
    assert tags[0] == tags[1]
    assert len(set(tags)) == 4


def _insert(database: Database, request: ForecastRequest, created: float, owner: str = "local") -> str:
    """Insert the rows of a forecast that was accepted at a time in seconds since 1970, and return its id."""
    forecast_id = new_forecast_id()
    with database.write() as connection:
        insert_forecast(connection, forecast_id, owner, request, 4)
        connection.execute(update(forecasts).where(forecasts.c.id == forecast_id).values(created=created))
    return forecast_id


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 200])
def test_pages_of_any_size_contain_every_forecast_once_newest_first(
    api: InProcess, database: Database, submit_forecast: Submit, limit: int
) -> None:
    request = submit_forecast(owner="another").request
    created = (5.0, 7.0, 7.0, 7.0, 9.0, 6.0)  # three of the same moment
    by_id = {_insert(database, request, moment): moment for moment in created}
    found: list[str] = []
    path: str | None = f"/v1/forecast?limit={limit}"
    while path is not None:
        page = api.get(path)
        assert len(_ids(page)) <= limit
        found += _ids(page)
        assert len(found) <= len(by_id)
        path = _links(page.json()).get("next")
    assert sorted(found) == sorted(by_id)
    assert [by_id[forecast_id] for forecast_id in found] == [9, 7, 7, 7, 6, 5]


def test_pages_of_one_status_contain_no_other(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    request = submit_forecast(owner="another").request
    ids = [_insert(database, request, float(number)) for number in range(6)]
    for forecast_id in ids[::2]:
        cancel_forecast(database, forecast_id, "local")
    first = api.get("/v1/forecast?status=dismissed&limit=2")
    second = api.get(_links(first.json())["next"])
    assert _ids(first) + _ids(second) == [ids[4], ids[2], ids[0]]
    assert _ids(api.get("/v1/forecast?status=accepted")) == [ids[5], ids[3], ids[1]]
    assert _ids(api.get("/v1/forecast?status=failed")) == []


def test_a_page_after_an_unknown_or_foreign_forecast_is_empty(api: InProcess, submit_forecast: Submit) -> None:
    submit_forecast()
    foreign = submit_forecast(owner="another")
    for before in ("fc_none", foreign.id, ""):
        assert _ids(api.get(f"/v1/forecast?before={before}")) == []


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "status=done", f"before={'x' * 41}"])
def test_an_invalid_list_is_a_problem_that_names_the_parameter(api: InProcess, query: str) -> None:
    problem = _refused(api.get(f"/v1/forecast?{query}"), 422, "validation")
    assert problem["errors"][0]["pointer"] == f"?{query.split('=')[0]}"


def test_cancelling_keeps_the_lead_times_and_a_second_request_deletes_them(
    api: InProcess, database: Database, submit_forecast: Submit, settings: Settings
) -> None:
    record = submit_forecast()
    commit_lead_times(database, 2)
    address = f"/v1/forecast/{record.id}"
    cancelled = api.delete(address)
    assert (cancelled.status_code, cancelled.json()["status"], cancelled.json()["progress"]) == (202, "dismissed", 50)
    assert _folders(settings) == [record.id]
    deleted = api.delete(address)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert _folders(settings) == []
    assert (api.get(address).json()["status"], api.get(address).json()["data"]) == ("dismissed", "deleted")
    assert api.delete(address).status_code == 204
    _refused(api.get(f"{address}/ensemble.zarr/zarr.json"), 410, "data-gone")


def test_a_forecast_that_has_ended_is_not_cancelled_and_its_data_is_kept_on_request(
    api: InProcess, database: Database, submit_forecast: Submit, settings: Settings
) -> None:
    record = succeed(database, submit_forecast())
    problem = _refused(api.delete(f"/v1/forecast/{record.id}?keep_data=true"), 409, "forecast-over")
    assert "it is successful" in problem["detail"]
    assert not problem["retryable"]
    assert _folders(settings) == [record.id]


def test_only_the_owner_can_delete_a_forecast(
    api: InProcess, database: Database, submit_forecast: Submit, settings: Settings
) -> None:
    record = succeed(database, submit_forecast())
    _, secret = create_key(database, "desk")
    refused = api.delete(f"/v1/forecast/{record.id}", headers={"PRIVATE-TOKEN": secret})
    _refused(refused, 404, "no-such-forecast")
    assert _folders(settings) == [record.id]


def test_a_receipt_is_returned_as_it_was_written(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    receipt = {"device": "cpu", "seconds": 1.5, "nonfinite_members": [1], "note": "é"}
    record = submit_forecast()
    address = f"/v1/forecast/{record.id}/receipt"
    assert _refused(api.get(address), 409, "not-finished")["retryable"]
    succeed(database, record, receipt)
    assert api.get(address).json() == receipt


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def _state(folder: Path) -> bytes:
    """Return a NetCDF file with two frames on the grid of the tiny checkpoint."""
    times = [np.datetime64("2018-09-14T18", "s"), np.datetime64("2018-09-15T00", "s")]
    travelling_waves(tiny_spec().grid.grid, times).to_netcdf(folder / "state.nc")
    return (folder / "state.nc").read_bytes()


def _upload(api: InProcess, *files: tuple[str, bytes], request: str | None = None, **fields: Any) -> httpx.Response:
    text = json.dumps(small_request(**{"initial_state": {"source": "upload"}} | fields)) if request is None else request
    parts = [("initial_state", file) for file in files]
    return api.post("/v1/forecast", data={"request": text}, files=parts)


def test_uploaded_files_are_removed_however_the_request_ends(
    api: InProcess, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _state(tmp_path)
    accepted = _upload(api, ("../state.nc", content))
    assert accepted.status_code == 202, accepted.text
    assert accepted.json()["init_time"] == "2018-09-15T00:00:00"
    assert list(temporary.iterdir()) == []
    file = ("state.nc", content)
    for response, status in (
        (_upload(api, file, members=0), 422),
        (_upload(api, file, request="{"), 422),
        (_upload(api, file, model="nobody"), 404),
        (_upload(api, *[file] * 9), 422),
        (_upload(api, ("state.nc", content[:1000])), 422),
        (_upload(api, ("letter.txt", b"Dear sirs")), 415),
        (_upload(api, file, initial_state={"source": "catalogue", "dataset": "nature-run"}), 422),
    ):
        assert response.status_code == status, response.text
        assert list(temporary.iterdir()) == []
    monkeypatch.setattr("jobs.submit.SummaryStore.create", lambda *_: 1 / 0)
    assert _upload(api, file).status_code == 500
    assert list(temporary.iterdir()) == []


def test_the_same_upload_under_the_same_key_is_the_same_forecast(api: InProcess, tmp_path: Path) -> None:
    content = _state(tmp_path)
    text = json.dumps(small_request(initial_state={"source": "upload"}))

    def post() -> httpx.Response:
        return api.post(
            "/v1/forecast",
            data={"request": text},
            files=[("initial_state", ("state.nc", content))],
            headers={"Idempotency-Key": "upload"},
        )

    first, again = post(), post()
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]


@pytest.fixture
def finished(api: InProcess, database: Database) -> ForecastRecord:
    """A successful forecast of the members 0 to 4 of the checkpoint `untrained`."""
    view = _accepted(api, members=5, seed=11, priority="low", deadline_seconds=1000, output={"keep_bits": 7})
    return succeed(database, read_forecast(database, view["id"]))


def _replay(api: InProcess, record: ForecastRecord, *members: int, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return api.post(f"/v1/forecast/{record.id}/replay", json={"members": list(members)}, headers=headers)


def test_a_replay_is_the_same_forecast_of_some_members_stored_exactly(
    api: InProcess, database: Database, finished: ForecastRecord
) -> None:
    mode = Mode(compiled=True, precision="bfloat16")
    with database.write() as connection:
        settle_mode(connection, finished.id, mode)
    response = _replay(api, finished, 4, 1)
    assert response.status_code == 202, response.text
    record = read_forecast(database, response.json()["id"])
    replayed, earlier = record.request, finished.request
    assert record.mode == mode
    assert (replayed.numbers, replayed.members) == ((1, 4), 2)
    assert (replayed.output.is_exact, replayed.deadline_seconds) == (True, None)
    for field in ("seed", "sampling", "lead_hours", "init_time", "checkpoint_digest", "initial_state_digest"):
        assert getattr(replayed, field) == getattr(earlier, field), field
    assert response.json()["priority"] == "low"


def test_a_replay_of_a_replay_keeps_the_numbers_of_its_members(
    api: InProcess, database: Database, finished: ForecastRecord
) -> None:
    first = read_forecast(database, _replay(api, finished, 1, 3, 4).json()["id"])
    second = _replay(api, first, 3)
    assert read_forecast(database, second.json()["id"]).request.numbers == (3,)
    _refused(_replay(api, first, 2), 422, "validation")


def test_a_replay_can_be_repeated_under_its_key(api: InProcess, finished: ForecastRecord) -> None:
    first, again = _replay(api, finished, 2, key="r"), _replay(api, finished, 2, key="r")
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    _refused(_replay(api, finished, 3, key="r"), 422, "idempotency-key-reuse")


def test_a_forecast_whose_data_is_deleted_cannot_be_replayed(api: InProcess, finished: ForecastRecord) -> None:
    assert api.delete(f"/v1/forecast/{finished.id}").status_code == 204
    _refused(_replay(api, finished, 1), 410, "data-gone")


def test_a_forecast_of_a_checkpoint_that_changed_or_was_removed_cannot_be_replayed(
    limited: Limited, database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    write_tiny_checkpoint(folder / "changing", trained=False)
    api = limited(checkpoints=str(folder))
    view = _accepted(api, model="changing", members=1)
    record = succeed(database, read_forecast(database, view["id"]))
    shutil.rmtree(folder / "changing")
    _refused(_replay(api, record, 0), 404, "no-such-model")
    write_tiny_checkpoint(folder / "changing", trained=True)
    assert "has changed" in _refused(_replay(api, record, 0), 422, "validation")["detail"]
