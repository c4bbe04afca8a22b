from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.inputs import grib_messages, state, state_spec, write_grib
from tests.unit.weather.readers.records import NEWEST, PREVIOUS, field, make_record, make_wind
from weather.initial_state import read_initial_state
from weather.readers.choice import choose
from weather.readers.containers import SourceError
from weather.readers.records import Level, Record, Statistic
from weather.readers.series import Series

WIND = ("u10", "v10")
NAN = float("nan")


def _load(records: Sequence[Record], *times: np.datetime64) -> NDArray[np.float32]:
    """Return the first variable of the frames at `times`, by default at all."""
    series = Series(choose(records, WIND))
    values: NDArray[np.float32] = series.load(times or series.times).fields["u10"].values
    return values


def _refusal(records: Sequence[Record], *times: np.datetime64) -> str:
    with pytest.raises(SourceError) as caught:
        _load(records, *times)
    return str(caught.value)


@pytest.mark.parametrize("order", [1, -1])
def test_the_shortest_step_is_chosen_whatever_the_order(order: int) -> None:
    records = [*make_wind(value=1, step_hours=12), *make_wind(value=2, step_hours=0), *make_wind(value=3, step_hours=6)]
    np.testing.assert_array_equal(_load(records[::order])[0], field(2))


@pytest.mark.parametrize("order", [1, -1])
def test_an_analysis_is_chosen_before_a_forecast_and_a_final_version_before_a_preliminary_one(order: int) -> None:
    kinds = [*make_wind(value=1, data_type="forecast"), *make_wind(value=2, data_type="analysis")]
    np.testing.assert_array_equal(_load(kinds[::order])[0], field(2))
    versions = [*make_wind(value=1, version="0005"), *make_wind(value=2, version="0001")]
    np.testing.assert_array_equal(_load(versions[::order])[0], field(2))


def test_steps_that_differ_by_seconds_are_the_same() -> None:
    u, v = make_record("u10", step_hours=6), make_record("v10", step_hours=6 - 1 / 3600)
    np.testing.assert_array_equal(_load([u, v])[0], field(1))


def test_all_variables_of_a_frame_are_of_one_run() -> None:
    u = [make_record("u10", value=1, step_hours=0), make_record("u10", value=2, step_hours=6)]
    v = make_record("v10", step_hours=6)
    np.testing.assert_array_equal(_load([*u, v])[0], field(2))
    message = _refusal([u[0], v])
    assert message == (
        "All variables of a frame must be of one run and member. Got, at 2018-09-15T00:00: `u10`: step 0 h; "
        "`v10`: step 6 h. Add the missing variable of the same run."
    )


def test_a_run_that_lacks_values_of_a_variable_is_left_out() -> None:
    analysis = [make_record("u10", value=1), make_record("v10", value=NAN)]
    np.testing.assert_array_equal(_load([*analysis, *make_wind(value=2, step_hours=6)])[0], field(2))


def test_a_record_without_any_value_is_none() -> None:
    records = [*make_wind(value=NAN), *make_wind(value=2)]
    for order in (1, -1):
        np.testing.assert_array_equal(_load(records[::order])[0], field(2))
    assert "has no value at all" in _refusal([*make_wind(value=NAN), *make_wind(value=NAN)])


def test_the_newest_time_is_that_of_a_frame_with_values() -> None:
    series = Series(choose([*make_wind(PREVIOUS), *make_wind(NEWEST, NAN)], WIND))
    assert series.newest_time() == PREVIOUS
    with pytest.raises(SourceError, match="No frame has any value"):
        Series(choose(make_wind(value=NAN), WIND)).newest_time()


def test_equal_records_count_once_and_different_ones_are_refused() -> None:
    np.testing.assert_array_equal(_load([*make_wind(source="a.nc"), *make_wind(source="b.nc")])[0], field(1))
    message = _refusal([*make_wind(value=1, source="b.nc"), *make_wind(value=2, source="a.nc")])
    assert message == (
        "`u10` has two different values for one time, 2018-09-15T00:00: in `a.nc` and in `b.nc`. Leave one of them out."
    )


def test_members_are_paired_by_their_labels() -> None:
    previous = [record for member in (0, 1, 2) for record in make_wind(PREVIOUS, member, member=member)]
    newest = [record for member in (3, 2, 1) for record in make_wind(NEWEST, 10 + member, member=member)]
    loaded = Series(choose([*previous, *newest], WIND)).load([PREVIOUS, NEWEST])
    assert loaded.members == (1, 2)
    assert loaded.fields.member.values.tolist() == [1, 2]
    np.testing.assert_array_equal(loaded.fields.u10[:, :, 0, 0], [[1, 2], [11, 12]])
    assert loaded.notes == ("left out: member 0, 3, which is not in every frame",)


def test_only_the_frames_that_are_used_must_have_a_member_in_common() -> None:
    used = [record for member in (1, 2) for time in (PREVIOUS, NEWEST) for record in make_wind(time, member=member)]
    old = make_wind(PREVIOUS - np.timedelta64(6, "h"), member=7)
    assert Series(choose([*used, *old], WIND)).load([PREVIOUS, NEWEST]).members == (1, 2)
    assert "All frames must have a member in common" in _refusal([*used, *old])


def test_a_member_without_values_is_left_out() -> None:
    wind = [(PREVIOUS, 1.0, 1), (PREVIOUS, 2.0, 2), (NEWEST, NAN, 1), (NEWEST, 4.0, 2)]
    records = [record for time, value, member in wind for record in make_wind(time, value, member=member)]
    loaded = Series(choose(records, WIND)).load([PREVIOUS, NEWEST])
    assert (loaded.members, loaded.notes) == ((2,), ("left out: member 1, which has no value",))
    np.testing.assert_array_equal(loaded.fields.u10[:, 0, 0], [2, 4])


def test_single_analyses_are_preferred_to_members_and_one_label_is_no_ensemble() -> None:
    ensemble = [record for member in (1, 2) for record in make_wind(value=5, member=member)]
    np.testing.assert_array_equal(_load([*ensemble, *make_wind(value=1)])[0], field(1))
    assert not Series(choose(make_wind(member=4), WIND)).is_ensemble


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (make_record(level=Level("pressure", 850.0)), "at another level (pressure 850 hPa), not at 10 m"),
        (make_record(level=Level("height", 100.0)), "at another level (height 100 m), not at 10 m"),
        (make_record(level=Level("heightAboveSea", 10.0)), "at another level (heightAboveSea 10), not at 10 m"),
        (make_record(statistic=Statistic.SPREAD), "of the kind ensemble spread, not instantaneous state"),
        (make_record(valid_time=np.datetime64("NaT", "s"), step_hours=None), "without a valid time"),
    ],
)
def test_records_that_are_no_frame_are_refused_with_the_reason(record: Record, reason: str) -> None:
    assert _refusal([record, make_record("v10")]) == f"`u10` cannot be used: in `a.grib2`, it is {reason}."
    np.testing.assert_array_equal(_load([record, *make_wind(value=3)])[0], field(3))


def test_values_are_decoded_only_where_the_choice_needs_them() -> None:
    def fail() -> NDArray[np.float32]:
        raise AssertionError("this record is not needed")

    unneeded = [
        make_record("u10", NEWEST, step_hours=12, read=fail),
        make_record("u10", PREVIOUS - np.timedelta64(6, "h"), read=fail),
        make_record("v10", PREVIOUS - np.timedelta64(6, "h"), read=fail),
        make_record("u10", level=Level("pressure", 500.0), read=fail),
    ]
    series = Series(choose([*unneeded, *make_wind(PREVIOUS), *make_wind(NEWEST)], WIND))
    assert series.newest_time() == NEWEST
    series.load([PREVIOUS, NEWEST])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_messages_in_any_order_and_any_files_are_the_same_state(tmp_path: Path, random: Random, files: int) -> None:
    frames = state(frames=3)
    messages = [*grib_messages(frames), *grib_messages(frames + 1, step_hours=12), *grib_messages(frames)]
    expected = read_initial_state([str(write_grib(tmp_path / "all.grib2", messages))], state_spec())
    random.shuffle(messages)
    paths = [write_grib(tmp_path / f"{index}.grib2", messages[index::files]) for index in range(files)]
    random.shuffle(paths)
    assert read_initial_state([str(path) for path in paths], state_spec()).digest == expected.digest


@st.composite
def _records(draw: st.DrawFn) -> list[Record]:
    """Return records of two times from several files: steps, types, versions, members, empty ones and duplicates."""
    records = []
    for time in (PREVIOUS, NEWEST):
        labels = draw(st.sampled_from([(None,), (None,), (4,), (1, 2, 3), (2, 3, None)]))
        for index in range(draw(st.integers(1, 4))):
            for member in labels:
                kind = {
                    "step_hours": draw(st.sampled_from([0, 6, 12, None])),
                    "data_type": draw(st.sampled_from(["", "analysis", "forecast"])),
                    "version": draw(st.sampled_from(["0001", "0005"])),
                    "source": draw(st.sampled_from(["a.nc", "b.nc"])),
                }
                value = draw(st.sampled_from([1.0, 1.0, 2.0, NAN])) + index * draw(st.sampled_from([0, 1]))
                kept = draw(st.sampled_from([("u10", "v10"), ("u10", "v10"), ("u10",), ("v10",)]))
                records += [
                    record for record in make_wind(time, value, member=member, **kind) if record.variable in kept
                ]
    return records


def _result(records: Sequence[Record]) -> object:
    """Return everything that a choice decides, or the message of its error."""
    try:
        series = Series(choose(records, WIND))
        loaded = series.load([series.newest_time()])
    except SourceError as error:
        return str(error)
    return [loaded.fields[name].values.tobytes() for name in WIND], loaded.list_sources(), loaded.members


@given(_records(), st.randoms(use_true_random=False))
def test_the_order_of_records_never_matters(records: list[Record], random: Random) -> None:
    shuffled = list(records)
    random.shuffle(shuffled)
    assert _result(shuffled) == _result(records)
