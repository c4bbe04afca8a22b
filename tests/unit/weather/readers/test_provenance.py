import numpy as np
import pytest

from tests.unit.weather.readers.records import NEWEST, PREVIOUS, make_record, make_wind
from weather.readers.provenance import ChosenSource, format_numbers, list_sources, with_file_names


def test_variables_and_members_are_merged_and_files_and_times_are_not() -> None:
    records = [record for member in (2, 1) for record in make_wind(PREVIOUS, member=member)]
    records += [record for member in (2, 1) for record in make_wind(NEWEST, member=member, source="b.nc")]
    first, second = list_sources(records, (1, 2), ())
    assert first.model_dump() == {
        "file": "a.grib2",
        "variables": ("u10", "v10"),
        "valid_time": "2018-09-14T18:00:00",
        "run": "2018-09-14T18:00:00",
        "step_hours": 0.0,
        "type": "",
        "version": "",
        "members": (1, 2),
        "notes": (),
    }
    assert (second.file, second.valid_time) == ("b.nc", "2018-09-15T00:00:00")


def test_one_file_for_each_variable_is_one_source_for_each() -> None:
    records = [make_record("u10", source="u.nc"), make_record("v10", source="v.nc")]
    assert [(source.file, source.variables) for source in list_sources(records, (None,), ())] == [
        ("u.nc", ("u10",)),
        ("v.nc", ("v10",)),
    ]


def test_a_forecast_and_frames_of_different_runs_are_noted() -> None:
    records = [*make_wind(PREVIOUS, step_hours=6), *make_wind(NEWEST, step_hours=0)]
    first, second = list_sources(records, (None,), ())
    assert first.notes == ("a forecast of 6 h, not an analysis", "the other frame is of another run")
    assert second.notes == ()
    same_run = [*make_wind(PREVIOUS, step_hours=6), *make_wind(NEWEST, step_hours=12)]
    assert [source.notes for source in list_sources(same_run, (None,), ())] == [
        ("a forecast of 6 h, not an analysis",),
        ("a forecast of 12 h, not an analysis",),
    ]


def test_preliminary_data_a_single_member_and_notes_of_records_are_noted() -> None:
    records = make_wind(version="0005", member=3, notes=("`u` has no `units`; its name says m/s",))
    (source,) = list_sources(records, (None,), ("left out: member 9, which has no value",))
    assert source.notes == (
        "`u` has no `units`; its name says m/s",
        "of the preliminary experiment version",
        "member 3 alone, used as a single analysis",
        "left out: member 9, which has no value",
    )
    assert source.members == ()
    (control,) = list_sources(make_wind(member=0), (None,), ())
    assert control.notes == ()


def test_a_source_is_a_phrase() -> None:
    record = make_record("u10", step_hours=6, data_type="forecast", version="0001", source="/data/b.nc")
    (source,) = list_sources([record], (None,), ())
    assert str(source.with_short_file()) == (
        "u10 of 2018-09-15T00:00 from b.nc (forecast, run 2018-09-14T18:00, step 6 h, version 0001)"
    )
    (plain,) = list_sources(make_wind(step_hours=None), (None,), ())
    assert (str(plain), plain.run, plain.step_hours) == ("u10, v10 of 2018-09-15T00:00 from a.grib2", None, None)


def test_files_are_renamed_in_notes_too() -> None:
    source = ChosenSource(file="/x/0.nc", variables=("u10",), valid_time="2018-09-15T00:00:00", notes=("in /x/0.nc",))
    (renamed,) = with_file_names([source], lambda text: text.replace("/x/0.nc", "mine.nc"))
    assert (renamed.file, renamed.notes) == ("mine.nc", ("in mine.nc",))
    assert ChosenSource.model_validate_json(renamed.model_dump_json()) == renamed


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([0, 1, 2], "0-2"), ([5, 1, 2, 9, 8], "1-2, 5, 8-9")]
)
def test_consecutive_numbers_are_ranges(numbers: list[int], text: str) -> None:
    assert format_numbers(numbers) == text


def test_times_that_are_off_by_seconds_have_round_steps() -> None:
    (source,) = list_sources([make_record(step_hours=6 + 1 / 3600)], (None,), ())
    assert source.step_hours == 6.0
    assert np.datetime64(source.valid_time) == NEWEST
