from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from diagnostics.figures.ensemble import Quantity, draw_maps, draw_plume
from diagnostics.figures.globe import coastlines, draw_globe
from weather.grids import Grid

GRID = Grid.from_coordinates(np.linspace(-87.5, 87.5, 36), np.arange(72) * 5.0)
INIT_TIME = np.datetime64("2018-09-15T00", "s")
WIND = Quantity("10 m wind speed", "m s-1")


def _colours(path: Path) -> int:
    image = matplotlib.image.imread(path)
    return len(np.unique((image[..., :3] * 255).astype(np.uint8).reshape(-1, 3), axis=0))


@pytest.mark.parametrize("members", [1, 5])
def test_maps_are_drawn_for_any_number_of_members(members: int, tmp_path: Path) -> None:
    fields = np.random.default_rng(0).gamma(2, 3, (members, *GRID.shape)).astype(np.float32)
    draw_maps(tmp_path / "maps.png", WIND, GRID, INIT_TIME, [(np.timedelta64(24, "h"), fields)])
    assert _colours(tmp_path / "maps.png") > 200


def test_maps_are_drawn_without_a_member_that_is_nan(tmp_path: Path) -> None:
    fields = np.random.default_rng(0).gamma(2, 3, (3, *GRID.shape)).astype(np.float32)
    fields[1] = np.nan
    draw_maps(tmp_path / "maps.png", WIND, GRID, INIT_TIME, [(np.timedelta64(24, "h"), fields)])
    assert (tmp_path / "maps.png").stat().st_size > 10_000


def test_the_plume_is_drawn(tmp_path: Path) -> None:
    series = np.random.default_rng(0).gamma(2, 3, (10, 8)).astype(np.float32)
    lead_times = [np.timedelta64(6 * (index + 1), "h") for index in range(10)]
    draw_plume(tmp_path / "plume.png", WIND, INIT_TIME, lead_times, series, (34.0, -78.0))
    assert _colours(tmp_path / "plume.png") > 20


def test_a_map_shows_every_value_at_its_coordinates_without_a_seam() -> None:
    longitude = np.repeat(np.asarray(GRID.longitude)[None], 36, axis=0)
    field = np.cos(np.radians(longitude))
    axes = Figure().subplots(subplot_kw={"projection": "mollweide"})
    mesh = draw_globe(axes, GRID, field, "viridis", (-1, 1))
    coordinates = np.degrees(np.asarray(mesh.get_coordinates())[..., 0])
    values = np.asarray(mesh.get_array()).reshape(coordinates.shape)
    np.testing.assert_allclose(values[1:-1, 1:-1], np.cos(np.radians(coordinates))[1:-1, 1:-1], atol=1e-6)
    np.testing.assert_allclose(values[1:-1, [0, -1]], -1, atol=5e-3)
    assert coordinates[0, 0] == pytest.approx(-180)
    assert coordinates[0, -1] == pytest.approx(180)


def test_coastlines_have_no_segment_across_the_map() -> None:
    steps = np.abs(np.diff(np.degrees(coastlines()), axis=0))
    assert np.nanmax(steps) < 30
