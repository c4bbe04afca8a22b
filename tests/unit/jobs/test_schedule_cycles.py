"""The rules of schedules: which cycles there are, how they end, and when forecasts are verified."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rows.states import RunState
from jobs.schedule_cycles import (
    HOUR,
    MAX_AGE_SECONDS,
    Rhythm,
    Verify,
    WaitingRun,
    choose_verification,
    judge,
    pause_seconds,
)

_TIMES = st.integers(-(10**9), 4 * 10**9)
_AT_MOST, _STOPS = st.integers(1, 5), st.none() | st.integers(0, 40)


@given(st.integers(1, 240), st.integers(0, 239), _TIMES)
def test_the_cycles_are_those_of_the_rhythm(every: int, offset: int, time: int) -> None:
    rhythm = Rhythm(every, offset)
    first, last = rhythm.first_from(time), rhythm.last_until(time)
    assert first - every * HOUR < time <= first
    assert last <= time < last + every * HOUR
    assert (first - offset * HOUR) % (every * HOUR) == (last - offset * HOUR) % (every * HOUR) == 0


@given(
    st.integers(1, 48),
    st.lists(st.floats(0, 10 * 86400), max_size=8),
    st.integers(1, 5),
    st.none() | st.integers(0, 40),
)
def test_each_cycle_is_due_once_whenever_it_is_looked_for(
    every: int, pauses: list[float], at_most: int, num_until_stop: int | None
) -> None:
    rhythm, start = Rhythm(every, 0), 1_000_000 * HOUR // (every * HOUR) * every * HOUR
    stop = None if num_until_stop is None else start + num_until_stop * every * HOUR
    cycle: int | None = start
    now, found = float(start), list[int]()
    for pause in pauses:
        now += pause
        while cycle is not None and cycle <= now:
            some, cycle = rhythm.due(cycle, stop, now, at_most)
            found += some
    end = now if stop is None else min(now, stop)
    assert found == (list(range(start, int(end) + 1, every * HOUR)) if pauses else [])


@given(
    st.lists(st.tuples(st.integers(0, 300), st.booleans(), st.booleans(), st.booleans()), unique_by=lambda run: run[0]),
    st.integers(0, 400),
    st.sampled_from([0, 1, 3, 400]),
)
def test_a_run_ends_only_when_it_is_over_and_newer_ones_are_caught_up(
    chosen: list[tuple[int, bool, bool, bool]], hours: int, catch_up: int
) -> None:
    runs = [WaitingRun(6 * index * HOUR, 6 * index * HOUR, *flags) for index, *flags in chosen]
    now, wait = float(hours * 6 * HOUR), 12.0
    ended = judge(runs, now, wait, catch_up)
    over = [run for run in runs if now >= run.begins + wait * HOUR]
    kept = {run.init_time for run in over} - ended.keys()
    assert ended.keys() <= {run.init_time for run in over}
    assert len(kept) <= catch_up
    assert all(now < time + wait * HOUR + MAX_AGE_SECONDS for time in kept)
    if kept and ended:
        young = [time for time in ended if now < time + wait * HOUR + MAX_AGE_SECONDS]
        assert not young or max(young) < min(kept)
    for run in over:
        if run.init_time in ended:
            expected = RunState.MISSED
            if run.was_refused:
                expected = RunState.FAILED
            elif run.is_ready or not run.was_tried:
                expected = RunState.SKIPPED
            assert ended[run.init_time] == expected


def test_a_run_before_the_creation_of_its_schedule_begins_with_it() -> None:
    run = WaitingRun(0, 100 * HOUR)
    assert judge([run], 111 * HOUR, 12, 0) == {}
    assert judge([run], 112 * HOUR, 12, 0) == {0: RunState.MISSED}


@pytest.mark.parametrize(
    ("present", "now", "action"),
    [
        ({6, 12}, 20, Verify.NOW),
        ({6}, 20, Verify.WAIT),
        (set(), 20, Verify.WAIT),
        ({6}, 24, Verify.NOW),
        (set(), 24, Verify.GIVE_UP),
    ],
)
def test_a_forecast_is_verified_with_the_last_analysis_or_at_the_end(
    present: set[int], now: float, action: Verify
) -> None:
    assert choose_verification(present, 12, 24, now) == action


@given(st.floats(0, 10**7), st.integers(0, 1000))
def test_pauses_are_bounded(age: float, attempts: int) -> None:
    assert 60 <= pause_seconds(0, age, attempts) <= 900
