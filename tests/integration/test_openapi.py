"""Send random requests from the OpenAPI document, `--examples` a route, and check every response against it."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy, booleans, one_of
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.helpers import wait_until
from tests.in_process import describe_api
from tests.served import Served, small_request


@pytest.fixture(scope="module")
def bounded(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with low limits on members, lead time and open forecasts."""
    folder = tmp_path_factory.mktemp("bounded")
    limits = {"max_members": "4", "max_lead_hours": "12", "max_open_forecasts": "5"}
    served = Served(folder / "data", untrained_checkpoint.parent, **limits)
    served.wait_for_worker()
    yield served
    served.client.close()
    served.stop()


DOCUMENT = deepcopy(describe_api())
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {result.ok().label: result.ok() for result in SCHEMA.get_all_operations()}
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


def _either(operation: Any) -> SearchStrategy[Any]:
    """Return a strategy for requests that fit the document and, if the operation has inputs, that do not."""
    modes = [GenerationMode.POSITIVE]
    if operation.body or operation.query or operation.headers:
        modes.append(GenerationMode.NEGATIVE)
    return one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))


def _submit(bounded: Served) -> str:
    """Return the id of a new forecast; those that other tests submitted may fill the queue for a moment."""
    responses: list[Any] = []

    def is_accepted() -> bool:
        responses.append(bounded.client.post("/forecast", json=small_request(members=1, lead_time="6h")))
        return bool(responses[-1].status_code == HTTPStatus.ACCEPTED)

    wait_until(is_accepted)
    return str(responses[-1].json()["id"])


def _known_ids(bounded: Served, operation: Any) -> dict[str, str]:
    """Return the ids of a new forecast, and of a new batch or initial state if the path of the operation names one."""
    source = {"source": "forecast", "id": _submit(bounded)}
    known = {"forecast_id": source["id"]}
    if "{state_id}" in operation.path:
        kept = bounded.client.post("/v1/states", json=source)
        known["state_id"] = kept.raise_for_status().json()["id"]
    if "{batch_id}" in operation.path:
        bounded.wait(source["id"])
        body = small_request(members=1, lead_time="6h", initial_states=[source])
        del body["initial_state"]
        known["batch_id"] = bounded.client.post("/v1/batch", json=body).raise_for_status().json()["id"]
    return known


@pytest.mark.parametrize("label", [label for label in OPERATIONS if not label.endswith("/events")])
def test_every_response_conforms_to_the_document(request: pytest.FixtureRequest, bounded: Served, label: str) -> None:
    operation = OPERATIONS[label]
    known = _known_ids(bounded, operation)

    @seed(1987)
    @settings(
        max_examples=request.config.getoption("--examples"),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=_either(operation), of_known=booleans())
    def ask(case: Any, of_known: bool) -> None:
        if of_known:
            case.path_parameters.update({name: known[name] for name in known if name in case.path_parameters})
        case.validate_response(case.call(base_url=bounded.url, timeout=60), checks=CHECKS)

    ask()
    assert bounded.client.get("/healthz").status_code == 200


def test_the_document_contains_every_schema_that_it_references() -> None:
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(DOCUMENT)))
    assert named - set(DOCUMENT["components"]["schemas"]) == set()
    assert {"ForecastBody", "Problem"} <= named


def test_the_committed_document_is_current() -> None:
    committed = Path(__file__).parents[2] / "docs/openapi.json"
    assert json.loads(committed.read_text()) == DOCUMENT, "run: make openapi"
