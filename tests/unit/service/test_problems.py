import asyncio
import errno
import json
import logging
import re
from http import HTTPStatus
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Query
from hypothesis import given
from hypothesis.strategies import lists, text
from sqlalchemy.exc import OperationalError

from jobs.errors import ForecastNotFoundError, LeaseLostError, LimitExceededError, LimitState
from service import problems
from service.problems import (
    CLIENT_LEFT,
    KIND_OF_ERROR,
    QUEUE_FULL,
    UNAUTHORIZED,
    Problem,
    ProblemKind,
    ServiceError,
    add_handlers,
    kind_of_error,
    pointer_to,
    problem_response,
)
from storage.errors import WarmcastError
from tests.in_process import InProcess, run_in_process
from weather.errors import (
    DamagedError,
    InitialStateError,
    InputCorruptError,
    StoreError,
    TrainingDataError,
    UpstreamError,
)

_ERRORS = {
    "queue": ServiceError(QUEUE_FULL, "Full."),
    "key": ServiceError(UNAUTHORIZED, "No key."),
    "forecast": ForecastNotFoundError("No forecast `fc_1`."),
    "file": InputCorruptError("a.grib2", ["`a.grib2` is damaged."]),
    "unlisted": WarmcastError("Unlisted."),
    "database": OperationalError("SELECT 1", {}, Exception("locked")),
    "storage": ConnectionError("refused"),
    "fault": RuntimeError("a secret"),
}


def _get(path: str) -> httpx.Response:
    app = FastAPI()
    add_handlers(app)

    @app.get("/error/{name}")
    async def fail(name: str) -> None:
        raise _ERRORS[name]

    @app.get("/number")
    async def number(value: Annotated[int, Query(ge=0)]) -> int:
        return value

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    return asyncio.run(get())


@pytest.mark.parametrize(
    ("name", "status", "slug"),
    [
        ("queue", 429, "queue-full"),
        ("key", 401, "unauthorized"),
        ("forecast", 404, "no-such-forecast"),
        ("file", 422, "input-corrupt"),
        ("unlisted", 500, "internal"),
        ("database", 503, "unavailable"),
        ("storage", 503, "unavailable"),
        ("fault", 500, "internal"),
    ],
)
def test_every_error_is_a_problem_document(name: str, status: int, slug: str) -> None:
    response = _get(f"/error/{name}")
    problem = response.json()
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert (problem["status"], problem["type"]) == (status, f"/problems/{slug}")
    assert problem["retryable"] == ("retry-after" in response.headers)
    assert response.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert "secret" not in response.text


def test_a_problem_points_at_each_invalid_value() -> None:
    problem = _get("/number?value=-1").json()
    assert problem["errors"] == [
        {"pointer": "?value", "detail": "Input should be greater than or equal to 0. Got: '-1'."}
    ]
    assert "`?value`" in problem["detail"]


def test_an_unknown_path_is_a_problem() -> None:
    problem = _get("/nothing").json()
    assert problem["type"] == "/problems/not-found"
    assert problem["detail"] == "The service refuses GET of `/nothing`: Not Found. /docs lists its routes."


def _subclasses(error: type[WarmcastError]) -> set[type[WarmcastError]]:
    return {error}.union(*(_subclasses(kind) for kind in error.__subclasses__()))


@pytest.mark.parametrize("error", sorted(KIND_OF_ERROR, key=lambda error: error.__name__))
def test_every_listed_error_is_answered_with_its_own_kind(error: type[WarmcastError]) -> None:
    arguments: tuple[object, ...] = ("It is bad.",)
    if issubclass(error, InitialStateError):
        arguments = ("a.nc", ["It is bad."])
    elif issubclass(error, DamagedError):
        arguments = ("ensemble.zarr/u10/c/0", "is missing")
    elif issubclass(error, UpstreamError):
        arguments = ("gfs", "It is bad.")
    elif issubclass(error, LimitExceededError):
        arguments = ("It is bad.", LimitState("uploads", 1))
    assert kind_of_error(error(*arguments)) is KIND_OF_ERROR[error]


def test_every_error_of_packages_that_the_service_uses_has_a_kind() -> None:
    packages = {"storage.errors", "weather.errors", "jobs.errors"}
    known = {error for error in _subclasses(WarmcastError) if error.__module__ in packages} - {WarmcastError}
    unmapped = {error for error in known if not set(error.__mro__) & set(KIND_OF_ERROR)}
    assert unmapped == {LeaseLostError, TrainingDataError}, "only workers and training raise these"


def _kinds() -> list[ProblemKind]:
    named = [value for value in vars(problems).values() if isinstance(value, ProblemKind)]
    return [*named, *KIND_OF_ERROR.values()]


def test_a_slug_stands_for_one_kind() -> None:
    by_slug: dict[str, set[ProblemKind]] = {}
    for kind in _kinds():
        by_slug.setdefault(kind.slug, set()).add(kind)
    assert {slug: kinds for slug, kinds in by_slug.items() if len(kinds) > 1} == {}
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in by_slug)


@pytest.mark.parametrize("kind", _kinds(), ids=lambda kind: kind.slug)
def test_a_retry_is_advised_only_where_another_answer_is_possible(kind: ProblemKind) -> None:
    assert kind.status in HTTPStatus.__members__.values() or kind is CLIENT_LEFT  # which no client receives
    assert 400 <= kind.status < 600
    may_pass = {408, 409, 429, 503, 507}
    assert kind.retry_after is None or (kind.status in may_pass and kind.retry_after > 0)


def test_a_subclass_is_answered_as_the_nearest_listed_class() -> None:
    class _SpecialError(InputCorruptError):
        """A damage of a special kind."""

    assert kind_of_error(_SpecialError("a.nc", ["It is bad."])) is KIND_OF_ERROR[InputCorruptError]
    assert KIND_OF_ERROR[InputCorruptError] is not KIND_OF_ERROR[InitialStateError]
    assert kind_of_error(WarmcastError("Unlisted.")) is problems.INTERNAL


def test_every_response_has_a_trace_id_of_its_own() -> None:
    traces = [_get("/error/forecast").json()["trace_id"] for _ in range(20)]
    assert len(set(traces)) == 20
    assert all(re.fullmatch(r"[0-9a-f]{16}", trace) for trace in traces)


@pytest.mark.parametrize(("name", "text"), [("fault", "a secret"), ("database", "locked"), ("storage", "refused")])
def test_the_cause_of_an_internal_error_is_logged_and_not_sent(
    name: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "service.problems"):
        response = _get(f"/error/{name}")
    assert text in caplog.text
    for private in (text, "Traceback", "test_problems", "SELECT", "RuntimeError"):
        assert private not in response.text


def test_a_problem_of_a_caller_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "service.problems"):
        for path in ("/error/forecast", "/error/file", "/error/key", "/number?value=-1", "/nothing"):
            _get(path)
    assert caplog.text == ""


def test_a_message_that_contains_markup_is_sent_unchanged() -> None:
    response = problem_response(UNAUTHORIZED, '<script>"é"\n')
    assert json.loads(response.body)["detail"] == '<script>"é"\n'
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("status", [403, 404, 405, 406, 413, 415, 418, 429, 500])
def test_a_refusal_of_the_framework_keeps_its_status(status: int) -> None:
    app = FastAPI()
    add_handlers(app)

    @app.get("/")
    async def refuse() -> None:
        raise HTTPException(status, "Refused.")

    with run_in_process(app) as api:
        response = api.get("/")
    problem = response.json()
    assert (response.status_code, problem["status"], problem["detail"]) == (status, status, "Refused.")
    assert Problem.model_validate(problem)


def test_another_method_is_refused_as_a_problem(api: InProcess) -> None:
    for method, path, allowed in (
        ("PUT", "/v1/forecast", "GET, HEAD, POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
    ):
        response = api.request(method, path)
        assert (response.status_code, response.json()["type"]) == (405, "/problems/method-not-allowed"), path
        assert response.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("location", "pointer"),
    [
        (("body", "members"), "/members"),
        (("body",), ""),
        (("body", "summary", "exceedance", 0), "/summary/exceedance/0"),
        (("body", "a/b~c"), "/a~1b~0c"),
        (("query", "limit"), "?limit"),
        (("header", "Last-Event-ID"), "Last-Event-ID"),
    ],
)
def test_a_location_is_written_as_a_json_pointer_a_parameter_or_a_header(
    location: tuple[str | int, ...], pointer: str
) -> None:
    assert pointer_to(location) == pointer


@given(lists(text(), min_size=1, max_size=4))
def test_a_json_pointer_is_read_back_as_the_location(steps: list[str]) -> None:
    pointer = pointer_to(("body", *steps))
    read = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    assert read == steps


def _full_disk() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "/data/secret")


@pytest.mark.parametrize(("error", "slug"), [(_full_disk(), "insufficient-storage"), (OSError("x"), "internal")])
def test_a_full_disk_is_a_retryable_problem_and_other_errors_of_the_disk_are_internal(
    error: OSError, slug: str
) -> None:
    app = FastAPI()
    add_handlers(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    with run_in_process(app) as api:
        response = api.get("/")
    assert response.json()["type"] == f"/problems/{slug}"
    assert response.json()["retryable"] == (slug == "insufficient-storage")
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("location", "pointers"),
    [((), []), (("query",), []), (("header",), []), (("body",), [""]), (("query", "bbox"), ["?bbox"])],
)
def test_an_error_without_a_named_part_of_the_request_points_at_nothing(
    location: tuple[str, ...], pointers: list[str]
) -> None:
    app = FastAPI()
    add_handlers(app)

    @app.get("/")
    async def fail() -> None:
        raise StoreError("The store is damaged.", location)

    with run_in_process(app) as api:
        response = api.get("/")
    assert response.status_code == KIND_OF_ERROR[StoreError].status
    assert [error["pointer"] for error in response.json()["errors"]] == pointers
