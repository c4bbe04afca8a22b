import numpy as np
import pytest
from numpy.typing import NDArray

from weather.features import FEATURES, feature_fields, feature_series, year_angle
from weather.grids import Grid

GRID = Grid.from_coordinates(np.linspace(90, -90, 181), np.arange(360.0))
TROPICAL_YEAR = np.timedelta64(round(365.2422 * 86400), "s")
SUMMER = np.datetime64("2018-06-21T10:07", "s")
WINTER = np.datetime64("2018-12-21T22:23", "s")
EQUINOXES = [np.datetime64("2018-03-20T16:15", "s"), np.datetime64("2018-09-23T01:54", "s")]
TIMES = [SUMMER, WINTER, *EQUINOXES, np.datetime64("1969-11-05T19:30", "s"), np.datetime64("2020-02-29T12", "s")]


def _insolation(valid_time: np.datetime64) -> NDArray[np.float64]:
    return FEATURES["insolation"](GRID, np.array([valid_time]))[0]


def _almanac_declination(valid_time: np.datetime64) -> float:
    """Declination in degrees by the Astronomical Almanac's low-precision formula, good to 0.01°."""
    days = (valid_time - np.datetime64("2000-01-01T12", "s")) / np.timedelta64(1, "D")
    anomaly = np.radians(357.528 + 0.9856003 * days)
    ecliptic = np.radians(280.460 + 0.9856474 * days + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    return float(np.degrees(np.arcsin(np.sin(np.radians(23.439)) * np.sin(ecliptic))))


def _brightest(field: NDArray[np.float64]) -> tuple[float, float]:
    row, column = np.unravel_index(field.argmax(), field.shape)
    return GRID.latitude[row], GRID.longitude[column]


@pytest.mark.parametrize("valid_time", TIMES)
@pytest.mark.parametrize("years", [-40, -1, 1, 25])
def test_the_season_repeats_after_a_tropical_year(valid_time: np.datetime64, years: int) -> None:
    turned = year_angle(valid_time + years * TROPICAL_YEAR) - year_angle(valid_time)
    assert np.exp(1j * turned) == pytest.approx(1, abs=1e-6)


def test_the_angle_of_the_year_grows_evenly_from_the_start_of_the_year_2000() -> None:
    start = np.datetime64("2000-01-01T00", "s")
    angles = [year_angle(start + np.timedelta64(day, "D")) for day in range(365)]
    assert angles[0] == 0
    np.testing.assert_allclose(np.diff(angles), 2 * np.pi / 365.2422, rtol=1e-9)


def test_season_fields_are_the_sine_and_cosine_of_one_angle_everywhere() -> None:
    fields = feature_fields(("season_sin", "season_cos"), GRID, SUMMER)
    angle = year_angle(SUMMER)
    np.testing.assert_allclose(fields[0], np.sin(angle), atol=1e-7)
    np.testing.assert_allclose(fields[1], np.cos(angle), atol=1e-7)


def test_sine_of_latitude_is_one_at_the_north_pole_and_odd() -> None:
    field = FEATURES["sin_latitude"](GRID, np.array([SUMMER]))[0]
    assert field[0] == pytest.approx(1)
    assert field[60] == pytest.approx(0.5)
    np.testing.assert_allclose(field, -field[::-1], atol=1e-15)


@pytest.mark.parametrize(("hour", "longitude"), [(0, 180.0), (6, 90.0), (12, 0.0), (18, 270.0), (21, 225.0)])
def test_the_sun_stands_highest_where_it_is_noon(hour: int, longitude: float) -> None:
    field = _insolation(np.datetime64("2018-03-20T00", "s") + np.timedelta64(hour, "h"))
    latitude, brightest = _brightest(field)
    assert brightest == longitude
    assert abs(latitude) <= 1
    assert field.max() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("valid_time", "latitude"), [(SUMMER, 23.0), (WINTER, -23.0)])
def test_the_sun_stands_highest_over_the_tropic_at_a_solstice(valid_time: np.datetime64, latitude: float) -> None:
    assert _brightest(_insolation(valid_time))[0] == latitude


@pytest.mark.parametrize("valid_time", TIMES)
def test_insolation_is_zero_where_the_sun_is_below_the_horizon_and_nowhere_negative(valid_time: np.datetime64) -> None:
    field = _insolation(valid_time)
    mirrored = np.roll(field[::-1], 180, axis=1)
    assert field.min() == 0
    assert np.all((field == 0) | (mirrored == 0))
    assert np.mean(field == 0) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("valid_time", TIMES)
def test_the_globe_receives_a_quarter_of_the_beam_at_every_time(valid_time: np.datetime64) -> None:
    mean = np.mean(_insolation(valid_time).mean(axis=1) * GRID.area_weights)
    assert mean == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize("valid_time", TIMES)
def test_insolation_is_the_angle_to_the_subsolar_point(valid_time: np.datetime64) -> None:
    field = _insolation(valid_time)
    lat, lon = np.radians(GRID.latitude)[:, None], np.radians(GRID.longitude)
    points = np.stack(np.broadcast_arrays(np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)))
    sun = points[:, *np.unravel_index(field.argmax(), field.shape)]
    np.testing.assert_allclose(field, np.maximum(np.tensordot(sun, points, 1), 0), atol=0.02)


def test_the_declination_is_the_almanacs_to_nine_tenths_of_a_degree_through_four_years() -> None:
    for day in range(0, 4 * 365, 5):
        valid_time = np.datetime64("2018-01-01", "s") + np.timedelta64(day, "D")
        north, south = feature_fields(("insolation",), GRID, valid_time)[0][[0, -1], 0]
        assert np.degrees(np.arcsin(north - south)) == pytest.approx(_almanac_declination(valid_time), abs=0.9)


@pytest.mark.parametrize("valid_time", EQUINOXES)
def test_the_hemispheres_receive_the_same_at_an_equinox(valid_time: np.datetime64) -> None:
    field = _insolation(valid_time)
    np.testing.assert_allclose(field, field[::-1], atol=2 * np.sin(np.radians(0.9)))


@pytest.mark.parametrize(("valid_time", "lit", "dark"), [(SUMMER, 0, -1), (WINTER, -1, 0)])
def test_one_pole_is_lit_and_the_other_dark_all_day_at_a_solstice(
    valid_time: np.datetime64, lit: int, dark: int
) -> None:
    for hour in range(0, 24, 6):
        field = _insolation(valid_time + np.timedelta64(hour, "h"))
        np.testing.assert_allclose(field[lit], np.sin(np.radians(23.44)), atol=1e-3)
        assert not field[dark].any()


@pytest.mark.parametrize(
    ("hour", "longitude", "local_hour"), [(0, 0.0, 0), (6, 90.0, 12), (18, 270.0, 12), (21, 180.0, 9)]
)
def test_local_time_is_an_angle_that_turns_with_longitude_and_once_a_day(
    hour: float, longitude: float, local_hour: float
) -> None:
    valid_time = np.datetime64("2026-04-18T00", "s") + np.timedelta64(round(3600 * hour), "s")
    sine, cosine = feature_fields(("local_time_sin", "local_time_cos"), GRID, valid_time)
    angle = 2 * np.pi * local_hour / 24
    column = GRID.longitude.index(longitude)
    np.testing.assert_allclose(sine[:, column], np.sin(angle), atol=1e-6)
    np.testing.assert_allclose(cosine[:, column], np.cos(angle), atol=1e-6)
    np.testing.assert_allclose(sine**2 + cosine**2, 1, atol=1e-6)


def test_local_time_repeats_daily_and_moves_a_quarter_of_the_globe_in_six_hours() -> None:
    names, six_hours = ("local_time_sin", "local_time_cos"), np.timedelta64(6, "h")
    fields = feature_series(names, GRID, SUMMER + six_hours * np.arange(5))
    np.testing.assert_allclose(fields[4], fields[0], atol=1e-6)
    np.testing.assert_allclose(fields[1], np.roll(fields[0], -90, axis=-1), atol=1e-6)


@pytest.mark.parametrize("valid_time", EQUINOXES)
def test_the_sun_is_up_from_six_to_eighteen_hours_of_local_time_at_an_equinox(valid_time: np.datetime64) -> None:
    (cosine,) = feature_fields(("local_time_cos",), GRID, valid_time)
    row = GRID.latitude.index(0.0)
    np.testing.assert_allclose(_insolation(valid_time)[row], np.maximum(-cosine[row], 0), atol=1e-3)


def test_features_have_the_order_of_their_names_as_float32() -> None:
    names = ("insolation", "sin_latitude", "season_cos")
    fields = feature_fields(names, GRID, SUMMER)
    assert fields.dtype == np.float32
    assert fields.shape == (3, 181, 360)
    for name, field in zip(names, fields, strict=True):
        np.testing.assert_array_equal(
            field, np.broadcast_to(FEATURES[name](GRID, np.array([SUMMER]))[0], GRID.shape).astype(np.float32)
        )


def test_the_features_of_several_times_are_those_of_each() -> None:
    names, times = tuple(FEATURES), np.array(TIMES)
    series = feature_series(names, GRID, times)
    for fields, valid_time in zip(series, TIMES, strict=True):
        np.testing.assert_array_equal(fields, feature_fields(names, GRID, valid_time))


def test_no_features_are_an_empty_stack() -> None:
    assert feature_fields((), GRID, SUMMER).shape == (0, 181, 360)


def test_an_unknown_feature_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="moonlight"):
        feature_fields(("moonlight",), GRID, SUMMER)
