from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diagnostics.figures.map_axes import coastlines, draw_globe, draw_region
from diagnostics.figures.maps import draw_maps
from diagnostics.figures.quantity import Quantity
from diagnostics.figures.style import to_png
from weather.grids import Grid
from weather.region import Region

GRID = Grid.from_coordinates(np.linspace(-87.5, 87.5, 36), np.arange(72) * 5.0)
INIT_TIME = np.datetime64("2018-09-15T00", "s")
WIND = Quantity("10 m wind speed", "m s-1")
EUROPE, DATE_LINE = Region.parse("-15,35,30,62"), Region.parse("160,-50,-150,-10")


def _members(count: int, spread: float = 3.0) -> NDArray[np.float32]:
    """Return positive fields of a standard deviation over members that is about `spread`."""
    rng = np.random.default_rng(0)
    return np.asarray(20 + spread * rng.standard_normal((count, *GRID.shape)), np.float32)


def _draw(*members: NDArray[np.float32], quantity: Quantity = WIND, region: Region | None = None) -> Figure:
    lead_times = [np.timedelta64(24 * (index + 1), "h") for index in range(len(members))]
    figure = draw_maps(quantity, GRID, INIT_TIME, list(zip(lead_times, members, strict=True)), region=region)
    figure.draw_without_rendering()
    return figure


def _maps(figure: Figure) -> list[Any]:
    return [
        axes
        for axes in figure.axes
        if any(isinstance(mesh, QuadMesh) for mesh in axes.collections) and not _is_bar(axes)
    ]


def _is_bar(axes: Any) -> bool:
    return axes.get_label() == "<colorbar>"


def _bars(figure: Figure) -> list[Any]:
    return [axes for axes in figure.axes if _is_bar(axes)]


@pytest.mark.parametrize(("members", "maps"), [(1, 1), (5, 3)])
def test_maps_are_drawn_for_any_number_of_members(members: int, maps: int) -> None:
    assert len(_maps(_draw(_members(members)))) == maps


def test_maps_are_drawn_without_a_member_that_is_nan() -> None:
    members = _members(3)
    members[1] = np.nan
    figure = _draw(members)
    assert "2 of 3 members" in figure.get_suptitle()
    assert np.isfinite(np.asarray(_maps(figure)[1].collections[0].get_array())).all()


def test_the_title_of_a_single_member_is_in_the_singular() -> None:
    assert "1 member from" in _draw(_members(1)).get_suptitle()


@pytest.mark.parametrize("columns", [1, 2, 4])
@pytest.mark.parametrize("label", ["10 m wind speed", "Mean sea level pressure of a long name"])
def test_the_title_is_within_the_picture(columns: int, label: str) -> None:
    members = _members(200)
    members[7] = np.nan
    figure = _draw(*[members] * columns, quantity=Quantity(label, "m s-1"))
    renderer = FigureCanvasAgg(figure).get_renderer()
    for text in [*figure.texts, *(axes.title for axes in figure.axes)]:
        extent = text.get_window_extent(renderer)
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.x1
        assert extent.y1 <= figure.bbox.y1


def test_each_map_of_the_spread_has_a_scale_that_fits_it_and_says_so() -> None:
    early, late = _members(20, spread=0.1), _members(20, spread=10.0)
    figure = _draw(early, late)
    for axes, members in zip(_maps(figure)[4:], (early, late), strict=True):
        assert axes.collections[0].get_clim()[1] == pytest.approx(np.percentile(members.std(axis=0, ddof=1), 99.5))
    labels = [bar.get_xlabel() for bar in _bars(figure)[2:]]
    assert labels == ["spread (m s⁻¹), scale of this lead time"] * 2


def test_member_and_mean_share_one_scale_over_all_lead_times() -> None:
    limits = {axes.collections[0].get_clim() for axes in _maps(_draw(_members(5), 2 * _members(5)))[:4]}
    assert len(limits) == 1
    assert limits.pop()[0] == 0


def test_colour_bars_have_an_arrow_where_colours_saturate() -> None:
    members = np.full((3, *GRID.shape), 9.0, np.float32) - np.arange(3, dtype=np.float32)[:, None, None]
    assert {bar._colorbar.extend for bar in _bars(_draw(members))} == {"neither"}
    members[:, 0, 0] = 90, 95, 60
    assert {bar._colorbar.extend for bar in _bars(_draw(members))} == {"max"}
    pressure = Quantity("Mean sea level pressure", "Pa", is_magnitude=False)
    assert _bars(_draw(_members(3), quantity=pressure))[0]._colorbar.extend == "both"


def test_a_quantity_that_can_be_negative_has_a_scale_of_its_own_values() -> None:
    pressure = Quantity("Mean sea level pressure", "Pa", is_magnitude=False)
    low, high = _maps(_draw(101_000 + _members(3), quantity=pressure))[0].collections[0].get_clim()
    assert 101_000 < low < high < 101_100


def test_a_map_shows_every_value_at_its_coordinates_without_a_seam() -> None:
    longitude = np.repeat(np.asarray(GRID.longitude)[None], 36, axis=0)
    field = np.cos(np.radians(longitude)).astype(np.float32)
    axes = Figure().subplots(subplot_kw={"projection": "mollweide"})
    mesh = draw_globe(axes, GRID, field, "viridis", (-1, 1))
    coordinates = np.degrees(np.asarray(mesh.get_coordinates())[..., 0])
    values = np.asarray(mesh.get_array()).reshape(coordinates.shape)
    np.testing.assert_allclose(values[1:-1, 1:-1], np.cos(np.radians(coordinates))[1:-1, 1:-1], atol=1e-6)
    np.testing.assert_allclose(values[1:-1, [0, -1]], -1, atol=5e-3)
    assert coordinates[0, 0] == pytest.approx(-180)
    assert coordinates[0, -1] == pytest.approx(180)


@pytest.mark.parametrize("region", [EUROPE, DATE_LINE, Region.parse("-180,60,180,90"), Region.parse("3,51,4,52")])
def test_a_map_of_a_region_is_covered_by_the_values_at_their_coordinates(region: Region) -> None:
    latitude, longitude = np.meshgrid(np.radians(GRID.latitude), np.radians(GRID.longitude), indexing="ij")
    field = (np.sin(latitude) + np.cos(latitude) * np.sin(longitude)).astype(np.float32)
    axes = Figure().subplots()
    mesh = draw_region(axes, region, GRID, field, "viridis", (-1, 1))
    lon, lat = np.moveaxis(np.asarray(mesh.get_coordinates()), -1, 0)
    assert lon.min() <= region.west < region.east <= lon.max()
    assert lat.min() <= region.south < region.north <= lat.max()
    inner = np.abs(lat) < 90
    values = np.asarray(mesh.get_array()).reshape(lon.shape)
    expected = np.sin(np.radians(lat)) + np.cos(np.radians(lat)) * np.sin(np.radians(lon))
    np.testing.assert_allclose(values[inner], expected[inner], atol=1e-5)
    assert axes.get_xlim() == (region.west, region.east)
    assert axes.get_ylim() == (region.south, region.north)


@pytest.mark.parametrize("region", [EUROPE, DATE_LINE])
def test_a_map_of_a_region_has_coastlines_and_a_labelled_graticule_and_no_outline(region: Region) -> None:
    axes = _maps(_draw(_members(3), region=region))[0]
    inside = [
        line
        for line in axes.lines
        if (
            (line.get_xdata() > region.west)
            & (line.get_xdata() < region.east)
            & (line.get_ydata() > region.south)
            & (line.get_ydata() < region.north)
        ).any()
    ]
    assert inside
    assert not any(spine.get_visible() for spine in axes.spines.values())
    longitudes = [label.get_text() for label in axes.get_xticklabels()]
    assert longitudes == (
        ["10°W", "0°", "10°E", "20°E", "30°E"] if region is EUROPE else ["165°E", "180°", "165°W", "150°W"]
    )
    assert all(label.get_text()[-1] in "NS" for label in axes.get_yticklabels())


def test_the_scale_of_a_region_is_that_of_its_values() -> None:
    members = _members(5)
    members[:, -5:] += 100
    assert _maps(_draw(members, region=EUROPE))[0].collections[0].get_clim()[1] < 40


def test_pictures_are_png() -> None:
    assert to_png(_draw(_members(2))).startswith(b"\x89PNG")


def test_coastlines_have_no_segment_across_the_map() -> None:
    steps = np.abs(np.diff(coastlines(), axis=0))
    assert np.nanmax(steps) < 30
