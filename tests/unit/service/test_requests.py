import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.handling import Handling
from jobs.request import CatalogueSource, ForecastRequest, ForecastSource, Output, UploadSource
from jobs.rows.states import Priority
from service.requests import ForecastBody, ReplayBody, Sampler
from weather.manifest import Sampling
from weather.stores.summary_request import Summary

CATALOGUE = {"source": "catalogue", "dataset": "gfs"}


def _parse(**fields: Any) -> ForecastBody:
    """Return the body that JSON of some fields is parsed to."""
    return ForecastBody.model_validate_json(json.dumps({"initial_state": CATALOGUE} | fields))


def _location(**fields: Any) -> tuple[int | str, ...]:
    """Return the location of the error of an invalid body."""
    with pytest.raises(ValidationError) as raised:
        _parse(**fields)
    return raised.value.errors()[0]["loc"]


@pytest.mark.parametrize(
    ("field", "valid", "invalid"),
    [
        (
            "model",
            ["a", "planet", "0-a.b_c", "x" * 100],
            ["", "A", "a/b", "..", "-a", "x" * 101, "a b", "a\n", 3, None],
        ),
        ("lead_time", ["6h", "x" * 10], ["x" * 11, 6, None]),
        ("members", [1, 10**9, [0], [3, 1, 2], [2**31 - 1]], [0, -1, [], [-1], [2**31], 1.5, "x", None, [[1]]]),
        ("seed", [0, 2**63 - 1, None], [-1, 2**63, 0.5, "x"]),
        ("deadline_seconds", [1, 1.5, 2_592_000, None], [0, 0.99, 2_592_001, -1, "soon"]),
        ("priority", ["low", "normal", "high"], ["urgent", "", None, 1]),
        ("sampler", [{}, {"nfe": 1}, {"nfe": 1000}, {"nfe": "auto"}, {"warmth": 0}, {"warmth": 1}], [None, [], 3]),
    ],
)
def test_fields_are_accepted_up_to_their_ends_and_not_beyond(field: str, valid: list[Any], invalid: list[Any]) -> None:
    for value in valid:
        _parse(**{field: value})
    for value in invalid:
        assert _location(**{field: value})[0] == field, value


@pytest.mark.parametrize(
    "sampler", [{"nfe": 0}, {"nfe": 1001}, {"nfe": "all"}, {"warmth": -0.01}, {"warmth": 1.01}, {"solver": "heun"}]
)
def test_options_of_the_sampler_are_bounded(sampler: dict[str, Any]) -> None:
    (name,) = sampler
    assert _location(sampler=sampler)[:2] == ("sampler", name)


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({"member": 3}, ("member",)),
        ({"sampler": {"steps": 3}}, ("sampler", "steps")),
        ({"output": {"bits": 3}}, ("output", "bits")),
        ({"summary": {"median": True}}, ("summary", "median")),
        ({"initial_state": CATALOGUE | {"time": "now"}}, ("initial_state", "catalogue", "time")),
        ({"initial_state": {"source": "upload", "dataset": "gfs"}}, ("initial_state", "upload", "dataset")),
    ],
)
def test_an_unknown_field_is_refused_at_every_level(fields: dict[str, Any], location: tuple[str, ...]) -> None:
    assert _location(**fields) == location


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(number: str) -> None:
    for text in (f'"deadline_seconds": {number}', f'"sampler": {{"warmth": {number}}}', f'"seed": {number}'):
        with pytest.raises(ValidationError):
            ForecastBody.model_validate_json(f'{{"initial_state": {json.dumps(CATALOGUE)}, {text}}}')


def test_the_smallest_body_names_an_initial_state_only() -> None:
    body = _parse()
    assert (body.model, body.lead_time, body.members, body.seed) == ("earth", "120h", 8, None)
    assert (body.sampler, body.priority, body.output) == (Sampler(), Priority.NORMAL, Output())
    with pytest.raises(ValidationError, match="initial_state"):
        ForecastBody.model_validate_json("{}")


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (CATALOGUE, CatalogueSource),
        ({"source": "upload"}, UploadSource),
        ({"source": "forecast", "id": "fc_1"}, ForecastSource),
    ],
)
def test_the_kind_of_source_decides_its_fields(source: dict[str, str], kind: type) -> None:
    assert isinstance(_parse(initial_state=source).initial_state, kind)


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20, unique=True))
def test_listed_members_are_counted_and_sorted(numbers: list[int]) -> None:
    body = _parse(members=numbers)
    assert (body.num_members, body.member_numbers) == (len(numbers), tuple(sorted(numbers)))
    assert ReplayBody.model_validate({"members": numbers}).members == tuple(numbers)


@given(st.integers(1, 10**6))
def test_a_number_of_members_has_no_list(number: int) -> None:
    body = _parse(members=number)
    assert (body.num_members, body.member_numbers) == (number, None)


@pytest.mark.parametrize(
    "parse", [lambda numbers: _parse(members=numbers), lambda numbers: ReplayBody(members=numbers)]
)
def test_a_member_listed_twice_is_refused_with_its_number(parse: Any) -> None:
    with pytest.raises(ValidationError, match="Got more than once: 7"):
        parse((1, 7, 3, 7))
    assert parse((1, 7, 3))


@pytest.mark.parametrize("length", [1, 1000, 1001])
def test_at_most_a_thousand_members_are_listed(length: int) -> None:
    if length <= 1000:
        assert _parse(members=list(range(length))).num_members == length
    else:
        assert _location(members=list(range(length)))[0] == "members"


_REQUESTS = st.builds(
    ForecastRequest,
    checkpoint=st.sampled_from(["planet", "untrained"]),
    checkpoint_digest=st.just("0" * 64),
    initial_state_digest=st.just("1" * 64),
    sources=st.just(("a.grib2",)),
    init_time=st.just("2018-09-15T00:00:00"),
    lead_hours=st.integers(1, 9999),
    members=st.integers(1, 10**6),
    group_size=st.integers(1, 256),
    seed=st.integers(0, 2**63 - 1),
    sampling=st.builds(
        Sampling,
        solver=st.just("midpoint"),
        nfe=st.integers(1, 500).map(lambda steps: 2 * steps),
        warmth=st.floats(0, 1),
    ),
    deadline_seconds=st.none() | st.floats(1, 2_592_000),
    output=st.sampled_from([Output(), Output(members=False), Output(keep_bits=7)]),
    summary=st.sampled_from([Summary(), Summary(quantiles=(0.5,), exceedance=())]),
)


_HANDLINGS = st.sampled_from([Handling(), Handling(labels={"a": "1"}, retention_hours=6.0)])


@given(request=_REQUESTS, priority=st.sampled_from(Priority), handling=_HANDLINGS)
def test_the_body_of_a_request_is_valid_and_complete(
    request: ForecastRequest, priority: Priority, handling: Handling
) -> None:
    source = CatalogueSource(source="catalogue", dataset="gfs", init_time="2018-09-15T00")
    body = ForecastBody.of(request, priority, source, handling)
    again = ForecastBody.model_validate_json(body.model_dump_json())
    assert again == body
    assert (again.num_members, again.seed, again.priority) == (request.members, request.seed, priority)
    assert (again.sampler.nfe, again.sampler.warmth) == (request.sampling.nfe, request.sampling.warmth)
    assert (again.lead_time, again.output, again.summary) == (f"{request.lead_hours}h", request.output, request.summary)
    assert again.deadline_seconds == request.deadline_seconds
    assert again.handling == handling


@given(st.text(max_size=30) | st.binary(max_size=30))
def test_any_text_is_a_body_or_a_validation_error(text: str | bytes) -> None:
    with pytest.raises(ValidationError):
        ForecastBody.model_validate_json(text)
