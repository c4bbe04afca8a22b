"""The audit log: changes with who made them, refusals by number, and nothing of secrets."""

from typing import Any

import pytest

from jobs.audit import Action, Refusal, delete_old_audit, list_audit
from jobs.key_commands import create_api_key, limit_api_key, list_api_keys, revoke_api_key, rotate_api_key, show_audit
from jobs.rows.database import Database
from jobs.rows.states import Role
from jobs.settings import Settings
from service.refusals import Refusals
from tests.clock import MovableClock
from tests.in_process import InProcess
from tests.rows import create_key
from tests.served import small_request


def _entries(api: InProcess, query: str = "", **headers: str) -> list[dict[str, Any]]:
    api.app.state.service.refusals.save()
    entries: list[dict[str, Any]] = api.get(f"/v1/audit{query}", headers=headers).json()["entries"]
    return entries


def test_each_change_has_an_entry_with_its_key_address_and_request(api: InProcess, database: Database) -> None:
    key, secret = create_key(database, "desk")
    operator, other = create_key(database, "duty", role=Role.OPERATOR)
    headers = {"PRIVATE-TOKEN": secret, "X-Request-ID": "request-of-desk"}
    forecast_id = api.post("/v1/forecast", json=small_request(), headers=headers).json()["id"]
    assert api.delete(f"/v1/forecast/{forecast_id}", headers={"PRIVATE-TOKEN": other}).status_code == 202
    assert api.delete(f"/v1/forecast/{forecast_id}", headers=headers).status_code == 204
    assert api.delete(f"/v1/forecast/{forecast_id}", headers=headers).status_code == 204
    second = api.post("/v1/forecast", json=small_request(), headers=headers).json()["id"]
    replayed = api.post(f"/v1/forecast/{second}/replay", json={"members": [0]}, headers=headers).json()["id"]
    entries = _entries(api, **{"PRIVATE-TOKEN": other})
    assert [(entry["action"], entry["key"], entry["role"], entry["subject"]) for entry in reversed(entries)] == [
        ("submit", key.id, "submitter", forecast_id),
        ("cancel", operator.id, "operator", forecast_id),
        ("delete", key.id, "submitter", forecast_id),
        ("submit", key.id, "submitter", second),
        ("replay", key.id, "submitter", replayed),
    ]
    assert {entry["address"] for entry in entries} == {"127.0.0.1"}
    assert entries[-1]["request_id"] == "request-of-desk"
    assert {entry["outcome"] for entry in entries} == {"done"}
    assert secret not in str(entries)


def test_a_change_that_fails_has_no_entry(api: InProcess) -> None:
    assert api.post("/v1/forecast", json=small_request() | {"members": 10**6}).status_code == 422
    assert api.delete("/v1/forecast/fc_none").status_code == 404
    assert _entries(api) == []


def test_refusals_are_counted_together(api: InProcess, database: Database) -> None:
    reader, secret = create_key(database, "screen", role=Role.READER, of="local")
    _, operator = create_key(database, "duty", role=Role.OPERATOR)
    for _ in range(3):
        api.get("/v1/forecast", headers={"PRIVATE-TOKEN": "wc_guess"})
        api.post("/v1/forecast", headers={"PRIVATE-TOKEN": secret})
    entries = _entries(api, **{"PRIVATE-TOKEN": operator})
    found = {(entry["key"], entry["outcome"], entry["address"], entry["number"]) for entry in entries}
    assert found == {("", "401", "127.0.0.1", 3), (reader.id, "403", "127.0.0.1", 3)}
    assert "wc_guess" not in str(entries)


def test_no_number_of_refusals_fills_the_disk(database: Database, clock: MovableClock) -> None:
    refusals = Refusals(database)
    for index in range(5000):
        refusals.count(Refusal("", None, f"192.0.2.{index}", 401))
    refusals.save()
    refusals.save()
    with database.write() as connection:
        entries = list_audit(connection, 1000)
        assert (len(entries), sum(entry.number for entry in entries)) == (101, 5000)
        delete_old_audit(connection, days=365, max_refused=10)
        assert [entry.id for entry in list_audit(connection, 1000)] == [entry.id for entry in entries[:10]]
    clock.advance(366 * 86400)
    with database.write() as connection:
        delete_old_audit(connection, days=365)
        assert list_audit(connection, 10) == []


def test_refusals_that_cannot_be_stored_are_kept(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = Refusals(database)
    refusals.count(Refusal("key_0", "reader", "192.0.2.1", 403))
    with monkeypatch.context() as away:
        away.setattr(database, "write", lambda: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            refusals.save()
    refusals.save()
    with database.read() as connection:
        assert [entry.number for entry in list_audit(connection, 10)] == [1]


def test_the_log_is_paged_and_filtered(api: InProcess, database: Database) -> None:
    numbers = [api.post("/v1/forecast", json=small_request()).json()["id"] for _ in range(3)]
    first = api.get("/v1/audit?limit=2").json()
    assert [entry["subject"] for entry in first["entries"]] == [numbers[2], numbers[1]]
    address = next(link["href"] for link in first["links"] if link["rel"] == "next")
    assert [entry["subject"] for entry in api.get(address).json()["entries"]] == [numbers[0]]
    assert len(_entries(api, "?key=local&since=2020-01-01T00:00:00Z")) == 3
    assert _entries(api, "?key=key_0") == []
    assert _entries(api, "?since=2100-01-01T00:00:00Z") == []
    wrong = api.get("/v1/audit?since=yesterday")
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "?since")


def test_commands_of_keys_are_entries_of_the_command_line(settings: Settings, database: Database) -> None:
    data = settings.storage.data
    key = create_api_key(name="desk", data=data)
    limit_api_key(key_id=key["id"], limits={"uploads": 1}, data=data)
    rotated = rotate_api_key(key_id=key["id"], overlap="1h", expires=None, data=data)
    for _ in range(2):
        revoke_api_key(key_id=key["id"], data=data)
    assert list_api_keys(data=data)["keys"][0]["revoked"]
    entries = show_audit(since="1h", key="cli", limit=10, data=data)["entries"]
    actions = [Action.REVOKE_KEY, Action.ROTATE_KEY, Action.LIMIT_KEY, Action.CREATE_KEY]
    assert [(entry["action"], entry["subject"]) for entry in entries] == [(action, key["id"]) for action in actions]
    assert rotated["secret"] not in str(entries)
