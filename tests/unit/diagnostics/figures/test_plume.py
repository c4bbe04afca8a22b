from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diagnostics.figures.plume import Location, draw_plume
from diagnostics.figures.quantity import Quantity, select_quantity
from diagnostics.figures.style import format_latitude, format_longitude, format_members, format_units
from storage.errors import ConfigurationError

INIT_TIME = np.datetime64("2018-09-15T00", "s")
WIND = Quantity("10 m wind speed", "m s-1")
LOCATION = Location((34.0, -78.0), (33.75, -78.75))


def _draw(lead_hours: list[int], quantity: Quantity = WIND, location: Location = LOCATION, members: int = 8) -> Figure:
    series = np.random.default_rng(0).gamma(2, 3, (len(lead_hours), members)).astype(np.float32)
    if lead_hours[0] == 0:
        series[0] = 4.5
    lead_times = [np.timedelta64(hours, "h") for hours in lead_hours]
    figure = draw_plume(quantity, INIT_TIME, lead_times, series, location)
    figure.draw_without_rendering()
    return figure


def _tick_labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_the_title_names_the_requested_place_and_the_grid_point() -> None:
    title = _draw([6, 12]).axes[0].get_title(loc="left")
    assert title == "34°N, 78°W (grid point 33.75°N, 78.75°W), 8 members"


def test_a_place_on_a_grid_point_is_named_once() -> None:
    location = Location((33.75, 281.25), (33.75, -78.75))
    assert _draw([6, 12], location=location, members=1).axes[0].get_title(loc="left") == "33.75°N, 78.75°W, 1 member"


def test_a_long_title_and_the_legend_are_within_the_picture_and_apart() -> None:
    location = Location((-51.25, -121.75), (-50.63, -121.88))
    figure = _draw([0, 6, 12], location=location, members=1000)
    renderer = FigureCanvasAgg(figure).get_renderer()
    (legend,) = (legend.get_window_extent(renderer) for legend in figure.legends)
    title = figure.axes[0]._left_title.get_window_extent(renderer)
    axes = figure.axes[0].get_tightbbox(renderer)
    assert axes is not None
    for extent in (legend, title):
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.x1
    assert legend.y1 <= axes.y0


@pytest.mark.parametrize(
    ("hours", "labels"),
    [
        (240, ["15 Sep", "17 Sep", "19 Sep", "21 Sep", "23 Sep", "25 Sep"]),
        (24, ["15 Sep", "06:00", "12:00", "18:00", "16 Sep"]),
        (6, ["15 Sep", "01:00", "02:00", "03:00", "04:00", "05:00", "06:00"]),
    ],
)
def test_the_axis_is_labelled_with_dates(hours: int, labels: list[str]) -> None:
    figure = _draw(list(range(6, hours + 1, 6)))
    assert _tick_labels(figure) == labels
    assert figure.axes[0].get_xlabel() == "valid time (UTC), forecast from 2018-09-15 00 UTC"


def test_a_plume_with_lead_time_0_starts_with_the_analysis() -> None:
    axes = _draw([0, 6, 12]).axes[0]
    (analysis,) = [line for line in axes.lines if line.get_label() == "analysis"]
    assert analysis.get_xydata().shape == (1, 2)
    assert analysis.get_ydata()[0] == 4.5
    median = next(line for line in axes.lines if line.get_label() == "median")
    assert (median.get_xdata()[0], median.get_ydata()[0]) == (INIT_TIME, 4.5)


def test_a_plume_without_lead_time_0_has_no_analysis() -> None:
    assert "analysis" not in [line.get_label() for line in _draw([6, 12]).axes[0].lines]


def test_a_single_lead_time_is_drawn_as_points() -> None:
    assert all(line.get_marker() == "." for line in _draw([6]).axes[0].lines)


@pytest.mark.parametrize(
    ("units", "symbol", "factor"), [("ms", "m s⁻¹", 1.0), ("kn", "kn", 1.943844), ("kmh", "km/h", 3.6)]
)
def test_wind_is_drawn_in_the_given_units(units: Any, symbol: str, factor: float) -> None:
    fields: NDArray[np.float32] = np.array([3.0, -4.0], np.float32).reshape(2, 1, 1)
    quantity, speed = select_quantity(fields, ("u10", "v10"), units)
    assert speed[0, 0] == pytest.approx(5 * factor)
    assert speed.dtype == np.float32
    assert _draw([6, 12], quantity).axes[0].get_ylabel() == f"10 m wind speed ({symbol})"


def test_units_of_speed_are_refused_for_another_quantity() -> None:
    with pytest.raises(ConfigurationError, match=r"Got: kn, for Mean sea level pressure in Pa\.") as error:
        select_quantity(np.ones((1, 2, 2), np.float32), ("msl",), "kn")
    assert error.value.location == ("units",)


def test_a_forecast_without_wind_shows_its_first_variable() -> None:
    fields = np.stack([np.full((2, 2), 280.0), np.full((2, 2), 1e5)]).astype(np.float32)
    quantity, values = select_quantity(fields, ("t2m", "msl"))
    assert quantity == Quantity("2 metre temperature", "K", is_magnitude=False)
    assert (values == 280).all()


def test_places_counts_and_units_are_formatted_for_readers() -> None:
    assert [format_longitude(east) for east in (0, 180, -180, 190, 281.25, 45)] == [
        "0°",
        "180°",
        "180°",
        "170°W",
        "78.75°W",
        "45°E",
    ]
    assert [format_latitude(north) for north in (-90, 0, 52.123)] == ["90°S", "0°", "52.12°N"]
    assert [format_members(1), format_members(16), format_members(1, 2)] == ["1 member", "16 members", "1 of 2 members"]
    assert [format_units(units) for units in ("m s-1", "K", "m2 s-2", "km/h")] == ["m s⁻¹", "K", "m² s⁻²", "km/h"]
