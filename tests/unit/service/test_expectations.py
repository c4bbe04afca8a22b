"""A body that is slightly wrong: the message names what is accepted at that place."""

import json
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError

from service.bodies import validate_body
from service.requests import ForecastBody
from weather.schema import error_detail


def _messages(body: dict[str, Any]) -> dict[str, str]:
    """Return the messages of a body's errors by their places."""
    with pytest.raises(RequestValidationError) as caught:
        validate_body(ForecastBody, json.dumps(body).encode())
    return {"/".join(map(str, entry["loc"][1:])): error_detail(entry) for entry in caught.value.errors()}


@pytest.mark.parametrize(
    ("body", "place", "message"),
    [
        ({"leadtime": "6h"}, "leadtime", "model, lead_time, members, "),
        ({"sampler": {"steps": 2}}, "sampler/steps", "Unknown field. Expected one of: solver, nfe, warmth. Got: 2."),
        (
            {"summary": {"exceedance": [{"threshold": 1}]}},
            "summary/exceedance/0/threshold",
            "Unknown field. Expected one of: variable, op, value. Got: 1.",
        ),
        (
            {"initial_state": {"source": "state", "name": "x"}},
            "initial_state/state/name",
            "Unknown field. Expected one of: source, id. Got: 'x'.",
        ),
        (
            {"initial_state": {}},
            "initial_state",
            "The field 'source' must be one of: catalogue, forecast, state, upload. Got: {}.",
        ),
        ({"lead_time": 6}, "lead_time", "Input should be a valid string, such as '120h' or '5d'. Got: 6."),
        ({"seed": "x"}, "seed", "Input should be a valid integer. Got: 'x'."),
    ],
)
def test_a_message_says_what_is_accepted(body: dict[str, Any], place: str, message: str) -> None:
    assert message in _messages(body)[place]
