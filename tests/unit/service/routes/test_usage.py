"""What keys have used: counted as it happens, for the caller, and for operators."""

from typing import Any

import pytest

from jobs.rows.database import Database
from jobs.rows.states import Role
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


@pytest.mark.parametrize("days", ["0", "-1", "many", "4000"])
def test_a_number_of_days_that_is_not_possible_is_refused(api: InProcess, days: str) -> None:
    refused = api.get(f"/v1/usage?days={days}")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "?days")
