import numpy as np
import pytest
from numpy.typing import NDArray

from weather.readers.points import Points, PointsError

COLUMNS = np.arange(36) * 10.0
ROWS = np.linspace(90, -90, 19)
HALF = np.linspace(85, -85, 18)


@pytest.mark.parametrize(
    "latitude",
    [
        ROWS,
        ROWS[::-1],
        HALF,
        ROWS[1:],
        ROWS[:-1],
        ROWS[1:-1],
        ROWS.astype(np.float32),
        np.round(np.linspace(90, -90, 46), 1),
    ],
)
def test_rows_with_and_without_poles_are_accepted(latitude: NDArray[np.floating]) -> None:
    points = Points.of(latitude, COLUMNS)
    np.testing.assert_allclose(points.grid.latitude, np.sort(latitude)[::-1])


@pytest.mark.parametrize("start", [0.0, 0.5, 5.0, -180.0, -179.5, 180.0, 355.0])
@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("repeats", [False, True])
def test_values_follow_their_longitudes(start: float, direction: int, repeats: bool) -> None:
    longitude = start + direction * np.arange(37 if repeats else 36) * 10.0
    values = np.sin(np.radians(longitude)) + ROWS[:, None]
    points = Points.of(ROWS, longitude)
    expected = np.sin(np.radians(points.grid.longitude)) + np.array(points.grid.latitude)[:, None]
    np.testing.assert_allclose(points.arrange(values), expected, atol=1e-9)
    assert points.grid.shape == (19, 36)


def test_a_repeated_meridian_of_other_values_is_refused() -> None:
    points = Points.of(ROWS, np.arange(37) * 10.0)
    values = np.random.default_rng(0).normal(size=(19, 37))
    with pytest.raises(PointsError, match="The first and the last meridian are the same, but their values differ"):
        points.arrange(values)


@pytest.mark.parametrize(
    ("latitude", "longitude", "sentence"),
    [
        (np.delete(ROWS, 9), COLUMNS, "latitudes between -10 and 10 are missing"),
        (ROWS[2:], COLUMNS, "Rows towards the north pole are missing: latitudes go from -90 to 70"),
        (ROWS[:-2], COLUMNS, "Rows towards the south pole are missing"),
        (ROWS[2:-2], COLUMNS, "Rows towards both poles are missing"),
        (ROWS[:9], COLUMNS, "The grid must be global"),
        (ROWS, COLUMNS[:18], "Longitudes must be evenly spaced around the globe"),
        (ROWS, np.delete(COLUMNS, 5), "Longitudes must be evenly spaced around the globe"),
        (ROWS * np.pi / 180, COLUMNS, "a region"),
        (ROWS * 2, COLUMNS, r"Latitudes must be within \[-90, 90\]"),
        (np.append(ROWS, 0.0), COLUMNS, "at least 4 different finite numbers"),
        (np.append(ROWS, np.nan), COLUMNS, "at least 4 different finite numbers"),
    ],
)
def test_what_is_missing_of_a_grid_is_said(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], sentence: str
) -> None:
    with pytest.raises(PointsError, match=sentence):
        Points.of(latitude, longitude)
