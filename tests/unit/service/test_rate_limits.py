"""Header fields that say what is left of a key's limits."""

import time

import httpx
import pytest

from jobs.errors import LimitState
from jobs.rows.database import Database
from service.rate_limits import rate_limit_headers
from tests.in_process import InProcess
from tests.rows import create_key
from tests.served import small_request
from tests.structured_fields import parse_list

UNITS = {"requests", "content-bytes", "concurrent-requests"}
"""The units of the draft; others must begin with the name of the service."""


def _check_fields(headers: httpx.Headers) -> None:
    """Check both fields of a response against sections 3.1 and 4.1 of the draft."""
    policies = dict(parse_list(headers["ratelimit-policy"]))
    for name, policy in policies.items():
        assert isinstance(name, str)
        assert policy.keys() <= {"q", "qu", "w"}
        assert type(policy["q"]) is int
        assert int(policy["q"]) >= 0
        assert policy["qu"] in UNITS or str(policy["qu"]).startswith("warmcast-")
        assert type(policy.get("w", 1)) is int
        assert int(policy.get("w", 1)) > 0
    for name, limit in parse_list(headers["ratelimit"]):
        assert limit.keys() <= {"r", "t"}
        assert "w" in policies[name] or "t" not in limit
        assert all(type(value) is int and value >= 0 for value in limit.values())
        assert int(limit["r"]) <= int(policies[name]["q"])
        assert int(headers.get("retry-after", 2**31)) >= int(limit.get("t", 0))


def _remaining(headers: httpx.Headers) -> dict[str, int]:
    """Return what remains of each limit."""
    _check_fields(headers)
    return {str(name): int(limit["r"]) for name, limit in parse_list(headers["ratelimit"])}


def test_submissions_and_limits_tell_what_is_left(api: InProcess, database: Database) -> None:
    _, secret = create_key(database, "desk", {"open_forecasts": 2, "day_evaluations": 1000})
    headers = {"PRIVATE-TOKEN": secret}
    before = api.get("/limits", headers=headers).headers
    assert before["ratelimit-policy"].startswith(
        '"open_forecasts";q=2;qu="concurrent-requests", '
        '"day_evaluations";q=1000;qu="warmcast-evaluations";w=86400, "kept_bytes";q='
    )
    left = _remaining(before)
    assert (left["open_forecasts"], left["day_evaluations"]) == (2, 1000)
    accepted = api.post("/v1/forecast", json=small_request(), headers=headers)
    after = _remaining(accepted.headers)
    assert accepted.status_code == 202
    assert after["open_forecasts"] == 1
    assert after["day_evaluations"] < 1000
    assert after["kept_bytes"] < left["kept_bytes"]
    listed = _remaining(api.get("/limits", headers=headers).headers)
    assert listed == after | {"states": left["states"]}
    polled = api.get(f"/v1/forecast/{accepted.json()['id']}", headers=headers)
    assert "ratelimit" not in polled.headers
    api.post("/v1/forecast", json=small_request(), headers=headers)
    refused = api.post("/v1/forecast", json=small_request(), headers=headers)
    assert (refused.status_code, refused.headers["ratelimit"]) == (429, '"open_forecasts";r=0')
    _check_fields(refused.headers)


def test_a_refusal_is_not_to_be_repeated_before_the_window_ends(api: InProcess, database: Database) -> None:
    _, secret = create_key(database, "desk", {"day_evaluations": 10})
    refused = api.post("/v1/forecast", json=small_request(), headers={"PRIVATE-TOKEN": secret})
    assert (refused.status_code, _remaining(refused.headers)) == (429, {"day_evaluations": 10})
    ((_, limit),) = parse_list(refused.headers["ratelimit"])
    assert 0 < int(limit["t"]) <= int(refused.headers["retry-after"]) <= 86400


@pytest.mark.parametrize("text", ["", '"a"', '"a;r=1', '"a";r=1,', '"a";R=1', '"a";r=1234567890123456', "a;r=1"])
def test_the_parser_of_these_tests_is_strict(text: str) -> None:
    if text == '"a"':
        assert parse_list(f'{text};r=-1;pk=:AQ==:;on , "b\\"c"') == [
            ("a", {"r": -1, "pk": b"\1", "on": True}),
            ('b"c', {}),
        ]
    else:
        with pytest.raises(ValueError, match="expected"):
            parse_list(text)


def test_without_a_key_there_is_nothing_to_tell(api: InProcess) -> None:
    assert "ratelimit" not in api.get("/limits").headers
    assert "ratelimit" not in api.post("/v1/forecast", json=small_request()).headers


def test_a_number_is_never_too_large_or_below_zero() -> None:
    states = [LimitState("day_evaluations", 10**18, 5, time.time() - 1), LimitState("kept_bytes", 5, 9)]
    headers = rate_limit_headers([*states, LimitState("uploads", 4), LimitState("open_forecasts", None, 3)])
    assert headers["RateLimit"] == '"day_evaluations";r=999999999999999;t=0, "kept_bytes";r=0'
