"""Initial states that callers keep: made of files, the catalogue and forecasts; used, listed, read and deleted."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr
import zarr
from sqlalchemy import select, update

from jobs.folders import ForecastFolder, state_folder
from jobs.forecasts import ForecastRecord
from jobs.request import Output
from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.rows.tables import forecasts, kept_states
from jobs.settings import Settings
from models.testing import tiny_spec, write_tiny_checkpoint
from service.app import create_app
from tests.in_process import InProcess, run_in_process
from tests.rows import create_key, read_forecast
from tests.served import small_request
from tests.stored_files import write_lead_times
from weather.ingest.exchange import load_initial_state
from weather.stores.ensemble import EnsembleStore
from weather.testing import travelling_waves

Submit = Callable[..., ForecastRecord]

SECOND = np.datetime64("2018-09-15T00", "s")


@pytest.fixture
def frames(tmp_path: Path) -> bytes:
    times = [SECOND - np.timedelta64(6, "h"), SECOND]
    travelling_waves(tiny_spec().grid.grid, times).to_netcdf(tmp_path / "state.nc")
    return (tmp_path / "state.nc").read_bytes()


@pytest.fixture
def at_two_lead_times(
    submit_forecast: Submit, database: Database, tmp_path: Path
) -> Callable[..., tuple[ForecastRecord, dict[int, list[Any]]]]:
    """Submit a forecast of which two of four lead times are complete; return its record and their fields."""

    def submit(status: Status = Status.RUNNING, **fields: Any) -> tuple[ForecastRecord, dict[int, list[Any]]]:
        record = submit_forecast(checkpoint="untrained", **fields)
        store = EnsembleStore.open(ForecastFolder(tmp_path, record.id).store)
        written = write_lead_times(store, range(2))
        with database.write() as connection:
            values = {"lead_times": 2, "status": status}
            connection.execute(update(forecasts).where(forecasts.c.id == record.id).values(values))
        return read_forecast(database, record.id), written

    return submit


def _upload(api: InProcess, content: bytes, request: Any = None, **headers: str) -> httpx.Response:
    parts: dict[str, Any] = {"initial_state": ("a.nc", content)}
    parts["request"] = (None, json.dumps({"model": "untrained"} if request is None else request))
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.post("/v1/states", files=parts, headers=headers)


def _derive(api: InProcess, record: ForecastRecord, **fields: Any) -> httpx.Response:
    return api.post("/v1/states", json={"source": "forecast", "id": record.id} | fields)


@pytest.fixture
def keep(api: InProcess, submit_forecast: Submit) -> Callable[..., httpx.Response]:
    """Keep the initial state of a new forecast, which takes no parser; headers by name."""

    def keep(owner: str = "local", **headers: str) -> httpx.Response:
        record = submit_forecast(checkpoint="untrained", owner=owner)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return api.post("/v1/states", json={"source": "forecast", "id": record.id}, headers=headers)

    return keep


Keep = Callable[..., httpx.Response]


def _problem(response: httpx.Response) -> tuple[int, str, list[str]]:
    problem = response.json()
    return response.status_code, problem["type"].rpartition("/")[2], [part["pointer"] for part in problem["errors"]]


def test_uploaded_files_are_kept_under_an_id_and_described(api: InProcess, frames: bytes, tmp_path: Path) -> None:
    made = _upload(api, frames)
    assert made.status_code == 201, made.text
    view = made.json()
    assert made.headers["Location"] == f"http://localhost/v1/states/{view['id']}"
    assert api.get(f"/v1/states/{view['id']}").json() == view == api.get("/states").json()["states"][0]
    assert (view["init_time"], view["variables"], view["frames"]) == ("2018-09-15T00:00:00", ["u10", "v10"], 2)
    assert [source["file"] for source in view["choice"]] == ["a.nc", "a.nc"]
    assert (view["sources"], view["expires"], view["analyses"]) == (["a.nc"], None, 1)
    folder = state_folder(tmp_path, view["id"])
    assert load_initial_state(folder).digest == view["digest"]
    assert view["bytes"] == sum(size for _, size in folder.files())


def test_a_forecast_starts_from_it_with_the_same_values_as_from_its_other_source(
    api: InProcess, submit_forecast: Submit
) -> None:
    source = {"source": "forecast", "id": submit_forecast(checkpoint="untrained").id}
    state = api.post("/v1/states", json=source).json()
    ids = []
    for initial_state in (source, {"source": "state", "id": state["id"]}):
        submitted = api.post("/v1/forecast", json=small_request(seed=1) | {"initial_state": initial_state})
        assert submitted.status_code == 202, submitted.text
        ids.append(submitted.json()["id"])
    with api.app.state.service.database.read() as connection:
        query = select(forecasts.c.request_digest).where(forecasts.c.id.in_(ids))
        digests = [row[0] for row in connection.execute(query)]
    assert len(digests) == 2
    assert digests[0] == digests[1]


def test_a_deleted_state_leaves_the_forecasts_that_started_from_it(api: InProcess, keep: Keep, tmp_path: Path) -> None:
    state_id = keep().json()["id"]
    body = small_request() | {"initial_state": {"source": "state", "id": state_id}}
    forecast = api.post("/v1/forecast", json=body).json()
    assert forecast["request"]["initial_state"] == {"source": "forecast", "id": forecast["id"]}
    assert api.delete(f"/v1/states/{state_id}").status_code == 204
    assert not state_folder(tmp_path, state_id).exists()
    assert _problem(api.get(f"/v1/states/{state_id}")) == (404, "no-such-state", [])
    assert _problem(api.delete(f"/v1/states/{state_id}")) == (404, "no-such-state", [])
    refused = api.post("/v1/forecast", json=body)
    assert _problem(refused) == (422, "validation", ["/initial_state/id"])
    assert api.post("/v1/forecast", json=forecast["request"]).status_code == 202


def test_a_lead_time_of_a_member_is_its_two_frames(
    api: InProcess, at_two_lead_times: Callable[..., Any], tmp_path: Path
) -> None:
    record, written = at_two_lead_times()
    made = _derive(api, record, lead_time="12h", member=3)
    assert made.status_code == 201, made.text
    state = load_initial_state(state_folder(tmp_path, made.json()["id"]))
    expected = [written[lead_index][1][1:2] for lead_index in (1, 0)]
    np.testing.assert_array_equal(state.frames, expected)
    assert made.json()["init_time"] == "2018-09-15T12:00:00"
    assert made.json()["sources"] == [f"{record.id}/member-3/12h"]
    first = _derive(api, record, lead_time="6h", member=0).json()
    state = load_initial_state(state_folder(tmp_path, first["id"]))
    initial = load_initial_state(ForecastFolder(tmp_path, record.id).initial_state)
    np.testing.assert_array_equal(state.frames, [written[0][0][:1], initial.newest])


def test_without_a_lead_time_it_is_the_state_that_the_forecast_started_from(
    api: InProcess, at_two_lead_times: Callable[..., Any]
) -> None:
    record, _ = at_two_lead_times()
    made = _derive(api, record).json()
    assert (made["digest"], made["sources"]) == (record.request.initial_state_digest, list(record.request.sources))


def test_rounded_members_are_a_warning_of_the_state_and_of_its_forecasts(
    api: InProcess, at_two_lead_times: Callable[..., Any]
) -> None:
    record, _ = at_two_lead_times(output=Output(keep_bits=10))
    made = _derive(api, record, lead_time="6h", member=0).json()
    assert any("rounded to 10 bits" in warning for warning in made["warnings"])
    body = small_request() | {"initial_state": {"source": "state", "id": made["id"]}}
    warnings = api.post("/v1/forecast", json=body).json()["warnings"]
    assert any("rounded to 10 bits" in warning["message"] for warning in warnings)


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        (Status.RUNNING, {"lead_time": "18h", "member": 0}, (409, "not-finished", ["/lead_time"])),
        (Status.FAILED, {"lead_time": "18h", "member": 0}, (409, "unsuccessful", ["/lead_time"])),
        (Status.RUNNING, {"lead_time": "30h", "member": 0}, (422, "validation", ["/lead_time"])),
        (Status.RUNNING, {"lead_time": "7h", "member": 0}, (422, "validation", ["/lead_time"])),
        (Status.RUNNING, {"lead_time": "6h", "member": 5}, (422, "validation", ["/member"])),
        (Status.RUNNING, {"lead_time": "6h"}, (422, "validation", [""])),
        (Status.RUNNING, {"member": 1}, (422, "validation", [""])),
        (Status.RUNNING, {"leadtime": "6h"}, (422, "validation", ["/leadtime"])),
    ],
)
def test_what_a_forecast_does_not_have_is_refused(
    api: InProcess, at_two_lead_times: Callable[..., Any], status: Status, fields: Any, expected: Any
) -> None:
    record, _ = at_two_lead_times(status)
    assert _problem(_derive(api, record, **fields)) == expected
    assert api.get("/states").json()["states"] == []


def test_members_that_are_not_stored_cannot_be_kept(api: InProcess, submit_forecast: Submit) -> None:
    record = submit_forecast(checkpoint="untrained", output=Output(members=False))
    refused = _derive(api, record, lead_time="6h", member=0)
    assert _problem(refused) == (422, "validation", ["/id"])
    assert "stores only its summary" in refused.json()["detail"]


def test_a_lost_member_cannot_be_kept(api: InProcess, submit_forecast: Submit, database: Database) -> None:
    record = submit_forecast(checkpoint="untrained")
    store = EnsembleStore.open(ForecastFolder(api.app.state.service.data, record.id).store)
    write_lead_times(store, range(1), fill=np.nan)
    with database.write() as connection:
        connection.execute(update(forecasts).values(lead_times=1))
    refused = _derive(api, record, lead_time="6h", member=0)
    assert _problem(refused) == (422, "validation", ["/member"])
    assert "is lost at 2018-09-15T06" in refused.json()["detail"]


def test_a_state_of_another_grid_is_refused_with_all_reasons(api: InProcess, keep: Keep, database: Database) -> None:
    state = keep().json()
    with database.write() as connection:
        row = connection.execute(select(kept_states.c.description)).scalar_one()
        changed = row | {"grid_digest": "0" * 64, "variables": ["u10"], "time_step_hours": 12, "frames": 1}
        connection.execute(update(kept_states).values(description=changed))
    body = small_request() | {"initial_state": {"source": "state", "id": state["id"]}}
    refused = api.post("/v1/forecast", json=body)
    assert _problem(refused) == (422, "state-incompatible", ["/initial_state"])
    for part in ("needs the variables u10, v10, the state has u10", "grid", "6 h apart", "needs 2 frames"):
        assert part in refused.json()["detail"], part


def test_another_checkpoint_of_the_same_grid_can_use_it(api: InProcess, keep: Keep, settings: Settings) -> None:
    other = Path(settings.storage.checkpoints) / "other"
    write_tiny_checkpoint(other, name="other", trained=False)
    try:
        state = keep().json()
        body = small_request() | {"model": "other", "initial_state": {"source": "state", "id": state["id"]}}
        assert api.post("/v1/forecast", json=body).status_code == 202
    finally:
        shutil.rmtree(other)  # the checkpoints are those of all tests


@pytest.mark.parametrize(
    ("request_part", "expected"),
    [
        ({"model": "nobody"}, (404, "no-such-model", ["/model"])),
        ({"model": "untrained", "init_time": "noon"}, (422, "validation", ["/init_time"])),
        ({"model": "untrained", "init_tim": "x"}, (422, "validation", ["/init_tim"])),
        ({"model": "untrained", "init_time": "2018-09-16T00"}, (422, "state-incompatible", ["/initial_state"])),
        ([], (422, "validation", [""])),
    ],
)
def test_wrong_fields_of_an_upload_are_named(api: InProcess, frames: bytes, request_part: Any, expected: Any) -> None:
    assert _problem(_upload(api, frames, request_part)) == expected


def test_other_forms_and_types_are_refused(api: InProcess, frames: bytes) -> None:
    for options in ({"files": {"truth": ("a.nc", frames)}}, {"files": {"initial_state": (None, "text")}}):
        assert _problem(api.post("/v1/states", **options)) == (422, "validation", ["/initial_state"])
    assert _problem(api.post("/v1/states", content=b"CDF", headers={"Content-Type": "application/x-netcdf"}))[0] == 415
    assert _problem(api.post("/v1/states", json={"source": "upload"}))[:2] == (422, "validation")
    assert _problem(_upload(api, b"Dear sirs"))[:2] == (415, "input-unsupported")


def test_a_key_makes_one_state_and_no_other(api: InProcess, submit_forecast: Submit, tmp_path: Path) -> None:
    source, headers = {"source": "forecast", "id": submit_forecast(checkpoint="untrained").id}, {"Idempotency-Key": "k"}
    first, again = (api.post("/v1/states", json=source, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code, again.headers["Idempotent-Replayed"]) == (201, 200, "true")
    assert first.json() == again.json()
    assert len([*(tmp_path / "states").iterdir()]) == 1
    later = {"source": "catalogue", "dataset": "gfs", "model": "untrained"}
    other = api.post("/v1/states", json=later, headers={"Idempotency-Key": "k"})
    assert _problem(other)[:2] == (422, "idempotency-key-reuse")


def test_pages_lead_from_the_newest_to_the_oldest(api: InProcess, keep: Keep) -> None:
    made = [keep().json()["id"] for _ in range(3)]
    first = api.get("/v1/states?limit=2").json()
    links = {link["rel"]: link["href"] for link in first["links"]}
    second = api.get(links["next"]).json()
    assert [state["id"] for state in first["states"] + second["states"]] == made[::-1]
    assert [link["rel"] for link in second["links"]] == ["self"]
    assert api.get("/v1/states?before=st_none").json()["states"] == []


def test_the_frames_can_be_read_as_a_zarr_store(api: InProcess, keep: Keep, tmp_path: Path) -> None:
    state_id = keep().json()["id"]
    home, files = f"/v1/states/{state_id}/state.zarr", dict[str, Any]()
    root = api.get(f"{home}/zarr.json")
    assert root.headers["Access-Control-Allow-Origin"] == "*"
    names = ["zarr.json", *(f"{name}/c.{index}" for name in ("time", "latitude", "longitude") for index in (0,))]
    names += [f"{name}/c.{index}.0.0" for name in ("u10", "v10") for index in (0, 1)]
    for name in names:
        files[name] = zarr.core.buffer.cpu.Buffer.from_bytes(api.get(f"{home}/{name}").content)
    dataset = xr.open_zarr(zarr.storage.MemoryStore(files)).load()
    state = load_initial_state(state_folder(tmp_path, state_id))
    np.testing.assert_array_equal(dataset.u10.values, [frame[0, 0] for frame in state.frames[::-1]])
    assert dataset.time.values[-1] == state.init_time
    assert api.request("OPTIONS", f"{home}/zarr.json").status_code == 204
    assert _problem(api.get(f"{home}/grid.json")) == (404, "not-found", [])


def test_another_key_neither_sees_nor_uses_nor_deletes_a_state(
    api: InProcess, keep: Keep, database: Database, at_two_lead_times: Callable[..., Any]
) -> None:
    keys = [create_key(database, name) for name in ("one", "two")]
    one, two = ({"PRIVATE-TOKEN": secret} for _, secret in keys)
    record, _ = at_two_lead_times(owner=keys[0][0].id)
    state_id = keep(keys[0][0].id, Idempotency_Key="k", **one).json()["id"]
    assert api.get("/states", headers=two).json()["states"] == []
    assert api.get(f"/states?before={state_id}", headers=two).json()["states"] == []
    for method, path in (("GET", ""), ("HEAD", ""), ("DELETE", ""), ("GET", "/state.zarr/zarr.json")):
        assert api.request(method, f"/states/{state_id}{path}", headers=two).status_code == 404, (method, path)
    body = small_request() | {"initial_state": {"source": "state", "id": state_id}}
    unknown = small_request() | {"initial_state": {"source": "state", "id": "st_0"}}
    details = [api.post("/forecast", json=given, headers=two).json()["detail"] for given in (body, unknown)]
    assert details[0].replace(state_id, "st_0") == details[1]
    assert keep(keys[1][0].id, Idempotency_Key="k", **two).status_code == 201
    derived = {"source": "forecast", "id": record.id, "lead_time": "6h", "member": 0}
    assert api.post("/states", json=derived, headers=two).status_code == 422
    assert api.get(f"/states/{state_id}", headers=one).status_code == 200


def test_limits_count_states_and_their_bytes(settings: Settings, database: Database, submit_forecast: Submit) -> None:
    key, secret = create_key(database, "one")
    headers = {"PRIVATE-TOKEN": secret}
    source = {"source": "forecast", "id": submit_forecast(checkpoint="untrained", owner=key.id).id}
    with run_in_process(create_app(settings.replace(max_states=1), with_worker=False)) as api:
        before = {limit["name"]: limit for limit in api.get("/limits", headers=headers).json()["limits"]}
        view = api.post("/states", json=source, headers=headers).json()
        limits = {limit["name"]: limit for limit in api.get("/limits", headers=headers).json()["limits"]}
        assert (limits["states"]["value"], limits["states"]["used"]) == (1, 1)
        assert limits["kept_bytes"]["used"] == before["kept_bytes"]["used"] + view["bytes"]
        refused = api.post("/states", json=source, headers=headers)
        assert _problem(refused)[:2] == (403, "limit-exceeded")
        assert refused.json()["limit"]["name"] == "states"
        assert len([*(settings.storage.data / "states").iterdir()]) == 1
    with run_in_process(create_app(settings.replace(key_kept_bytes=100), with_worker=False)) as api:
        assert api.post("/states", json=source, headers=headers).json()["limit"]["name"] == "kept_bytes"
        assert len([*(settings.storage.data / "states").iterdir()]) == 1


def test_a_full_disk_refuses_a_state_before_it_is_written(api: InProcess, settings: Settings, keep: Keep) -> None:
    api.app.state.service = replace(api.app.state.service, settings=settings.replace(reserve_bytes=2**62))
    assert _problem(keep())[:2] == (507, "insufficient-storage")
    assert not (settings.storage.data / "states").exists()


def test_a_damaged_state_is_refused_without_its_path(api: InProcess, keep: Keep, tmp_path: Path) -> None:
    state_id = keep().json()["id"]
    (state_folder(tmp_path, state_id) / "initial_state.npy").write(b"damaged")
    body = small_request() | {"initial_state": {"source": "state", "id": state_id}}
    for response in (api.post("/forecast", json=body), api.get(f"/states/{state_id}/state.zarr/zarr.json")):
        assert _problem(response)[:2] == (409, "damaged")
        assert str(tmp_path) not in response.text
