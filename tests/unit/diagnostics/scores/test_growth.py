import numpy as np
import pytest
import torch

from diagnostics.scores.growth import anomaly_amplitude, growth_factor
from weather.grids import Grid

GRID = Grid.from_coordinates(np.linspace(-84, 84, 8), np.arange(16) * 22.5)


def _linear_map(*eigenvalues: complex) -> np.ndarray:
    """Return a real matrix, far from normal, with these eigenvalues and the conjugates of those that are complex."""
    blocks = [
        np.array([[value.real, value.imag], [-value.imag, value.real]]) if value.imag else np.array([[value.real]])
        for value in map(complex, eigenvalues)
    ]
    size = sum(len(block) for block in blocks)
    diagonal, row = np.zeros((size, size)), 0
    for block in blocks:
        diagonal[row : row + len(block), row : row + len(block)] = block
        row += len(block)
    basis = np.random.default_rng(1).normal(size=(size, size))
    return basis @ diagonal @ np.linalg.inv(basis)


@pytest.mark.parametrize(
    ("eigenvalues", "leading"),
    [((1.054, 0.8, 0.5), 1.054), ((0.97, -0.6), 0.97), ((-1.02, 0.7), 1.02), ((0.9 + 0.5j, 0.6), abs(0.9 + 0.5j))],
)
def test_the_growth_of_a_linear_map_is_the_modulus_of_its_leading_eigenvalue(
    eigenvalues: tuple[complex, ...], leading: float
) -> None:
    matrix = _linear_map(*eigenvalues)
    state, amplitudes = np.ones(len(matrix)), []
    for step in range(160):
        state = matrix @ state
        if step >= 80:
            amplitudes.append(np.linalg.norm(state))
    assert growth_factor(np.array(amplitudes)) == pytest.approx(leading, abs=2e-3)


def test_the_growth_of_an_exponential_is_its_base_and_of_white_noise_one() -> None:
    steps = np.arange(30)[:, None]
    np.testing.assert_allclose(growth_factor(0.2 * np.array([1.1, 0.9, 1.0]) ** steps), [1.1, 0.9, 1.0])
    noise = 1 + 0.05 * np.random.default_rng(0).normal(size=80)
    assert growth_factor(noise) == pytest.approx(1, abs=2e-3)


def test_the_growth_keeps_leading_axes_and_the_kind_of_array() -> None:
    amplitudes = np.random.default_rng(0).uniform(1, 2, (6, 3, 2))
    factors = growth_factor(torch.from_numpy(amplitudes))
    assert isinstance(factors, torch.Tensor)
    np.testing.assert_allclose(factors.numpy(), growth_factor(amplitudes))
    ratios = [(amplitudes[k + 3] / amplitudes[k]) ** (1 / 3) for k in range(3)]
    np.testing.assert_allclose(growth_factor(amplitudes), np.prod(ratios, axis=0) ** (1 / 3))


def test_growth_is_over_40_steps_and_its_mean_is_over_all_first_steps() -> None:
    amplitudes = np.random.default_rng(3).uniform(1, 2, 161)
    ratios = [(amplitudes[k + 40] / amplitudes[k]) ** (1 / 40) for k in range(121)]
    assert growth_factor(amplitudes) == pytest.approx(np.exp(np.mean(np.log(ratios))))
    assert growth_factor(amplitudes, lag=10) != growth_factor(amplitudes)


def test_one_step_has_no_growth_and_nan_propagates() -> None:
    with pytest.raises(ValueError, match=r"at least 2 steps\. Got: 1"):
        growth_factor(np.ones(1))
    amplitudes = np.ones((4, 2))
    amplitudes[3, 1] = np.nan
    assert np.isnan(growth_factor(amplitudes)).tolist() == [False, True]


def test_the_amplitude_is_the_root_of_the_mean_square_over_area_and_variables_in_units_of_the_scales() -> None:
    climatology = np.random.default_rng(0).normal(size=(2, *GRID.shape))
    rows = np.sin(np.radians(GRID.latitude))[:, None] * np.ones(GRID.shape)
    states = climatology + np.stack([3 * rows, np.full(GRID.shape, 4.0)])
    weights = np.asarray(GRID.area_weights)
    sine_squared = (weights @ rows[:, 0] ** 2) / weights.sum()
    expected = np.sqrt((1.5**2 * sine_squared + 0.5**2) / 2)
    assert anomaly_amplitude(states, climatology, [2.0, 8.0], weights) == pytest.approx(expected)
    both = anomaly_amplitude(
        torch.from_numpy(np.stack([states, climatology])), torch.from_numpy(climatology), [2.0, 8.0], weights
    )
    np.testing.assert_allclose(both.numpy(), [expected, 0], atol=1e-12)
