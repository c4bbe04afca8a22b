"""Places in well-known text, and values of fields at them against xarray."""

import numpy as np
import pytest
import xarray as xr

from storage.errors import ConfigurationError
from weather.grids import Grid, gaussian_grid
from weather.places import MAX_PLACES, Interpolation, Place, PlaceSampler, parse_places

REGULAR = Grid.from_coordinates(np.linspace(-90, 90, 31), np.arange(60) * 6.0)
T31 = gaussian_grid("t31")
PLACES = [
    Place(*pair) for pair in [(51.5, -0.1), (0.0, 0.0), (-33.9, 151.2), (80.0, 359.9), (12.3, 180.0), (6.0, -174.0)]
]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("POINT(-0.1 51.5)", [(51.5, -0.1)]),
        ("  point ( 360   -90 ) ", [(-90, 360)]),
        ("POINT(1e1 .5)", [(0.5, 10)]),
        ("MULTIPOINT((10 50),(11 51))", [(50, 10), (51, 11)]),
        ("MULTIPOINT(10 50, -11 -51.25)", [(50, 10), (-51.25, -11)]),
    ],
)
def test_points_are_read_as_longitude_and_latitude(text: str, places: list[tuple[float, float]]) -> None:
    assert [(place.latitude, place.longitude) for place in parse_places(text)] == places


@pytest.mark.parametrize(
    "text",
    [
        *("", "POINT", "POINT()", "POINT(1)", "POINT(1,2)", "POINT(1 2 3)", "POINT(1 2", "POINT(1 2)x", "POINT(nan 1)"),
        *("POINT(inf 1)", "POINT(0 91)", "POINT(0 -90.1)", "POINT(361 0)", "POINT(-181 0)", "POINT(1e400 0)"),
        *("MULTIPOINT()", "MULTIPOINT((1 2),)", "POINT(1 2),POINT(3 4)", "LINESTRING(1 2,3 4)", "POINT(1\x002)"),
        f"MULTIPOINT({','.join(['1 2'] * (MAX_PLACES + 1))})",
    ],
)
def test_other_text_is_refused_with_what_would_be_accepted(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"`coords` must be POINT\(longitude latitude\) or MULTIPOINT"
    ) as error:
        parse_places(text)
    assert error.value.location == ("coords",)


def test_text_that_nearly_fits_is_refused_at_once() -> None:
    """No expression may need exponential time for any text."""
    for text in ("MULTIPOINT(" + "1 2," * 480 + "!", "MULTIPOINT(" + "(1 2)," * 330 + "!", "POINT(" + "1" * 1990 + "!"):
        with pytest.raises(ConfigurationError):
            parse_places(text)


def _field(grid: Grid) -> xr.DataArray:
    values = np.random.default_rng(0).normal(size=(3, *grid.shape)).astype(np.float32)
    return xr.DataArray(
        values, {"latitude": list(grid.latitude), "longitude": list(grid.longitude)}, ["m", "latitude", "longitude"]
    )


@pytest.mark.parametrize("grid", [REGULAR, T31], ids=["regular", "T31"])
@pytest.mark.parametrize(("interpolation", "method"), [("bilinear", "linear"), ("nearest", "nearest")])
def test_values_are_those_of_xarray(grid: Grid, interpolation: Interpolation, method: str) -> None:
    field = _field(grid)
    wrapped = xr.concat([field, field[..., :1].assign_coords(longitude=[field.longitude.values[0] + 360])], "longitude")
    got = PlaceSampler.of(grid, PLACES, interpolation).sample(field.values)
    for number, place in enumerate(PLACES):
        longitude = place.longitude % 360
        if method == "nearest":
            expected = wrapped.sel(latitude=place.latitude, longitude=longitude, method="nearest")
        else:
            exact = wrapped.astype(np.float64)
            expected = exact.interp(latitude=place.latitude, longitude=longitude, method="linear")
        np.testing.assert_allclose(got[:, number], expected.values, atol=1e-6)


def test_a_place_on_a_grid_point_has_its_value_and_one_beyond_the_last_row_that_of_the_row() -> None:
    field = _field(T31).values
    on_grid = Place(T31.latitude[7], T31.longitude[95])
    for interpolation in ("bilinear", "nearest"):
        got = PlaceSampler.of(T31, [on_grid, Place(90, 3.75), Place(-90, 0)], interpolation).sample(field)
        expected = np.stack([field[:, 7, 95], field[:, 0, 1], field[:, -1, 0]], axis=-1)
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_lost_member_stays_lost() -> None:
    field = _field(T31).values
    field[1] = np.nan
    got = PlaceSampler.of(T31, PLACES, "bilinear").sample(field)
    assert np.isnan(got[1]).all()
    assert np.isfinite(got[[0, 2]]).all()
