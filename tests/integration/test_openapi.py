"""Send random requests from the OpenAPI document, `--examples` a route, and check every response against it."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import DataObject, SearchStrategy, data, one_of, sampled_from
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.authentication import KEY_HEADERS
from tests.in_process import describe_api
from tests.known_requests import KnownRequests
from tests.served import Served, write_truth


@pytest.fixture(scope="module")
def bounded(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with low limits on members, lead time and open forecasts."""
    folder = tmp_path_factory.mktemp("bounded")
    limits = {"max_members": "4", "max_lead_hours": "12", "max_open_forecasts": "5"}
    served = Served(folder / "data", untrained_checkpoint.parent, **limits)
    served.client.timeout = httpx.Timeout(120)
    served.wait_for_worker()
    yield served
    served.client.close()
    served.stop()


DOCUMENT = deepcopy(describe_api())
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {result.ok().label: result.ok() for result in SCHEMA.get_all_operations()}
WITHOUT_SUCCESS = {
    "POST /v1/forecast/{forecast_id}/verify",
    "POST /v1/batch/{batch_id}/verify",
    "POST /v1/inspect",
}
"""Operations that need files of weather."""
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


@pytest.fixture(scope="module")
def known(bounded: Served) -> KnownRequests:
    """What the service has, so that requests need not fail for want of it."""
    return KnownRequests(bounded)


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_response_conforms_to_the_document(
    request: pytest.FixtureRequest,
    bounded: Served,
    known: KnownRequests,
    label: str,
    record_property: Callable[[str, object], None],
) -> None:
    """A third of the requests is random, a third of them with ids that exist, and a third is right in all."""
    operation, statuses = OPERATIONS[label], Counter[int]()
    ids = known.fresh(operation)
    cases = known.cases(operation, ids)
    known.wait_for_space()

    @seed(1987)
    @settings(
        max_examples=request.config.getoption("--examples"),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data())
    def ask(draw: DataObject) -> None:
        kind = draw.draw(sampled_from(("right", "known", "random")))
        case = draw.draw(cases if kind == "right" else _either(operation))
        if kind == "known":
            named = [name for name in ids if name in case.path_parameters]
            case.path_parameters.update({name: draw.draw(sampled_from(ids[name])) for name in named})
            case.headers = {name: value for name, value in (case.headers or {}).items() if name not in KEY_HEADERS}
        response = case.call(base_url=bounded.url, timeout=120, allow_redirects=False)
        case.validate_response(response, checks=CHECKS)
        statuses[response.status_code] += 1

    ask()
    assert bounded.client.get("/healthz").status_code == 200
    record_property("statuses", dict(statuses))
    assert label in WITHOUT_SUCCESS or any(status < 400 for status in statuses), statuses


@pytest.mark.parametrize("label", sorted(WITHOUT_SUCCESS))
def test_files_of_weather_are_answered_as_the_document_says(
    bounded: Served, known: KnownRequests, tmp_path: Path, label: str
) -> None:
    operation = OPERATIONS[label]
    case = operation.Case(path_parameters={name: ids[0] for name, ids in known.ids.items()})
    truth = write_truth(tmp_path, bounded.status(known.source["id"]), hours=(0, 6)).read_bytes()
    field, form = ("initial_state", {}) if label.endswith("inspect") else ("truth", {"reference": "waves"})
    address = operation.path.format(**case.path_parameters)
    query = {"model": "untrained"} if label.endswith("inspect") else {}
    response = bounded.client.post(address, params=query, data=form, files=[(field, ("truth.nc", truth))])
    assert response.status_code == 200, response.text
    response.request.read()
    case.validate_response(response, checks=CHECKS)


def test_the_document_contains_every_schema_that_it_references() -> None:
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(DOCUMENT)))
    assert named - set(DOCUMENT["components"]["schemas"]) == set()
    assert {"ForecastBody", "Problem"} <= named


def test_the_committed_document_is_current() -> None:
    committed = Path(__file__).parents[2] / "docs/openapi.json"
    assert json.loads(committed.read_text()) == DOCUMENT, "run: make openapi"
