import numpy as np
import pytest

from models.testing import tiny_spec
from weather.pattern import PATTERN_GRID, Pattern, coarsen, wrong_arrangements

WIND = ("u10", "v10")
NAMES = (
    "with north and south exchanged",
    "with east and west exchanged",
    "turned by 180° of longitude",
    "with north and south exchanged and turned by 180° of longitude",
    "with north and south, and east and west exchanged",
    "with the opposite sign of `u10`",
    "with the opposite sign of `v10`",
    "with the opposite sign of `u10` and `v10`",
    "with `u10` and `v10` exchanged",
)


@pytest.fixture
def average() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 5, (2, *PATTERN_GRID.shape))


@pytest.fixture
def pattern(average: np.ndarray) -> Pattern:
    return Pattern(average, [(0.0, 6.0), (0.0, 5.0)], WIND)


def test_the_arrangements_of_the_wind_are_known_by_name() -> None:
    assert tuple(wrong_arrangements(WIND)) == NAMES


def test_scalars_have_neither_signs_nor_an_exchange() -> None:
    assert tuple(wrong_arrangements(("t2m", "msl"))) == NAMES[:5]
    assert tuple(wrong_arrangements(("t2m", "u10"))) == (*NAMES[:5], NAMES[5])


def test_only_the_wind_is_exchanged() -> None:
    assert wrong_arrangements(("v10", "t2m", "u10"))[NAMES[-1]].order == (2, 1, 0)


@pytest.mark.parametrize("name", NAMES)
def test_every_arrangement_undoes_itself(name: str, average: np.ndarray) -> None:
    arrangement = wrong_arrangements(WIND)[name]
    once = arrangement.apply(average[None])
    assert not np.array_equal(once, average[None])
    np.testing.assert_array_equal(arrangement.apply(once), average[None])


def test_the_average_resembles_itself_and_not_its_negative(average: np.ndarray, pattern: Pattern) -> None:
    np.testing.assert_allclose(pattern.compare(np.stack([average, 3 * average, -average]))[0], [1, 1, -1])
    assert pattern.compare(np.zeros((1, *average.shape)))[0] == 0


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_wrongly_arranged_average_resembles_itself_in_that_arrangement(
    name: str, average: np.ndarray, pattern: Pattern
) -> None:
    similarity, others = pattern.compare(wrong_arrangements(WIND)[name].apply(average[None]))
    assert others[name] == pytest.approx(1)
    assert similarity < 0.9
    assert max(others, key=lambda other: others[other].item()) == name


def test_the_mean_of_a_scalar_is_no_part_of_its_pattern() -> None:
    average = np.random.default_rng(0).normal(288, 15, (1, *PATTERN_GRID.shape))
    frame = np.random.default_rng(1).normal(288, 15, (1, 1, *PATTERN_GRID.shape))
    similarity, _ = Pattern(average, [(288.0, 15.0)], ("t2m",)).compare(frame)
    assert abs(similarity.item()) < 0.3


@pytest.mark.parametrize("rows", [8, 12, 37])
def test_means_over_the_coarse_grid_keep_a_constant_and_the_global_mean(rows: int) -> None:
    grid = tiny_spec(rows, 48, has_poles=rows % 2 == 1).grid.grid
    frames = np.random.default_rng(0).normal(3, 1, (2, 2, *grid.shape)).astype(np.float32)
    frames[1] = 3
    coarse = coarsen(frames, grid)
    np.testing.assert_allclose(coarse[1], 3, rtol=1e-6)
    expected = (frames.mean(axis=-1, dtype=np.float64) * grid.area_weights).mean(axis=-1)
    np.testing.assert_allclose((coarse.mean(axis=-1) * PATTERN_GRID.area_weights).mean(axis=-1), expected, rtol=1e-5)
