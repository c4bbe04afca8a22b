import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from jobs.dispatching.leases import claim
from jobs.errors import LimitExceededError, LimitReachedError, QueueFullError
from jobs.forecasts import ForecastRecord, new_forecast_id
from jobs.limits import LIMIT_NAMES, Admission, Limits, Usage, list_states, with_own
from jobs.planning.plans import Plan
from jobs.request import ForecastRequest
from jobs.rows.database import Database
from jobs.rows.states import Priority
from jobs.submit import insert_if_admitted
from models.testing import tiny_spec
from storage.errors import WarmcastError
from tests.clock import MovableClock
from tests.limits import LARGE_LIMITS
from tests.rows import (
    cancel_forecast,
    commit,
    commit_lead_times,
    count_open,
    create_key,
    expire_data,
    limit_key,
    list_forecasts,
    read_limits,
    read_usage,
    succeed,
)
from weather.manifest import Manifest, Provenance, Sampling

Submit = Callable[..., ForecastRecord]
EVALUATIONS = 5 * 4 * 3
"""Members, lead times, evaluations of both networks of a forecast of these tests."""


def _manifest() -> Manifest:
    provenance = Provenance(
        data="", attribution="", train_years=(), validation_years=(), code_version="0", warm_start_steps=0,
        flow_steps=0, training_hours=0.0,
    )  # fmt: skip  # eight lines without meaning here
    return Manifest.model_construct(name="planet", model=tiny_spec(), sampling=Sampling(), provenance=provenance)


@pytest.fixture
def submit(database: Database, make_request: Callable[..., ForecastRequest]) -> Submit:
    """Insert the rows of a forecast if it is accepted; takes limits and fields of its request."""
    manifest = _manifest()

    def submit(
        owner: str,
        *,
        limits: Limits = LARGE_LIMITS,
        max_open: int = 10**6,
        priority: Priority = Priority.NORMAL,
        key: str | None = None,
        **fields: object,
    ) -> ForecastRecord:
        plan = Plan.of(make_request(**fields), manifest)
        admission = Admission(limits, max_open)
        return insert_if_admitted(database, new_forecast_id(), owner, plan, key, priority, admission)

    return submit


@pytest.fixture
def owner(database: Database) -> str:
    """The id of a key without limits of its own."""
    return create_key(database, "desk")[0].id


def _count(submit: Callable[[int], object], number: int) -> Counter[str]:
    """Call `submit` so many times at once, and return the numbers of results by error."""
    begin = threading.Barrier(100, timeout=60)

    def attempt(index: int) -> str:
        if index < 100:
            begin.wait()
        try:
            submit(index)
        except WarmcastError as error:
            return type(error).__name__
        return "accepted"

    with ThreadPoolExecutor(100) as threads:
        return Counter(threads.map(attempt, range(number)))


def test_of_500_forecasts_that_are_submitted_at_once_exactly_as_many_are_accepted_as_are_allowed(
    database: Database, submit: Submit
) -> None:
    counted = _count(lambda _: submit("local", max_open=100, members=1), 500)
    assert counted == {"accepted": 100, "QueueFullError": 400}
    assert count_open(database) == 100


def test_of_many_forecasts_of_several_keys_at_once_each_key_gets_its_limit(database: Database, submit: Submit) -> None:
    owners = [create_key(database, f"key {index}")[0].id for index in range(5)]
    limits = replace(LARGE_LIMITS, open_forecasts=7, day_evaluations=5 * 3 * 4)
    limit_key(database, owners[0], {"open_forecasts": 2})
    limit_key(database, owners[1], {"day_evaluations": 10**6})
    counted = _count(lambda index: submit(owners[index % 5], limits=limits, members=1), 200)
    assert counted == {"accepted": 2 + 7 + 3 * 5, "LimitReachedError": 200 - 24}
    assert [read_usage(database, key).open_forecasts for key in owners] == [2, 7, 5, 5, 5]


def _count_until_full(submit: Callable[[], object]) -> int:
    number = 0
    while True:
        try:
            submit()
        except QueueFullError as error:
            message = str(error)
            break
        number += 1
    assert f"An API key may have as many of them as places are free, and this one has {number}." in message
    return number


def test_one_key_fills_half_of_the_queue_and_no_number_of_keys_keeps_another_out(
    database: Database, submit: Submit
) -> None:
    """A key may have as many open forecasts as places are free."""
    accepted = []
    for index in range(12):
        key = create_key(database, f"key {index}")[0].id
        accepted.append(_count_until_full(lambda key=key: submit(key, max_open=20, members=1)))
    assert accepted[:4] == [10, 5, 3, 1]
    assert all(number >= 1 for number in accepted)


def test_a_place_of_the_queue_is_free_again_when_a_forecast_ends(
    database: Database, submit: Submit, owner: str
) -> None:
    limits = replace(LARGE_LIMITS, open_forecasts=2)
    records = [submit(owner, limits=limits) for _ in range(2)]
    with pytest.raises(LimitReachedError, match="has 2 forecasts that wait or run, of at most 2") as refusal:
        submit(owner, limits=limits)
    state = refusal.value.state
    assert (state.name, state.value, state.used, state.frees) == ("open_forecasts", 2, 2, None)
    commit_lead_times(database, 1)
    cancel_forecast(database, records[0].id, owner)
    submit(owner, limits=limits)


def test_a_forecast_of_too_many_evaluations_is_refused_whatever_else_is_open(submit: Submit, owner: str) -> None:
    submit(owner, limits=replace(LARGE_LIMITS, forecast_evaluations=EVALUATIONS))
    with pytest.raises(LimitExceededError, match=rf"at most {EVALUATIONS - 1} evaluations .* Got: {EVALUATIONS}") as no:
        submit(owner, limits=replace(LARGE_LIMITS, forecast_evaluations=EVALUATIONS - 1))
    assert no.value.location == ("body", "members")


@pytest.mark.parametrize("fields", [{"members": 6}, {"lead_hours": 30}, {"sampling": Sampling(nfe=4)}])
def test_members_lead_times_and_evaluations_of_the_flow_count(
    fields: dict[str, object], submit: Submit, owner: str
) -> None:
    with pytest.raises(LimitExceededError):
        submit(owner, limits=replace(LARGE_LIMITS, forecast_evaluations=EVALUATIONS), **fields)


def test_only_a_key_that_may_use_it_has_high_priority(database: Database, submit: Submit, owner: str) -> None:
    limits = replace(LARGE_LIMITS, high_priority=False)
    with pytest.raises(LimitExceededError, match="`priority` must be low or normal") as refusal:
        submit(owner, limits=limits, priority=Priority.HIGH)
    assert refusal.value.location == ("body", "priority")
    submit(owner, limits=limits, priority=Priority.LOW)
    limit_key(database, owner, {"high_priority": True})
    submit(owner, limits=limits, priority=Priority.HIGH)
    submit("local", limits=limits, priority=Priority.HIGH)


def test_evaluations_are_counted_by_day_and_free_at_its_end(
    database: Database, submit: Submit, owner: str, clock: MovableClock
) -> None:
    clock.advance(86400 - read_usage(database, owner).day_ends % 86400)
    ends = read_usage(database, owner).day_ends
    limits = replace(LARGE_LIMITS, day_evaluations=2 * EVALUATIONS + 1)
    for _ in range(2):
        submit(owner, limits=limits)
    with pytest.raises(LimitReachedError, match=f"of the {2 * EVALUATIONS + 1} .* {2 * EVALUATIONS} are used") as no:
        submit(owner, limits=limits)
    state = no.value.state
    assert (state.name, state.used, state.frees) == ("day_evaluations", 2 * EVALUATIONS, ends)
    assert ends % 86400 == 0
    submit("local", limits=limits)
    clock.advance(86400)
    assert read_usage(database, owner).day_evaluations == 0
    submit(owner, limits=limits)
    assert read_usage(database, owner).day_evaluations == EVALUATIONS


@pytest.mark.parametrize(("lead_times", "charged"), [(0, 1), (1, 2), (3, 4)])
def test_evaluations_that_were_not_computed_are_not_charged(
    lead_times: int, charged: int, database: Database, submit: Submit, owner: str
) -> None:
    """The lead time that each group computes at the moment counts; so cancelling in time saves nothing."""
    record = submit(owner)
    leases = commit_lead_times(database, lead_times)
    assert len(leases) == 3
    cancel_forecast(database, record.id, owner)
    assert read_usage(database, owner).day_evaluations == EVALUATIONS * charged // 4


def test_a_forecast_that_is_cancelled_while_it_waits_is_not_charged(
    database: Database, submit: Submit, owner: str, clock: MovableClock
) -> None:
    limits = replace(LARGE_LIMITS, day_evaluations=EVALUATIONS)
    for _ in range(5):
        cancel_forecast(database, submit(owner, limits=limits).id, owner)
    yesterday = submit(owner, limits=limits)
    clock.advance(86400)
    submit(owner, limits=limits)
    cancel_forecast(database, yesterday.id, owner)
    assert read_usage(database, owner).day_evaluations == EVALUATIONS, "the day of the other forecast is over"


def test_a_successful_forecast_is_charged_in_full(database: Database, submit: Submit, owner: str) -> None:
    succeed(database, submit(owner))
    assert read_usage(database, owner).day_evaluations == EVALUATIONS


def test_bytes_are_planned_ones_then_real_ones_until_the_data_is_gone(
    database: Database, submit: Submit, owner: str, clock: MovableClock
) -> None:
    record = submit(owner)
    planned = read_usage(database, owner).kept_bytes
    assert planned > 1000
    limits = replace(LARGE_LIMITS, kept_bytes=planned + 999)
    with pytest.raises(LimitExceededError, match=f"of the {planned + 999} .* may keep, {planned} are used") as refusal:
        submit(owner, limits=limits)
    assert refusal.value.state.used == planned
    succeed(database, record, store_bytes=999)
    assert read_usage(database, owner).kept_bytes == 999
    submit(owner, limits=limits)
    clock.advance(7200)
    expire_data(database, 1.0)
    assert read_usage(database, owner).kept_bytes == planned


def test_a_failed_forecast_keeps_the_bytes_of_its_complete_lead_times(
    database: Database, submit: Submit, owner: str
) -> None:
    record = submit(owner)
    planned = read_usage(database, owner).kept_bytes
    commit_lead_times(database, 1)
    cancel_forecast(database, record.id, owner)
    assert read_usage(database, owner).kept_bytes == planned // 4


def test_a_repeated_request_is_answered_when_all_limits_are_reached(
    database: Database, submit: Submit, owner: str
) -> None:
    limits = replace(LARGE_LIMITS, open_forecasts=1)
    first = submit(owner, limits=limits, key="once")
    assert submit(owner, limits=limits, key="once", max_open=0).id == first.id
    with pytest.raises(LimitReachedError):
        submit(owner, limits=limits, key="again")
    assert len(list_forecasts(database, owner, None, 10)) == 1
    assert read_usage(database, owner).day_evaluations == EVALUATIONS, "nothing of a refused forecast counts"


def test_a_revoked_key_keeps_its_limits_and_an_unknown_owner_has_none(database: Database, owner: str) -> None:
    assert read_limits(database, owner, LARGE_LIMITS) == LARGE_LIMITS
    assert read_limits(database, "local", LARGE_LIMITS) is None
    assert read_limits(database, "key_0000000000", LARGE_LIMITS) is None


def test_limits_of_a_key_replace_single_defaults(database: Database, owner: str) -> None:
    limit_key(database, owner, {"open_forecasts": 0, "kept_bytes": 10**15})
    limits = read_limits(database, owner, LARGE_LIMITS)
    assert limits == with_own(LARGE_LIMITS, {"open_forecasts": 0, "kept_bytes": 10**15})
    assert limits is not None
    assert limits.open_forecasts == 0


def test_every_limit_that_is_a_number_has_a_state() -> None:
    used = Usage(1, 2, 3, 86400.0)
    states = list_states(LARGE_LIMITS, used)
    assert {state.name for state in states} == set(LIMIT_NAMES) - {"high_priority"}
    assert [state.value for state in list_states(None, used)] == [None] * 5


def test_claims_of_other_keys_do_not_wait_for_a_long_queue(database: Database, submit: Submit) -> None:
    many, few = create_key(database, "many")[0].id, create_key(database, "few")[0].id
    for _ in range(30):
        submit(many, members=1)
    submit(few, members=1)
    owners = []
    for worker in "abcd":
        (lease,) = claim(database, worker, 30.0, 3)
        (record,) = [record for record in _all(database, many, few) if record.id == lease.forecast_id]
        owners.append(record.owner)
        commit(database, lease, 1, 30.0)
    assert owners[:2] in ([many, few], [few, many])


def _all(database: Database, *owners: str) -> list[ForecastRecord]:
    return [record for owner in owners for record in list_forecasts(database, owner, None, 200)]
