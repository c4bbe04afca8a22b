import numpy as np
import pytest
import torch

from diagnostics.wind import wind_direction, wind_speed


@pytest.mark.parametrize(
    ("u", "v", "direction"),
    [(0, -1, 0), (-1, -1, 45), (-1, 0, 90), (0, 1, 180), (1, 0, 270), (1, -1, 315)],
)
def test_the_direction_is_where_the_wind_comes_from(u: float, v: float, direction: float) -> None:
    assert wind_direction(np.array([u * 3.0]), np.array([v * 3.0]))[0] == pytest.approx(direction)
    assert float(wind_direction(torch.tensor([u * 3.0]), torch.tensor([v * 3.0]))[0]) == pytest.approx(direction)


def test_the_speed_is_the_length_of_the_vector() -> None:
    assert wind_speed(np.array([3.0]), np.array([-4.0]))[0] == pytest.approx(5)
