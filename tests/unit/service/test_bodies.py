import json
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError

from service.bodies import validate_body
from service.problems import ServiceError
from service.requests import ForecastBody, ReplayBody
from tests.in_process import InProcess
from tests.served import small_request

_LIMIT = 20


@pytest.mark.parametrize(
    "fields",
    [
        {"members": True},
        {"members": "3"},
        {"members": [True]},
        {"members": ["1"]},
        {"seed": True},
        {"seed": "1"},
        {"seed": 1.5},
        {"deadline_seconds": True},
        {"deadline_seconds": "60"},
        {"sampler": {"nfe": True}},
        {"sampler": {"nfe": "2"}},
        {"sampler": {"warmth": False}},
        {"output": {"members": 1}},
        {"output": {"members": "true"}},
        {"output": {"keep_bits": True}},
        {"summary": {"quantiles": [True]}},
        {"lead_time": 24},
        {"model": 1},
        {"priority": 0},
    ],
    ids=json.dumps,
)
def test_a_value_of_another_type_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestValidationError):
        validate_body(ForecastBody, json.dumps(small_request(**fields)).encode())


def test_whole_numbers_are_accepted_for_real_ones() -> None:
    body = validate_body(ForecastBody, json.dumps(small_request(deadline_seconds=60, sampler={"warmth": 1})).encode())
    assert (body.deadline_seconds, body.sampler.warmth) == (60, 1)


@pytest.mark.parametrize("content", [b'{"members": [1], "members": [2]}', b'{"members": [NaN]}', b"{'members': [1]}"])
def test_a_body_that_is_no_strict_json_is_refused(content: bytes) -> None:
    with pytest.raises(ServiceError, match="JSON"):
        validate_body(ReplayBody, content)


def test_both_routes_with_json_are_strict(api: InProcess) -> None:
    twice = json.dumps(small_request()).encode()[:-1] + b', "seed": 5}'
    response = api.post("/v1/forecast", content=twice, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (422, "/problems/validation")
    assert "'seed' more than once" in response.json()["detail"]


@pytest.mark.parametrize(
    "fields",
    [{f"field{number}": 1 for number in range(5000)}, {"members": [-1] * 1000}, {"x" * 90_000: 1}],
    ids=["unknown fields", "wrong items", "a long name"],
)
def test_a_problem_is_small_however_many_fields_are_wrong(api: InProcess, fields: dict[str, Any]) -> None:
    response = api.post("/v1/forecast", json=small_request(**fields))
    assert response.status_code == 422
    assert 1 <= len(response.json()["errors"]) <= _LIMIT
    assert len(response.content) < 40_000


@pytest.mark.parametrize("model", [ForecastBody, ReplayBody])
def test_a_body_with_very_many_faults_is_refused_without_naming_them(model: type[ForecastBody | ReplayBody]) -> None:
    with pytest.raises(ServiceError, match="too many to name them"):
        validate_body(model, json.dumps({"members": ["x"] * 1100}).encode())
