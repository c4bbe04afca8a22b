"""What keys have used: counted as it happens, for the caller, and for operators."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Role
from jobs.rows.tables import kept_states
from tests.in_process import InProcess
from tests.rows import cancel_forecast, create_key
from tests.served import small_request


def _usage(api: InProcess, secret: str, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/v1/usage{query}", headers={"PRIVATE-TOKEN": secret}).json()["usage"]
    return found


def test_a_key_sees_its_own_usage_and_an_operator_that_of_all(api: InProcess, database: Database) -> None:
    (one, secret), (_, other) = create_key(database, "one"), create_key(database, "two")
    _, operator = create_key(database, "duty", role=Role.OPERATOR)
    ids = [
        api.post("/v1/forecast", json=small_request(), headers={"PRIVATE-TOKEN": each}).json()["id"]
        for each in (secret, secret, other)
    ]
    cancel_forecast(database, ids[0], one.id)
    (own,) = _usage(api, secret)
    expected = {"accepted": 2, "uploads": 0, "successful": 0, "failed": 0, "dismissed": 1, "evaluations": 0}
    assert (own["owner"], own["open_forecasts"], own["total"]) == (one.id, 1, expected)
    assert [{name: value for name, value in day.items() if name != "day"} for day in own["days"]] == [expected]
    assert own["kept_bytes"] > 0
    assert len(_usage(api, operator, "?owner=all")) == 2
    assert _usage(api, operator, f"?owner={one.id}") == [own]
    assert _usage(api, operator) == []
    for query in ("?owner=all", "?owner=key_0"):
        assert api.get(f"/v1/usage{query}", headers={"PRIVATE-TOKEN": other}).status_code == 403


def test_kept_bytes_have_the_kept_states_of_a_key_alone(
    api: InProcess, database: Database, submit_forecast: Callable[..., ForecastRecord]
) -> None:
    (one, secret), (two, other) = create_key(database, "one"), create_key(database, "two")
    _, operator = create_key(database, "duty", role=Role.OPERATOR)
    record = submit_forecast(checkpoint="untrained", owner=one.id)
    before = _usage(api, secret)[0]["kept_bytes"]
    headers = {"PRIVATE-TOKEN": secret}
    state = api.post("/v1/states", json={"source": "forecast", "id": record.id}, headers=headers).json()
    with database.write() as connection:
        size = connection.scalar(select(kept_states.c.size_bytes)) or 0
        values = {"id": "st_other", "owner": two.id, "size_bytes": 7}
        row = dict(connection.execute(select(kept_states)).mappings().one())
        connection.execute(insert(kept_states).values(row | values))
    assert size > 0
    assert _usage(api, secret)[0]["kept_bytes"] == before + size == _kept_bytes(api, secret)
    (only_states,) = _usage(api, other)
    assert (only_states["kept_bytes"], only_states["total"]["accepted"], only_states["days"]) == (7, 0, [])
    assert _kept_bytes(api, other) == 7
    assert [each["owner"] for each in _usage(api, operator, "?owner=all")] == sorted([one.id, two.id])
    assert api.delete(f"/v1/states/{state['id']}", headers=headers).status_code == 204
    assert _usage(api, secret)[0]["kept_bytes"] == before


def _kept_bytes(api: InProcess, secret: str) -> int:
    limits = api.get("/v1/limits", headers={"PRIVATE-TOKEN": secret}).json()["limits"]
    return int(next(each["used"] for each in limits if each["name"] == "kept_bytes"))


@pytest.mark.parametrize("days", ["0", "-1", "many", "4000"])
def test_a_number_of_days_that_is_not_possible_is_refused(api: InProcess, days: str) -> None:
    refused = api.get(f"/v1/usage?days={days}")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "?days")
