"""What the forecasts are that tests export."""

import numpy as np

from weather.grids import Grid, gaussian_grid
from weather.stores.summary_request import Summary, Threshold

GRIDS = {
    "gaussian": gaussian_grid("t21"),
    "regular": Grid.from_coordinates(np.linspace(90, -90, 13), np.arange(0, 360, 15.0)),
}
LOST = ((), (7,), (0, 1, 2, 7))
"""The members that are lost at each complete lead time."""
SUMMARY = Summary(
    quantiles=(0.1, 0.5),
    exceedance=(Threshold(variable="wind_speed_10m", value=7.25), Threshold(variable="t2m", op="<", value=273.15)),
)
ATTRIBUTES = {
    "Conventions": "CF-1.11",
    "title": "Warmcast ensemble forecast",
    "institution": "Warmcast",
    "source": "Warmcast 0",
    "history": "2018-09-15T00:00:00Z created",
    "references": "arXiv:2507.09212",
    "comment": "Numbers.",
    "warmcast_seed": 2**40,
    "warmcast_nfe": 6,
    "warmcast_scales": [5.0, 5.0, 10.0, 1000.0],
}
