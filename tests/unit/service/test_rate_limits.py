"""Header fields that say what is left of a key's limits."""

import re
import time

from jobs.errors import LimitState
from jobs.rows.database import Database
from service.rate_limits import rate_limit_headers
from tests.in_process import InProcess
from tests.rows import create_key
from tests.served import small_request


def _remaining(field: str) -> dict[str, int]:
    """Return what remains of each limit, after a check that the field is a list of strings with parameters."""
    assert re.fullmatch(r'"\w+";r=\d{1,15}(;t=\d+)?(, "\w+";r=\d{1,15}(;t=\d+)?)*', field)
    return {name: int(number) for name, number in re.findall(r'"(\w+)";r=(\d+)', field)}


def test_submissions_and_limits_tell_what_is_left(api: InProcess, database: Database) -> None:
    _, secret = create_key(database, "desk", {"open_forecasts": 2, "day_evaluations": 1000})
    headers = {"PRIVATE-TOKEN": secret}
    before = api.get("/limits", headers=headers).headers
    assert before["ratelimit-policy"].startswith(
        '"open_forecasts";q=2;qu="forecasts", "day_evaluations";q=1000;qu="evaluations";w=86400, "kept_bytes";q='
    )
    left = _remaining(before["ratelimit"])
    assert (left["open_forecasts"], left["day_evaluations"]) == (2, 1000)
    accepted = api.post("/v1/forecast", json=small_request(), headers=headers)
    after = _remaining(accepted.headers["ratelimit"])
    assert accepted.status_code == 202
    assert after["open_forecasts"] == 1
    assert after["day_evaluations"] < 1000
    assert after["kept_bytes"] < left["kept_bytes"]
    listed = _remaining(api.get("/limits", headers=headers).headers["ratelimit"])
    assert listed == after | {"states": left["states"]}
    polled = api.get(f"/v1/forecast/{accepted.json()['id']}", headers=headers)
    assert "ratelimit" not in polled.headers
    api.post("/v1/forecast", json=small_request(), headers=headers)
    refused = api.post("/v1/forecast", json=small_request(), headers=headers)
    assert (refused.status_code, refused.headers["ratelimit"]) == (429, '"open_forecasts";r=0')


def test_without_a_key_there_is_nothing_to_tell(api: InProcess) -> None:
    assert "ratelimit" not in api.get("/limits").headers
    assert "ratelimit" not in api.post("/v1/forecast", json=small_request()).headers


def test_a_number_is_never_too_large_or_below_zero() -> None:
    states = [LimitState("day_evaluations", 10**18, 5, time.time() - 1), LimitState("kept_bytes", 5, 9)]
    headers = rate_limit_headers([*states, LimitState("uploads", 4), LimitState("open_forecasts", None, 3)])
    assert headers["RateLimit"] == '"day_evaluations";r=999999999999999;t=0, "kept_bytes";r=0'
