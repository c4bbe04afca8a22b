"""Areas in well-known text, and the grid points in them."""

import numpy as np
import pytest

from storage.errors import ConfigurationError
from weather.areas import Area, GridPoints
from weather.grids import Grid
from weather.region import Region

GRID = Grid.from_coordinates(np.linspace(90, -90, 121), np.arange(240) * 1.5)


def _points(coords: str) -> set[tuple[float, float]]:
    points = GridPoints.inside(Area.parse(coords), GRID)
    return set(zip(points.longitude.tolist(), points.latitude.tolist(), strict=True))


def _box(west: float, south: float, east: float, north: float) -> str:
    return f"(({west} {south},{east} {south},{east} {north},{west} {north},{west} {south}))"


@pytest.mark.parametrize("box", [(-15, 30, 30, 60), (0, 0, 1.5, 1.5), (100.2, -70.1, 140, -12), (170, -10, 190, 10)])
def test_a_rectangle_has_the_points_of_its_box(box: tuple[float, float, float, float]) -> None:
    west, south, east, north = box
    polygon = GridPoints.inside(Area.parse(f"POLYGON{_box(*box)}"), GRID)
    region = GridPoints.inside(Region.parse(f"{west},{south},{east if east <= 180 else east - 360},{north}"), GRID)
    for name in ("rows", "columns", "latitude", "longitude", "weights"):
        np.testing.assert_array_equal(getattr(polygon, name), getattr(region, name))
    assert polygon.weights.sum() == pytest.approx(1)


def test_a_triangle_has_the_points_of_its_inequalities_and_its_boundary() -> None:
    longitude, latitude = np.meshgrid(np.arange(240) * 1.5, np.array(GRID.latitude))
    inside = (latitude >= 0) & (longitude <= 30) & (latitude <= longitude)
    expected = set(zip(longitude[inside].tolist(), latitude[inside].tolist(), strict=True))
    assert _points("polygon ((0 0, 30 0, 30 30, 0 0))") == expected
    assert (30.0, 30.0) in expected


def test_a_hole_takes_the_points_inside_it_but_not_those_on_its_boundary() -> None:
    outer, hole = _box(0, 0, 30, 30)[1:-1], _box(9, 9, 21, 21)[1:-1]
    found = _points(f"POLYGON({outer},{hole})")
    assert found == _points(f"POLYGON({outer})") - _points(f"POLYGON{_box(10, 10, 20, 20)}")


def test_several_polygons_are_one_area_whose_longitudes_have_no_jump() -> None:
    found = _points(f"MULTIPOLYGON({_box(-6, 0, 0, 3)},{_box(354, 0, 363 - 3, 3)},{_box(6, 0, 9, 3)})")
    assert found == _points(f"POLYGON{_box(-6, 0, 0, 3)}") | _points(f"POLYGON{_box(6, 0, 9, 3)}")


def test_a_cap_around_a_pole_and_the_whole_globe_have_each_point_once() -> None:
    assert len(_points(f"POLYGON{_box(0, 60, 360, 90)}")) == 21 * 240
    globe = GridPoints.inside(Area.parse(f"POLYGON{_box(-180, -90, 180, 90)}"), GRID)
    assert len(set(zip(globe.rows.tolist(), globe.columns.tolist(), strict=True))) == len(globe.rows) == 121 * 240
    assert (globe.longitude.min(), globe.longitude.max()) == (-180, 178.5)
    field = np.sin(np.radians(np.array(GRID.latitude)))[:, None] ** 2 * np.ones(240)
    assert globe.weights @ field[globe.rows, globe.columns] == pytest.approx(1 / 3, abs=1e-4)


def test_coordinates_that_are_not_exact_still_have_their_boundary() -> None:
    grid = Grid.from_coordinates(np.arange(900, -901, -1) / 10, np.arange(3600) * 0.1)
    points = GridPoints.inside(Area.parse(f"POLYGON{_box(0.3, 0.3, 0.7, 0.7)}"), grid)
    assert len(points.rows) == 25


@pytest.mark.parametrize(
    ("coords", "reason"),
    [
        ("POLYGON EMPTY", "must be POLYGON"),
        ("POINT(1 2)", "must be POLYGON"),
        ("POLYGON(())", "must be POLYGON"),
        ("POLYGON((1 2 3, 4 5 6, 7 8 9, 1 2 3))", "must be POLYGON"),
        ("POLYGON((nan 0, 1 1, 2 2, nan 0))", "must be POLYGON"),
        ("POLYGON((0 0, 1e400 0, 2 2, 0 0))", "must be POLYGON"),
        ("POLYGON((0 0, 10 0, 10 91, 0 0))", "must be POLYGON"),
        ("POLYGON((0 0, 400 0, 10 10, 0 0))", "must be POLYGON"),
        ("(" * 6000, "must be POLYGON"),
        (f"POLYGON(({','.join('0 0' for _ in range(501))}))", "at most 500 points"),
        ("POLYGON((0 0, 9 0, 9 9))", "the last is the first again"),
        ("POLYGON((0 0, 9 9, 0 0))", "at least four points"),
        ("POLYGON((170 0, -170 0, -170 10, 170 10, 170 0))", "such as 190 instead of -170"),
        ("POLYGON((-180 0, 0 0, 180 0, 360 0, 360 9, 180 9, 0 9, -180 9, -180 0))", "at most 360° wide"),
        ("POLYGON((0 0, 9 9, 9 0, 0 9, 0 0))", "must not cross. Got: the edges from (0 0) to (9 9)"),
        ("POLYGON((0 0, 9 0, 9 9, 0 9, 0 0),(8 4, 12 4, 12 5, 8 4))", "must not cross"),
        ("POLYGON((0 0, 9 0, 9 9, 0 9, 0 0),(20 4, 22 4, 22 5, 20 4))", "must be inside its polygon. Got: (20 4)"),
    ],
)
def test_what_is_not_a_clear_polygon_is_refused_with_the_reason(coords: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Area.parse(coords)
    assert reason in str(caught.value)
    assert caught.value.location == ("coords",)


@pytest.mark.parametrize(
    ("area", "name"),
    [(Area.parse(f"POLYGON{_box(0.1, 0.1, 0.9, 0.9)}"), "coords"), (Region.parse("0.1,0.1,0.9,0.9"), "bbox")],
)
def test_an_area_between_the_grid_points_is_refused(area: Area | Region, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"at least one grid point: they are 1\.5° apart") as caught:
        GridPoints.inside(area, GRID)
    assert caught.value.location == (name,)
