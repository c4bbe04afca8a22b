import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.testing import tiny_spec
from weather.errors import TrainingDataError
from weather.extremes import TrainingExtremes, compute_extremes
from weather.manifest import ModelSpec
from weather.measures import bands_of

SCALE = (("u10", 0.0, 6.0), ("v10", 0.0, 5.0))
STEP = np.timedelta64(6, "h")
SPEC = tiny_spec()
GRID = SPEC.grid.grid


def _times(count: int) -> NDArray[Any]:
    return np.datetime64("2000-01-01T00", "s") + STEP * np.arange(count)


def _noise(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(2, 5, (count, 2, *GRID.shape)).astype(np.float32)


def _extremes(frames: NDArray[np.float32]) -> TrainingExtremes:
    return compute_extremes([(frames, _times(len(frames)))], GRID, SCALE, STEP)


@pytest.mark.parametrize("count", [2, 256, 257, 600])
def test_extremes_are_those_of_all_frames_in_pieces_of_any_number(count: int) -> None:
    frames = _noise(count)
    found, values = _extremes(frames), frames.astype(np.float64)
    assert found.num_frames == count
    speeds = np.hypot(values[:, 0], values[:, 1]).max(axis=(1, 2))
    assert found.wind_speed is not None
    np.testing.assert_allclose([found.wind_speed.low, found.wind_speed.high], [speeds.min(), speeds.max()], rtol=1e-4)
    for channel, variable in enumerate(found.variables):
        field = values[:, channel]
        squares = ((field[1:] - field[:-1]) ** 2).mean(axis=-1) * GRID.area_weights
        changes = np.sqrt(squares.mean(axis=-1))
        np.testing.assert_allclose(
            [variable.change.low, variable.change.high], [changes.min(), changes.max()], rtol=1e-4
        )
        for band, mean, spread in zip(bands_of(GRID), variable.mean, variable.spread, strict=True):
            part = field[:, band.rows]
            means = np.average(part.mean(axis=-1), axis=1, weights=band.weights)
            variances = np.average(((part - means[:, None, None]) ** 2).mean(axis=-1), axis=1, weights=band.weights)
            np.testing.assert_allclose([mean.low, mean.high], [means.min(), means.max()], rtol=1e-3)
            np.testing.assert_allclose(
                [spread.low, spread.high], np.sqrt([variances.min(), variances.max()]), rtol=1e-4
            )


def test_the_change_is_that_of_frames_one_time_step_apart() -> None:
    frames, times = _noise(6), _times(6)
    times[3:] += 4 * STEP
    frames[3:] += 100
    extremes = compute_extremes([(frames, times)], GRID, SCALE, STEP)
    assert all(variable.change.high < 20 for variable in extremes.variables)


@pytest.mark.parametrize("hours", [6, 12, 18])
def test_extremes_of_parts_are_those_of_the_whole(hours: int) -> None:
    step, frames, times = np.timedelta64(hours, "h"), _noise(40), np.delete(_times(41), 17)
    whole = compute_extremes([(frames, times)], GRID, SCALE, step)
    cuts = np.split(np.arange(40), [1, 2, 9, 16, 30])
    parts = compute_extremes([(frames[part], times[part]) for part in cuts], GRID, SCALE, step)
    assert parts == whole
    pairs = [(i, j) for i, j in itertools.combinations(range(40), 2) if times[j] - times[i] == step]
    changes = [((frames[j, 0].astype(float) - frames[i, 0]) ** 2).mean(axis=-1) @ GRID.area_weights for i, j in pairs]
    expected = np.sqrt(np.array(changes) / GRID.shape[0])
    change = whole.variables[0].change
    np.testing.assert_allclose([change.low, change.high], [expected.min(), expected.max()], rtol=1e-4)


def test_a_frame_of_the_average_has_the_similarity_one() -> None:
    frame = _noise(1)
    found = _extremes(np.concatenate([frame, frame]))
    np.testing.assert_allclose([found.similarity.low, found.similarity.high], 1)
    assert found.advantage.low > 0.3


def test_frames_of_scalars_have_no_wind_speed() -> None:
    frames = _noise(3)[:, :1] + 280
    assert compute_extremes([(frames, _times(3))], GRID, (("t2m", 280.0, 5.0),), STEP).wind_speed is None


@pytest.mark.parametrize("hours", [4, 7, 12])
def test_frames_that_are_never_one_time_step_apart_are_refused(hours: int) -> None:
    times = np.datetime64("2000-01-01T00", "s") + np.timedelta64(hours, "h") * np.arange(5)
    with pytest.raises(TrainingDataError, match="two frames 6h apart in the training years"):
        compute_extremes([(_noise(5), np.array(times, "datetime64[s]"))], GRID, SCALE, STEP)


def test_extremes_survive_json() -> None:
    found = _extremes(_noise(4))
    assert TrainingExtremes.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("names", [("v10", "u10"), ("u10",), ("u10", "v10", "t2m")])
def test_a_specification_needs_the_extremes_of_its_own_variables(names: tuple[str, ...]) -> None:
    found = _extremes(_noise(4))
    variables = {variable.name: variable for variable in found.variables} | {
        "t2m": found.variables[0].model_copy(update={"name": "t2m"})
    }
    others = found.model_copy(update={"variables": tuple(variables[name] for name in names)})
    with pytest.raises(ValueError, match="`extremes` must be those of the variables u10, v10, in this order"):
        ModelSpec.model_validate(SPEC.model_dump() | {"extremes": others.model_dump()})
    assert ModelSpec.model_validate(SPEC.model_dump() | {"extremes": found.model_dump()}).extremes == found


def test_extremes_are_ordered_and_within_the_statistics_of_more_frames() -> None:
    frames = _noise(40)
    few, many = _extremes(frames[:20]), _extremes(frames)
    for ours, theirs in itertools.zip_longest(few.variables, many.variables):
        for narrow, wide in zip((*ours.mean, ours.roughness), (*theirs.mean, theirs.roughness), strict=True):
            assert wide.low <= narrow.low <= narrow.high <= wide.high


def test_the_union_has_the_ranges_of_all_frames_and_the_average_of_all() -> None:
    """Only the change between the two parts, and the correlations, each with its own average, may differ."""
    frames = _noise(90)
    united, whole = _extremes(frames[:30]).union(_extremes(frames[30:])), _extremes(frames)
    assert (united.num_frames, united.wind_speed) == (90, whole.wind_speed)
    for got, expected in zip(united.variables, whole.variables, strict=True):
        assert (got.name, got.mean, got.spread, got.roughness) == (
            expected.name,
            expected.mean,
            expected.spread,
            expected.roughness,
        )
        np.testing.assert_allclose(got.average, expected.average, atol=2e-3)
        assert expected.change.low <= got.change.low <= got.change.high <= expected.change.high
    parts = [_extremes(frames[:30]), _extremes(frames[30:])]
    assert united.similarity.low == min(part.similarity.low for part in parts)
    assert united.advantage.high == max(part.advantage.high for part in parts)
