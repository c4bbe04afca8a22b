import numpy as np
import pytest
import torch

from diagnostics.scores.wind import append_wind_speed, wind_direction, wind_speed


@pytest.mark.parametrize(
    ("u", "v", "direction"),
    [(0, -1, 0), (-1, -1, 45), (-1, 0, 90), (0, 1, 180), (1, 0, 270), (1, -1, 315)],
)
def test_the_direction_is_that_which_the_wind_blows_from(u: float, v: float, direction: float) -> None:
    assert wind_direction(np.array([u * 3.0]), np.array([v * 3.0]))[0] == pytest.approx(direction)
    assert float(wind_direction(torch.tensor([u * 3.0]), torch.tensor([v * 3.0]))[0]) == pytest.approx(direction)


def test_the_speed_is_the_length_of_the_vector() -> None:
    assert wind_speed(np.array([3.0]), np.array([-4.0]))[0] == pytest.approx(5)


def test_nan_propagates() -> None:
    u, v = np.array([np.nan, 1.0]), np.array([1.0, np.nan])
    assert np.isnan(wind_speed(u, v)).all()
    assert np.isnan(wind_direction(u, v)).all()


def test_the_speed_is_appended_after_the_components() -> None:
    fields = np.random.default_rng(0).normal(size=(4, 2, 3, 5))
    more, names = append_wind_speed(fields, ("u10", "v10"))
    assert names == ("u10", "v10", "wind_speed_10m")
    np.testing.assert_array_equal(more[:, :2], fields)
    np.testing.assert_allclose(more[:, 2], np.sqrt(fields[:, 0] ** 2 + fields[:, 1] ** 2))
    assert append_wind_speed(fields, ("u10", "msl"))[1] == ("u10", "msl")
