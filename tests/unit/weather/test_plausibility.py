import numpy as np
import pytest
from numpy.typing import NDArray

from models.testing import tiny_spec
from weather.plausibility import (
    describe_range_problem,
    find_equal_frames,
    find_frame_problems,
    find_one_sided_winds,
    find_time_warnings,
)
from weather.variables import KNOWN

SPEC = tiny_spec(90, 180)
GRID = SPEC.grid.grid
NOW = np.datetime64("2026-11-26T12", "s")


@pytest.fixture
def frames() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 5, (1, 2, *GRID.shape)).astype(np.float32)


def _problems(frames: NDArray[np.float32]) -> list[str]:
    return find_frame_problems(frames, ["at noon"] * len(frames), SPEC.known_variables, GRID)


def test_frames_that_vary_have_no_problem(frames: NDArray[np.float32]) -> None:
    assert _problems(frames) == []


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 m s-1"), (-0.0, "0 m s-1"), (60.0, "60 m s-1"), (0.1, "0.1 m s-1")]
)
def test_a_constant_field_is_named_with_its_value(frames: NDArray[np.float32], value: float, text: str) -> None:
    frames[0, 1] = value
    assert _problems(frames) == [f"`v10` at noon is {text} everywhere, so it is no analysis."]


def test_a_field_that_is_constant_but_for_rounding_is_constant(frames: NDArray[np.float32]) -> None:
    frames[0, 0] = np.float32(60) + np.where(frames[0, 0] > 0, np.spacing(np.float32(60)), 0)
    assert len(_problems(frames)) == 1


@pytest.mark.parametrize("value", [0.0, -32.768, 9.0])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (40, 60), (85, 60), (30, 178)])
def test_a_missing_chunk_is_found_wherever_it_is(
    frames: NDArray[np.float32], row: int, column: int, value: float
) -> None:
    frames[0, 0][np.ix_(np.arange(row, row + 5), np.arange(column, column + 5) % 180)] = value
    (problem,) = _problems(frames)
    assert problem.startswith(f"`u10` at noon is {value:g} m s-1 at all points around ")
    assert problem.endswith("a part of the data seems to be missing.")


def test_the_place_of_a_missing_chunk_is_named(frames: NDArray[np.float32]) -> None:
    frames[0, 0, 20:25, 88:93] = 0
    assert "around 45°N 180°E (10° × 10°):" in _problems(frames)[0]


def test_equal_values_in_a_smaller_part_are_no_problem(frames: NDArray[np.float32]) -> None:
    frames[0, 0, 40:44, :] = 0
    frames[0, 1, :, 7:11] = 0
    assert _problems(frames) == []


def test_rounded_values_are_no_problem(frames: NDArray[np.float32]) -> None:
    assert _problems((np.round(frames / 4) * 4).astype(np.float32)) == []


def test_wind_that_blows_one_way_everywhere_is_named(frames: NDArray[np.float32]) -> None:
    assert find_one_sided_winds(frames, ["at noon"] * len(frames), SPEC.known_variables) == []
    for change, sign in ((np.abs, "negative"), (lambda values: -np.abs(values), "positive")):
        problems = find_one_sided_winds(change(frames), ["at noon"] * len(frames), SPEC.known_variables)
        assert problems[0].startswith(f"`u10` at noon is nowhere {sign}")


def test_equal_frames_are_named(frames: NDArray[np.float32]) -> None:
    newest = frames.copy()
    newest[0, 1, 3, 3] += 1
    times = [np.datetime64("2018-09-15T12", "s") - np.timedelta64(12 * index, "h") for index in range(3)]
    assert find_equal_frames((newest, frames), times[:2], SPEC.known_variables) == [
        "`u10` is the same in both frames, at every point: one of them has a wrong time."
    ]
    assert len(find_equal_frames((frames, frames), times[:2], SPEC.known_variables)) == 2
    assert find_equal_frames((newest, 0 * newest, frames), times, SPEC.known_variables) == []
    assert find_equal_frames((0 * newest, newest, frames), times, SPEC.known_variables) == [
        "`u10` is the same at 2018-09-14T12:00 and 2018-09-15T00:00, at every point: one of them has a wrong time."
    ]


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("2026-11-27T12:00:01", "is in the future: it is now 2026-11-26T12:00"),
        ("2090-01-01", "2090-01-01T00:00, is in the future"),
        ("1899-12-31T23", "1899-12-31T23:00, is before 1900"),
        ("0001-01-01", "is before 1900"),
    ],
)
def test_a_time_without_analyses_is_warned_of(time: str, text: str) -> None:
    (warning,) = find_time_warnings(np.datetime64(time, "s"), NOW)
    assert text in warning


@pytest.mark.parametrize("time", ["2026-11-27T12", "2026-11-26T12", "1900-01-01T00", "2018-09-15T00"])
def test_a_time_of_analyses_is_not_warned_of(time: str) -> None:
    assert find_time_warnings(np.datetime64(time, "s"), NOW) == []


@pytest.mark.parametrize(
    ("name", "low", "high", "hint"),
    [
        ("t2m", -60.0, 45.0, "would be possible in degC: the units of the file may be wrong."),
        ("t2m", 490.0, 590.0, "The file calls its units degC, but the numbers fit K."),
        ("msl", 940.0, 1050.0, "would be possible in hPa"),
        ("msl", 9.4e6, 1.05e7, "The file calls its units hPa, but the numbers fit Pa."),
        ("u10", -200.0, 180.0, "would be possible in knots"),
    ],
)
def test_values_of_another_unit_are_recognised(name: str, low: float, high: float, hint: str) -> None:
    sentence = describe_range_problem(KNOWN[name], low, high, "at noon")
    assert sentence is not None
    assert sentence.startswith(f"`{name}` must be within ")
    assert f"at noon. Got: {low:g} to {high:g}." in sentence
    assert hint in sentence


@pytest.mark.parametrize(("name", "low", "high"), [("u10", -1e9, 5.0), ("t2m", 0.0, 1e4), ("msl", -1.0, 9e4)])
def test_values_of_no_unit_are_refused_without_a_hint(name: str, low: float, high: float) -> None:
    sentence = describe_range_problem(KNOWN[name], low, high, "at noon")
    assert sentence is not None
    assert sentence.endswith(f"Got: {low:g} to {high:g}.")


def test_possible_values_are_no_problem() -> None:
    assert describe_range_problem(KNOWN["t2m"], 150.0, 350.0, "at noon") is None
