"""The bundled checkpoint judges bundled initial states: as they are, damaged in known ways, and of its own training."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers
from numpy.typing import NDArray

from models.testing import tiny_spec
from weather.admission import CHANGE, MEAN, ROUGHNESS, SPREAD, WIND_SPEED, Findings, Margin, Statistic, check_state
from weather.bundled import bundled_folder, catalogue_states, find_catalogue_state
from weather.extremes import Range, compute_extremes
from weather.initial_state import InitialState, read_initial_state
from weather.manifest import ModelSpec, read_manifest
from weather.testing import travelling_waves

NOW = np.datetime64("2026-11-26T12", "s")
SAMPLES = catalogue_states()
Frames = NDArray[np.float32]


@pytest.fixture(scope="module")
def planet() -> ModelSpec:
    return read_manifest(bundled_folder("checkpoints") / "planet").model


@pytest.fixture(scope="module", params=SAMPLES, ids=lambda sample: f"{sample.dataset}_{sample.init_time}")
def state(request: pytest.FixtureRequest, planet: ModelSpec) -> InitialState:
    return read_initial_state([str(path) for path in request.param.files], planet)


def _check(previous: Frames, newest: Frames, spec: ModelSpec) -> Findings:
    return check_state((newest, previous), np.datetime64("2018-09-15T00", "s"), spec, NOW)


def _change_both(state: InitialState, change: Callable[[Frames], Frames], spec: ModelSpec) -> Findings:
    return _check(change(state.previous), change(state.newest), spec)


@pytest.mark.parametrize("checkpoint", ["earth", "planet"])
def test_bundled_states_are_admitted_without_a_warning(state: InitialState, checkpoint: str) -> None:
    assert state.warnings == ()
    spec = read_manifest(bundled_folder("checkpoints") / checkpoint).model
    assert _check(state.previous, state.newest, spec) == Findings()


_SIGN_OF_U = np.array([-1, 1], np.float32)[:, None, None]


_ARRANGEMENTS: list[tuple[Callable[[Frames], Frames], str]] = [
    (lambda frames: frames[:, :, ::-1], "with north and south exchanged (correlation"),
    (lambda frames: frames[..., ::-1], "with east and west exchanged (correlation"),
    (lambda frames: np.roll(frames, 48, axis=-1), "turned by 180° of longitude (correlation"),
    (lambda frames: frames[:, :, ::-1, ::-1], "with north and south, and east and west exchanged (correlation"),
    (lambda frames: -_SIGN_OF_U * frames, "with the opposite sign of `v10` (correlation"),
    (lambda frames: frames[:, ::-1], "with `u10` and `v10` exchanged (correlation"),
]


@pytest.mark.parametrize(("change", "sentence"), _ARRANGEMENTS)
def test_a_wrong_arrangement_is_warned_of_by_name(
    state: InitialState, planet: ModelSpec, change: Callable[[Frames], Frames], sentence: str
) -> None:
    findings = _change_both(state, change, planet)
    assert any(sentence in warning for warning in findings.warnings)


@pytest.mark.parametrize("signs", [_SIGN_OF_U, np.float32(-1)])
def test_wind_of_the_opposite_sign_is_refused(
    state: InitialState, planet: ModelSpec, signs: Frames | np.float32
) -> None:
    findings = _change_both(state, lambda frames: signs * frames, planet)
    assert any("with the opposite sign of `u10`" in problem for problem in findings.problems)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        *_ARRANGEMENTS,
        (lambda frames: _SIGN_OF_U * frames, "with the opposite sign of `u10` (correlation"),
        (lambda frames: -frames, "with the opposite sign of `u10` and `v10` (correlation"),
    ],
)
@pytest.mark.parametrize("has_extremes", [True, False])
def test_one_frame_in_a_wrong_arrangement_is_refused_by_name(
    state: InitialState, planet: ModelSpec, change: Callable[[Frames], Frames], sentence: str, has_extremes: bool
) -> None:
    spec = planet if has_extremes else planet.model_copy(update={"extremes": None})
    for previous, newest in ((change(state.previous), state.newest), (state.previous, change(state.newest))):
        problem = _check(previous, newest, spec).problems[0]
        assert sentence in problem
        assert problem.endswith("one of the frames is arranged wrongly.")


@given(share=floats(0, 1), index=integers(0, 118), seed=integers(0, 2**32 - 1))
def test_an_older_frame_that_is_a_poor_forecast_is_not_taken_for_a_wrong_arrangement(
    share: float, index: int, seed: int
) -> None:
    """However much of it is another frame, or noise, the older one resembles no arrangement more than the newest."""
    other, noise = CLIMATE[[(index + 60) % 120]], np.random.default_rng(seed).normal(0, 5, CLIMATE[[0]].shape)
    for wrong in (other, noise.astype(np.float32)):
        forecast = np.float32(1 - share) * CLIMATE[[index]] + np.float32(share) * wrong
        findings = check_state((CLIMATE[[index + 1]], forecast), _TIMES[index + 1], CLIMATE_SPEC, NOW)
        assert not any("arranged wrongly." in problem for problem in findings.problems)


def test_weather_of_another_time_and_planet_is_not_taken_for_a_wrong_arrangement(planet: ModelSpec) -> None:
    """Such frames are much less alike than the worst forecast is like the weather."""
    samples = find_catalogue_state("gfs", "2018-09-15T00"), find_catalogue_state("nature-run", None)
    states = [read_initial_state([str(path) for path in sample.files], planet) for sample in samples]
    for older, newer in (states, states[::-1]):
        problems = _check(older.previous, newer.newest, planet).problems
        assert not any("arranged wrongly." in problem for problem in problems)


@pytest.mark.parametrize("wrong", [1, 2])
def test_of_three_frames_the_wrong_one_is_named(state: InitialState, planet: ModelSpec, wrong: int) -> None:
    """A frame is compared with the one before it, and the statistics of each with those of the training years."""
    spec = planet.model_copy(update={"context_frames": 3})
    frames = [state.newest, state.previous, 2 * state.previous - state.newest]
    init_time = np.datetime64("2018-09-15T00", "s")
    assert check_state(frames, init_time, spec, NOW).problems == []
    frames[wrong] = np.roll(frames[wrong], 48, axis=-1)
    problems = check_state(frames, init_time, spec, NOW).problems
    times = ["2018-09-15T00:00", "2018-09-14T18:00", "2018-09-14T12:00"]
    named = f"The fields at {times[wrong]} resemble those at {times[wrong - 1]} more turned by 180° of longitude"
    assert any(problem.startswith(named) for problem in problems)
    frames[wrong] = 20 * state.newest
    problems = check_state(frames, init_time, spec, NOW).problems
    assert any(f"at {times[wrong]}; in the training years" in problem for problem in problems)


def test_transposed_frames_are_warned_of(state: InitialState, planet: ModelSpec) -> None:
    findings = _change_both(state, lambda frames: np.repeat(np.swapaxes(frames[..., ::2], -1, -2), 2, -1), planet)
    assert any("unlike the average of the training years" in text for text in findings.warnings + findings.problems)


@pytest.mark.parametrize("std", [1, 3, 6, 20])
def test_white_noise_is_refused(planet: ModelSpec, std: float) -> None:
    draw = np.random.default_rng(0)
    previous, newest = (draw.normal(0, std, (1, 2, 48, 96)).astype(np.float32) for _ in range(2))
    findings = _check(previous, newest, planet)
    assert any("The roughness of `u10`, which is 1 for white noise, is " in problem for problem in findings.problems)


@pytest.mark.parametrize("value", [0, 60])
def test_constant_frames_are_refused(state: InitialState, planet: ModelSpec, value: float) -> None:
    constant = np.full_like(state.newest, value)
    for previous, newest, count in (
        (constant, constant, 4),
        (state.previous, constant, 2),
        (constant, state.newest, 2),
    ):
        problems = _check(previous, newest, planet).problems
        assert len(problems) == count
        assert all(f"is {value:g} m s-1 everywhere" in problem for problem in problems)


def test_one_frame_twice_is_refused(state: InitialState, planet: ModelSpec) -> None:
    assert "is the same in both frames" in _check(state.newest, state.newest, planet).problems[0]


def test_a_frame_of_a_missing_chunk_is_refused(state: InitialState, planet: ModelSpec) -> None:
    newest = state.newest.copy()
    newest[:, 1, 10:16, 20:30] = 0
    (problem,) = _check(state.previous, newest, planet).problems
    assert problem.startswith("`v10` at 2018-09-15T00:00 is 0 m s-1 at all points around ")


def test_wind_of_60_more_metres_per_second_is_refused(state: InitialState, planet: ModelSpec) -> None:
    problems = _change_both(state, lambda frames: frames + 60, planet).problems
    assert any("The largest wind speed is" in problem for problem in problems)
    assert any("The mean of `u10` from " in problem for problem in problems)


def test_knots_and_kilometres_per_hour_taken_for_metres_per_second_are_noticed(
    state: InitialState, planet: ModelSpec
) -> None:
    for factor in (np.float32(1.944), np.float32(3.6)):
        findings = _check(factor * state.previous, factor * state.newest, planet)
        assert findings.warnings or findings.problems


def test_wind_of_more_than_twice_the_largest_speed_of_the_training_is_refused(
    state: InitialState, planet: ModelSpec
) -> None:
    assert planet.extremes is not None
    largest = max(np.hypot(frames[:, 0], frames[:, 1]).max() for frames in (state.previous, state.newest))
    factor = np.float32(2.05 * planet.extremes.wind_speed.high / largest)
    problems = _check(factor * state.previous, factor * state.newest, planet).problems
    assert any("largest wind speed" in problem for problem in problems)


def test_without_extremes_only_what_no_analysis_has_is_refused(state: InitialState, planet: ModelSpec) -> None:
    spec = planet.model_copy(update={"extremes": None})
    draw = np.random.default_rng(0)
    previous, newest = (draw.normal(0, 6, (1, 2, 48, 96)).astype(np.float32) for _ in range(2))
    assert _check(previous, newest, spec) == Findings()
    assert _check(state.previous, 0 * state.newest, spec).problems
    future = check_state(state.frames, np.datetime64("2090-01-01", "s"), spec, NOW)
    assert (len(future.warnings), future.problems) == (1, [])


def test_the_bad_analysis_of_an_ensemble_is_named(state: InitialState, planet: ModelSpec) -> None:
    previous, newest = np.repeat(state.previous, 3, 0), np.repeat(state.newest, 3, 0)
    newest[1] += 40
    problems = _check(previous, newest, planet).problems
    assert problems
    assert all("2018-09-15T00:00 in analysis 2 of 3" in problem for problem in problems)


WAVES_SPEC = tiny_spec()
_TIMES = [np.datetime64("2000-01-01T00", "s") + np.timedelta64(6 * step, "h") for step in range(120)]


def _climate(seed: int = 3) -> Frames:
    """Return 120 frames of waves that travel around a fixed pattern."""
    waves = travelling_waves(WAVES_SPEC.grid.grid, _TIMES)
    moving = np.stack([waves.u10.values, waves.v10.values], axis=1)
    still = travelling_waves(WAVES_SPEC.grid.grid, _TIMES[:1], seed)
    return np.asarray(moving + 2 * np.stack([still.u10.values, still.v10.values], axis=1), np.float32)


CLIMATE = _climate()
CLIMATE_SPEC = WAVES_SPEC.model_copy(
    update={
        "extremes": compute_extremes(
            [(CLIMATE, np.array(_TIMES))],
            WAVES_SPEC.grid.grid,
            [(variable.name, variable.mean, variable.std) for variable in WAVES_SPEC.variables],
            WAVES_SPEC.time_step,
        )
    }
)


@given(index=integers(1, 119), factor=floats(0.85, 1.15), offset=floats(-0.5, 0.5))
def test_no_state_of_the_training_is_warned_of_nor_one_like_it(index: int, factor: float, offset: float) -> None:
    previous, newest = (np.float32(factor) * CLIMATE[[step]] + np.float32(offset) for step in (index - 1, index))
    assert check_state((newest, previous), _TIMES[index], CLIMATE_SPEC, NOW) == Findings()


@given(index=integers(1, 119), factor=floats(6, 1e3), sign=integers(0, 1))
def test_a_state_far_beyond_the_training_is_refused(index: int, factor: float, sign: int) -> None:
    scale = np.float32(factor if sign else 1 / factor)
    findings = check_state((scale * CLIMATE[[index]], scale * CLIMATE[[index - 1]]), _TIMES[index], CLIMATE_SPEC, NOW)
    assert findings.problems


def test_the_worst_frame_of_a_statistic_is_described() -> None:
    values, excess = np.array([5.0, 9.0, 7.0]), np.array([1.0, 1.8, 1.4])
    statistic = Statistic("g", "mean of it", "Pa", values, Range(low=2, high=5), excess, SPREAD)
    assert statistic.severity == pytest.approx(1.8 / 1.25)
    assert statistic.describe(["a", "b", "c"]) == "The mean of it is 9 Pa b; in the training years, it was 2 to 5 Pa."


@pytest.mark.parametrize("margin", [MEAN, SPREAD, ROUGHNESS, CHANGE, WIND_SPEED])
def test_refusals_are_well_beyond_warnings(margin: Margin) -> None:
    assert margin.refusal >= 1.5 * margin.warning
