"""Batches: submitted whole or not at all, with the limits of all parts; read, listed, cancelled and deleted as one."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.rows.tables import api_keys, batches, forecasts
from tests.in_process import InProcess
from tests.rows import create_key
from weather.ingest.exchange import load_initial_state

DAYS = ("2018-09-15T00:00:00", "2018-09-16T00:00:00", "2018-09-17T00:00:00")
Submit = Callable[..., ForecastRecord]


@pytest.fixture
def sources(submit_forecast: Submit) -> list[dict[str, str]]:
    """States of three days: those of three forecasts."""
    return [{"source": "forecast", "id": submit_forecast(init_time=day).id} for day in DAYS]


def batch_of(sources: Sequence[Any], **fields: Any) -> dict[str, Any]:
    body = {"model": "untrained", "members": 3, "lead_time": "12h", "seed": 7, "sampler": {"nfe": 2}}
    return body | {"initial_states": list(sources)} | fields


def submit(api: InProcess, sources: Sequence[Any], **options: Any) -> dict[str, Any]:
    response = api.post("/v1/batch", json=batch_of(sources), **options)
    assert response.status_code == 202, response.text
    view: dict[str, Any] = response.json()
    assert response.headers["Location"].endswith(f"/v1/batch/{view['id']}")
    return view


def _count(database: Database) -> tuple[int, int]:
    with database.read() as connection:
        ids = connection.scalars(select(forecasts.c.id)).all(), connection.scalars(select(batches.c.id)).all()
    return len(ids[0]), len(ids[1])


def _folders(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "forecasts").iterdir()}


def test_the_parts_of_a_batch_are_forecasts_that_differ_in_their_states_alone(
    api: InProcess, sources: list[dict[str, str]]
) -> None:
    view = submit(api, sources)
    assert (view["status"], view["num_parts"], view["counts"]) == ("accepted", 3, {"accepted": 3})
    assert view["init_times"] == [part["init_time"] for part in view["parts"]] == list(DAYS)
    assert [part["index"] for part in view["parts"]] == [0, 1, 2]
    parts = [api.get(part["href"]).json() for part in view["parts"]]
    assert {part["batch"] for part in parts} == {view["id"]}
    requests = [part["request"] for part in parts]
    for request in requests:
        del request["initial_state"]
    assert requests[0] == requests[1] == requests[2]
    assert requests[0]["seed"] == 7


def test_lists_have_parts_only_for_their_batch(api: InProcess, sources: list[dict[str, str]]) -> None:
    one, two = submit(api, sources), submit(api, sources[:1])
    assert {forecast["id"] for forecast in api.get("/forecast").json()["forecasts"]} == {
        source["id"] for source in sources
    }
    for batch in (one, two):
        address, found = f"/v1/forecast?batch={batch['id']}&limit=2", []
        while address:
            page = api.get(address).json()
            found += [forecast["id"] for forecast in page["forecasts"]]
            address = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
        assert sorted(found) == sorted(part["id"] for part in batch["parts"])
    listed = api.get("/v1/batch").json()
    assert [batch["id"] for batch in listed["batches"]] == [two["id"], one["id"]]
    first = api.get("/v1/batch?limit=1").json()
    assert [batch["id"] for batch in first["batches"]] == [two["id"]]
    (following,) = [link["href"] for link in first["links"] if link["rel"] == "next"]
    assert [batch["id"] for batch in api.get(following).json()["batches"]] == [one["id"]]


def test_a_batch_that_cannot_be_accepted_whole_leaves_nothing(
    api: InProcess, submit_forecast: Submit, sources: list[dict[str, str]], database: Database, tmp_path: Path
) -> None:
    other = submit_forecast(init_time="2018-09-18T00:00:00", checkpoint_digest="0" * 64)
    before, folders = _count(database), _folders(tmp_path)
    refused = api.post("/v1/batch", json=batch_of([*sources, {"source": "forecast", "id": other.id}]))
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/initial_states/3/id"]
    assert _count(database) == before
    assert _folders(tmp_path) == folders


def test_the_same_state_twice_is_refused_but_other_states_of_one_time_are_not(
    api: InProcess, sources: list[dict[str, str]]
) -> None:
    refused = api.post("/v1/batch", json=batch_of([*sources, sources[1]]))
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/initial_states/3"]
    assert "at 1 and 3" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("states", "pointers", "detail"),
    [
        ([], ["/initial_states"], "at least 1 item"),
        ([{"source": "upload"}], ["/initial_states/0"], "without files"),
        (
            [{"source": "forecast", "id": "fc_1"}, {"source": "catalogue", "dataset": "x"}],
            ["/initial_states/0/id", "/initial_states/1/dataset"],
            "fc_1",
        ),
        ({"dataset": "no", "init_times": ["2018-09-15"]}, ["/initial_states/dataset"], "Got: 'no'"),
        (
            {"dataset": "gfs", "init_times": {"start": "2018-09-15", "end": "2018-09-14"}},
            ["/initial_states/init_times/end"],
            "at or after",
        ),
        (
            {"dataset": "gfs", "init_times": {"start": "2018-09-15", "end": "2098-09-14", "step": "1h"}},
            ["/initial_states/init_times/end"],
            "at most 400",
        ),
        (
            {"dataset": "gfs", "init_times": {"start": "2018-09-15", "end": "2018-09-16", "step": "0h"}},
            ["/initial_states/init_times/step"],
            "Got: '0h'",
        ),
        ({"dataset": "gfs", "init_times": {"start": "x", "end": "y"}}, ["/initial_states/init_times/start"], "'x'"),
        ("gfs", ["/initial_states"], "Got: 'gfs'"),
    ],
)
def test_wrong_initial_states_are_named(api: InProcess, states: Any, pointers: list[str], detail: str) -> None:
    refused = api.post("/v1/batch", json=batch_of([]) | {"initial_states": states})
    assert refused.status_code == 422, refused.text
    assert [error["pointer"] for error in refused.json()["errors"]] == pointers, refused.text
    assert detail in refused.json()["detail"]


def test_a_range_of_times_of_a_data_set_is_a_batch(api: InProcess) -> None:
    states = {"dataset": "nature-run", "init_times": [_nature_time(api)]}
    listed = api.post("/v1/batch?validate_only=true", json=batch_of([]) | {"initial_states": states})
    assert listed.status_code == 200, listed.text
    estimate = listed.json()
    assert (estimate["num_parts"], estimate["network_evaluations"]) == (1, 3 * 2 * 3)
    time = states["init_times"][0]
    times = {"start": time, "end": time, "step": "1d"}
    ranged = api.post(
        "/v1/batch?validate_only=true", json=batch_of([]) | {"initial_states": states | {"init_times": times}}
    )
    assert ranged.json()["part"]["request"]["initial_state"]["init_time"].startswith(time[:13])
    assert api.get("/batch").json()["batches"] == []


def _nature_time(api: InProcess) -> str:
    return next(str(state["init_time"]) for state in api.get("/catalogue").json() if state["dataset"] == "nature-run")


def test_an_idempotency_key_submits_one_batch(
    api: InProcess, sources: list[dict[str, str]], database: Database, tmp_path: Path
) -> None:
    headers = {"Idempotency-Key": "hindcast"}
    first = submit(api, sources, headers=headers)
    counts, folders = _count(database), _folders(tmp_path)
    again = api.post("/v1/batch", json=batch_of(sources), headers=headers)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert [part["id"] for part in again.json()["parts"]] == [part["id"] for part in first["parts"]]
    other = api.post("/v1/batch", json=batch_of(sources, seed=8), headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reuse")
    assert _count(database) == counts
    assert _folders(tmp_path) == folders


def test_a_batch_without_places_for_all_parts_is_refused_whole(
    api: InProcess, sources: list[dict[str, str]], database: Database, tmp_path: Path
) -> None:
    counts, folders = _count(database), _folders(tmp_path)
    api.app.state.service.settings.limits.__dict__["max_open_forecasts"] = 5
    refused = api.post("/v1/batch", json=batch_of(sources))
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/queue-full")
    assert _count(database) == counts
    assert _folders(tmp_path) == folders


def test_the_status_of_a_batch_follows_its_parts(
    api: InProcess, sources: list[dict[str, str]], database: Database
) -> None:
    view = submit(api, sources)
    tags = set()
    for statuses, expected in (
        ("accepted accepted accepted", "accepted"),
        ("successful accepted accepted", "running"),
        ("successful running accepted", "running"),
        ("successful failed accepted", "running"),
        ("successful failed dismissed", "failed"),
        ("successful successful dismissed", "dismissed"),
        ("successful successful successful", "successful"),
    ):
        with database.write() as connection:
            for part, status in zip(view["parts"], statuses.split(), strict=True):
                is_done = status in {"successful", "failed", "dismissed"}
                values = {"status": status, "lead_times": 2 if status == "successful" else 0}
                values |= {"finished": 1e9 if is_done else None, "started": None if status == "accepted" else 1e9}
                connection.execute(update(forecasts).where(forecasts.c.id == part["id"]).values(**values))
        response = api.get(f"/v1/batch/{view['id']}")
        batch = response.json()
        assert batch["status"] == expected, statuses
        assert batch["progress_detail"]["lead_times"] == 2 * statuses.split().count("successful")
        is_open = expected in {"accepted", "running"}
        assert ("retry-after" in response.headers) == is_open
        assert (batch["finished"] is None) == is_open
        tags.add(response.headers["ETag"])
        unchanged = api.get(f"/v1/batch/{view['id']}", headers={"If-None-Match": response.headers["ETag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert len(tags) == 7


def test_a_batch_is_cancelled_then_deleted_as_one(
    api: InProcess, sources: list[dict[str, str]], tmp_path: Path
) -> None:
    view = submit(api, sources)
    cancelled = api.delete(f"/v1/batch/{view['id']}")
    assert (cancelled.status_code, cancelled.json()["counts"]) == (202, {"dismissed": 3})
    over = api.delete(f"/v1/batch/{view['id']}?keep_data=true")
    assert (over.status_code, over.json()["type"]) == (409, "/problems/batch-over")
    assert api.delete(f"/v1/batch/{view['id']}").status_code == 204
    ended = api.get(f"/v1/batch/{view['id']}").json()
    assert (ended["data"], {part["data"] for part in ended["parts"]}) == ("deleted", {"deleted"})
    assert not _folders(tmp_path) & {part["id"] for part in view["parts"]}
    assert {link["rel"] for link in ended["links"]} == {"self", "monitor"}


def test_a_failed_part_does_not_hold_up_the_others(
    api: InProcess, sources: list[dict[str, str]], database: Database
) -> None:
    view = submit(api, sources)
    with database.write() as connection:
        failed = update(forecasts).where(forecasts.c.id == view["parts"][1]["id"])
        connection.execute(failed.values(status=Status.FAILED, finished=1e9, error={"detail": "lost"}))
    batch = api.get(f"/v1/batch/{view['id']}").json()
    assert (batch["status"], batch["counts"]) == ("running", {"accepted": 2, "failed": 1})
    assert batch["parts"][1]["error"] == {"detail": "lost"}


def _every_request(batch_id: str) -> list[tuple[str, str]]:
    home = f"/v1/batch/{batch_id}"
    paths = [("GET", ""), ("HEAD", ""), ("DELETE", ""), ("DELETE", "?keep_data=true"), ("POST", "/restart")]
    paths += [("GET", "/events"), ("HEAD", "/events"), ("POST", "/verify"), ("GET", "/verifications")]
    return [(method, home + path) for method, path in paths]


def test_a_key_neither_sees_nor_changes_batches_of_another_key(
    api: InProcess, submit_forecast: Submit, database: Database
) -> None:
    keys = [create_key(database, name) for name in ("one", "two")]
    one, two = ({"Authorization": f"Bearer {secret}", "Idempotency-Key": "same"} for _, secret in keys)
    ids = [submit_forecast(owner=key.id, init_time=day).id for key, _ in keys for day in DAYS[:2]]
    own, foreign = ([{"source": "forecast", "id": name} for name in names] for names in (ids[2:], ids[:2]))
    view = submit(api, foreign, headers=one)
    refused = api.post("/v1/batch", json=batch_of(foreign), headers=two)
    missing = [{"source": "forecast", "id": "fc_" + "0" * 24}]
    unknown = api.post("/v1/batch", json=batch_of(missing), headers=two)
    assert refused.status_code == unknown.status_code == 422
    assert refused.json()["title"] == unknown.json()["title"]
    other = submit(api, own, headers=two)
    assert other["id"] != view["id"]
    for method, address in _every_request(view["id"]):
        denied, absent = (
            api.request(method, address.replace(view["id"], name), headers=two)
            for name in (view["id"], "ba_" + "0" * 24)
        )
        assert denied.status_code == absent.status_code == 404, (method, address)
        if method != "HEAD":
            for response, name in ((denied, view["id"]), (absent, "ba_" + "0" * 24)):
                assert response.json()["type"] == "/problems/no-such-batch"
                assert response.json()["detail"] == f"There is no batch {name!r}."
    assert [batch["id"] for batch in api.get("/batch", headers=two).json()["batches"]] == [other["id"]]
    assert api.get(f"/batch?before={view['id']}", headers=two).json()["batches"] == []
    assert api.get(f"/forecast?batch={view['id']}", headers=two).json()["forecasts"] == []
    assert api.get(f"/v1/batch/{view['id']}", headers=one).json()["status"] == "accepted"


def test_the_limits_of_a_key_count_all_parts(api: InProcess, submit_forecast: Submit, database: Database) -> None:
    key, secret = create_key(database, "one")
    headers = {"Authorization": f"Bearer {secret}"}
    sources = [{"source": "forecast", "id": submit_forecast(owner=key.id, init_time=day).id} for day in DAYS]
    for limit, value, kind, code in (
        ("open_forecasts", 2, "limit-exceeded", 403),
        ("open_forecasts", 5, "limit-reached", 429),
        ("day_evaluations", 3 * 60 + 53, "limit-reached", 429),
        ("kept_bytes", 1000, "limit-exceeded", 403),
    ):
        with database.write() as connection:
            connection.execute(update(api_keys).where(api_keys.c.id == key.id).values({limit: value}))
        refused = api.post("/v1/batch", json=batch_of(sources), headers=headers)
        assert (refused.status_code, refused.json()["type"]) == (code, f"/problems/{kind}"), (limit, refused.text)
        assert refused.json()["limit"]["name"] == limit
        assert "batch of 3" in refused.json()["detail"] or "initial_states" in refused.json()["detail"]
        with database.write() as connection:
            connection.execute(update(api_keys).where(api_keys.c.id == key.id).values({limit: None}))
    assert api.get("/batch", headers=headers).json()["batches"] == []
    assert api.post("/v1/batch", json=batch_of(sources), headers=headers).status_code == 202


def _end(database: Database, view: dict[str, Any], *statuses: str) -> None:
    with database.write() as connection:
        for part, status in zip(view["parts"], statuses, strict=True):
            values = {"status": status, "lead_times": 2 if status == "successful" else 0, "finished": 1e9}
            connection.execute(update(forecasts).where(forecasts.c.id == part["id"]).values(**values))


def test_a_restart_replaces_the_parts_that_failed_or_were_cancelled(
    api: InProcess, sources: list[dict[str, str]], database: Database, tmp_path: Path
) -> None:
    view = submit(api, sources)
    home = f"/v1/batch/{view['id']}"
    _end(database, view, "successful", "failed", "dismissed")
    old = [part["id"] for part in view["parts"]]
    before = [api.get(f"/v1/forecast/{name}").json()["request"] for name in old]
    response = api.post(f"{home}/restart")
    assert response.status_code == 202, response.text
    restarted = response.json()
    new = [part["id"] for part in restarted["parts"]]
    assert new[0] == old[0]
    assert not set(new[1:]) & set(old)
    assert restarted["counts"] == {"successful": 1, "accepted": 2}
    assert [part["init_time"] for part in restarted["parts"]] == list(DAYS)
    for index in (1, 2):
        request = api.get(f"/v1/forecast/{new[index]}").json()["request"]
        assert request | {"initial_state": None} == before[index] | {"initial_state": None}
        left = api.get(f"/v1/forecast/{old[index]}").json()
        assert (left["batch"], left["status"] in {"failed", "dismissed"}) == (None, True)
        folders = [ForecastFolder(tmp_path, name).initial_state for name in (old[index], new[index])]
        assert load_initial_state(folders[0]).digest == load_initial_state(folders[1]).digest
    again = api.post(f"{home}/restart")
    assert (again.status_code, [part["id"] for part in again.json()["parts"]]) == (200, new)


def test_a_restart_that_cannot_be_complete_changes_nothing(
    api: InProcess, sources: list[dict[str, str]], database: Database, tmp_path: Path
) -> None:
    view = submit(api, sources)
    _end(database, view, "failed", "failed", "successful")
    api.delete(f"/v1/forecast/{view['parts'][1]['id']}")
    counts, folders = _count(database), _folders(tmp_path)
    refused = api.post(f"/v1/batch/{view['id']}/restart")
    assert (refused.status_code, refused.json()["type"]) == (410, "/problems/data-gone")
    assert view["parts"][1]["id"] in refused.json()["detail"]
    assert (_count(database), _folders(tmp_path)) == (counts, folders)
    assert api.get(f"/v1/batch/{view['id']}").json()["counts"] == {"failed": 2, "successful": 1}


def test_two_restarts_at_once_replace_each_part_once(
    api: InProcess, sources: list[dict[str, str]], database: Database, tmp_path: Path
) -> None:
    view = submit(api, sources)
    _end(database, view, "failed", "successful", "failed")
    counts, folders = _count(database), len(_folders(tmp_path))
    futures = [api.start("POST", f"/v1/batch/{view['id']}/restart") for _ in range(3)]
    assert {future.result(60).status_code for future in futures} <= {200, 202}
    assert _count(database) == (counts[0] + 2, counts[1])
    assert len(_folders(tmp_path)) == folders + 2


def _stream(api: InProcess, batch_id: str, **headers: str) -> list[dict[str, str]]:
    response = api.get(f"/v1/batch/{batch_id}/events", headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in response.text.replace("\r\n", "\n").split("\n\n") if "event: " in block]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def test_the_events_of_a_batch_are_those_of_all_parts_and_end_with_them(
    api: InProcess, sources: list[dict[str, str]]
) -> None:
    view = submit(api, sources)
    api.delete(f"/v1/batch/{view['id']}")
    events = _stream(api, view["id"])
    assert [event["event"] for event in events] == ["accepted"] * 3 + ["dismissed"] * 3
    data = [json.loads(event["data"]) for event in events]
    expected = [(part["id"], part["index"]) for part in view["parts"]]
    assert [(entry["forecast_id"], entry["index"]) for entry in data] == expected * 2
    ids = [int(event["id"]) for event in events]
    assert ids == sorted(set(ids))
    assert [event["id"] for event in _stream(api, view["id"], **{"Last-Event-ID": str(ids[3])})] == [
        str(number) for number in ids[4:]
    ]
    assert api.head(f"/v1/batch/{view['id']}/events").status_code == 200
