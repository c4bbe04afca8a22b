import hashlib
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.request import CatalogueSource, ForecastRequest, Output
from weather.manifest import Sampling
from weather.readers.provenance import ChosenSource
from weather.stores.summary_request import Summary

MakeRequest = Callable[..., ForecastRequest]


def test_the_digest_is_that_of_the_sorted_json_of_the_callers_choices(make_request: MakeRequest) -> None:
    request = make_request()
    fields = request.model_dump(mode="json")
    for name in ("group_size", "deadline_seconds", "nfe_is_automatic", "initial_state", "choice", "warnings"):
        del fields[name]
    assert request.digest == hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def test_the_digest_is_the_same_in_every_version(make_request: MakeRequest) -> None:
    """Idempotency keys are stored with digests: a repeated request must be the same one after an update."""
    assert make_request(checkpoint="demo").digest == "90056e43bd5c04cd9d2156c40526d7165e177bc1dc748283b9a3fc445d5ff579"


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": "other"},
        {"checkpoint_digest": "d" * 64},
        {"initial_state_digest": "1" * 64},
        {"init_time": "2018-09-15T06:00:00"},
        {"lead_hours": 48},
        {"members": 6},
        {"member_numbers": (0, 1, 2, 3, 5)},
        {"seed": 4},
        {"sampling": Sampling(nfe=4)},
        {"sampling": Sampling(nfe=2, solver="euler")},
        {"sampling": Sampling(nfe=2, warmth=0.5)},
        {"deadline_seconds": 60.0},
        {"summary": Summary(quantiles=(0.5,))},
        {"output": Output(members=False)},
        {"output": Output(keep_bits=5)},
        {"nfe_is_automatic": True},
    ],
)
def test_every_choice_of_the_caller_changes_the_digest(change: dict[str, object], make_request: MakeRequest) -> None:
    assert make_request(**change).digest != make_request().digest


def test_values_that_the_service_chose_do_not_change_the_digest(make_request: MakeRequest) -> None:
    """A repeated request with the same idempotency key is the same one, although the service may choose differently."""
    assert make_request(group_size=8).digest == make_request(group_size=2).digest
    automatic = [make_request(nfe_is_automatic=True, sampling=Sampling(nfe=nfe)) for nfe in (2, 6)]
    assert automatic[0].digest == automatic[1].digest
    assert make_request(sampling=Sampling(nfe=2)).digest != make_request(sampling=Sampling(nfe=6)).digest


def test_the_source_of_the_initial_state_does_not_change_the_digest(make_request: MakeRequest) -> None:
    """The state has a digest of its own; a row from before the source was stored has the same digest as today."""
    source = CatalogueSource(source="catalogue", dataset="gfs")
    assert make_request(initial_state=source).digest == make_request().digest
    assert make_request().initial_state is None


def test_a_request_keeps_its_digest_when_it_is_stored_as_json(make_request: MakeRequest) -> None:
    request = make_request(deadline_seconds=7.5, member_numbers=(9, 4, 0, 2, 1), output=Output(keep_bits=7))
    stored = json.loads(json.dumps(request.model_dump(mode="json")))
    assert ForecastRequest.model_validate(stored) == request
    assert ForecastRequest.model_validate(stored).digest == request.digest


@given(members=st.integers(1, 500), group_size=st.integers(1, 300))
def test_groups_hold_every_member_once(members: int, group_size: int) -> None:
    request = ForecastRequest(
        checkpoint="planet",
        checkpoint_digest="c",
        initial_state_digest="0",
        sources=(),
        init_time="2018-09-15T00:00:00",
        lead_hours=6,
        members=members,
        group_size=group_size,
        seed=0,
        sampling=Sampling(nfe=2),
    )
    groups = [request.numbers[start : start + group_size] for start in range(0, members, group_size)]
    assert request.num_groups == len(groups)
    assert [number for group in groups for number in group] == list(range(members))


def test_members_are_numbered_from_0_unless_the_caller_numbers_them(make_request: MakeRequest) -> None:
    assert make_request().numbers == (0, 1, 2, 3, 4)
    assert make_request(members=2, member_numbers=(41, 7)).numbers == (41, 7)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"members": 0}, "members"),
        ({"lead_hours": 0}, "lead_hours"),
        ({"group_size": 0}, "group_size"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"deadline_seconds": 0.0}, "deadline_seconds"),
        ({"deadline_seconds": float("nan")}, "deadline_seconds"),
        ({"deadline_seconds": float("inf")}, "deadline_seconds"),
        ({"members": 3, "member_numbers": (1, 2)}, "`members` must be the number of `member_numbers`"),
        ({"ensemble": 3}, "ensemble"),
        ({"output": {"members": False, "keep_bits": 5}}, "`keep_bits` must be null if `members` is false"),
        ({"output": {"keep_bits": 0}}, "keep_bits"),
        ({"output": {"keep_bits": 24}}, "keep_bits"),
    ],
)
def test_an_invalid_request_is_refused_with_the_name_of_the_field(
    fields: dict[str, object], message: str, make_request: MakeRequest
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_request(**fields)


def test_the_largest_seed_is_accepted(make_request: MakeRequest) -> None:
    assert make_request(seed=2**63 - 1).seed == 2**63 - 1


@pytest.mark.parametrize(
    ("output", "is_exact"),
    [(Output(), True), (Output(keep_bits=23), False), (Output(members=False), False)],
)
def test_only_members_that_are_stored_without_rounding_are_exact(output: Output, *, is_exact: bool) -> None:
    assert output.is_exact == is_exact


def test_the_initial_time_is_utc_to_the_second(make_request: MakeRequest) -> None:
    assert make_request(init_time="2018-09-15T06:30:00").init_datetime == np.datetime64("2018-09-15T06:30:00", "s")


def test_a_request_cannot_be_changed(make_request: MakeRequest) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_request().seed = 5


def test_the_choice_from_the_files_is_no_part_of_the_digest_and_old_rows_have_none(make_request: MakeRequest) -> None:
    chosen = ChosenSource(file="a.nc", variables=("u10",), valid_time="2018-09-15T00:00:00")
    request = make_request(choice=(chosen,))
    assert request.digest == make_request().digest
    assert ForecastRequest.model_validate_json(request.model_dump_json()) == request
    old = request.model_dump(mode="json", exclude={"choice"})
    assert ForecastRequest.model_validate(old).choice == ()
