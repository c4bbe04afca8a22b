import numpy as np
import pytest

from models.testing import tiny_spec
from weather.grids import Grid
from weather.measures import (
    bands_of,
    format_latitude,
    measure_bands,
    measure_change,
    measure_roughness,
    measure_wind_speed,
)

GRID = tiny_spec(36, 72).grid.grid
LONGITUDE = np.radians(GRID.longitude)


def _frames(field: np.ndarray) -> np.ndarray:
    return np.broadcast_to(field, (1, 1, *GRID.shape)).astype(np.float32)


@pytest.mark.parametrize("poles", [True, False])
@pytest.mark.parametrize("rows", [8, 16, 37, 181])
def test_every_row_is_in_one_band(rows: int, poles: bool) -> None:
    bands = bands_of(tiny_spec(rows, 8, has_poles=poles).grid.grid)
    assert [row for band in bands for row in range(band.rows.start, band.rows.stop)] == list(range(rows))
    assert all(np.isclose(band.weights.sum(), 1) for band in bands)


def test_a_band_without_rows_is_left_out() -> None:
    assert [str(band) for band in bands_of(Grid((67.5, 22.5, -22.5, -67.5), (0.0, 90.0, 180.0, 270.0)))] == [
        "90°N to 60°N",
        "30°N to the equator",
        "the equator to 30°S",
        "60°S to 90°S",
    ]


@pytest.mark.parametrize(("latitude", "text"), [(45, "45°N"), (0, "the equator"), (-7.5, "7.5°S")])
def test_a_latitude_is_written_with_its_hemisphere(latitude: float, text: str) -> None:
    assert format_latitude(latitude) == text


def test_mean_and_spread_of_a_wave_are_its_offset_and_its_amplitude_over_the_root_of_two() -> None:
    means, spreads = measure_bands(_frames(7 + 3 * np.sin(4 * LONGITUDE)), GRID)
    assert means.shape == spreads.shape == (1, 1, 6)
    np.testing.assert_allclose(means, 7, atol=1e-5)
    np.testing.assert_allclose(spreads, 3 / np.sqrt(2), atol=1e-5)


@pytest.mark.parametrize("wavenumber", [1, 5, 18, 36])
def test_the_roughness_of_a_wave_is_one_less_the_cosine_of_its_phase_step(wavenumber: int) -> None:
    field = 7 + 3 * np.cos(wavenumber * LONGITUDE)
    assert measure_roughness(_frames(field), GRID)[0, 0] == pytest.approx(1 - np.cos(2 * np.pi * wavenumber / 72), 1e-4)


def test_the_roughness_of_white_noise_is_one_and_that_of_a_constant_zero() -> None:
    noise = np.random.default_rng(0).normal(size=GRID.shape)
    assert measure_roughness(_frames(noise), GRID)[0, 0] == pytest.approx(1, abs=0.05)
    assert measure_roughness(_frames(np.full(GRID.shape, 5.0)), GRID)[0, 0] == 0


def test_the_change_of_a_shift_is_the_shift() -> None:
    field = np.random.default_rng(0).normal(size=GRID.shape)
    assert measure_change(_frames(field), _frames(field - 2.5), GRID)[0, 0] == pytest.approx(2.5, 1e-5)


def test_the_largest_wind_speed_is_that_of_both_components_at_one_point() -> None:
    frames = np.zeros((2, 3, *GRID.shape), np.float32)
    frames[1, 0, 4, 5], frames[1, 2, 4, 5], frames[1, 2, 0, 0] = -3, 4, -4.5
    speeds = measure_wind_speed(frames, ("v10", "msl", "u10"))
    assert speeds is not None
    np.testing.assert_allclose(speeds, [0, 5])
    assert measure_wind_speed(frames, ("u10", "msl", "t2m")) is None
