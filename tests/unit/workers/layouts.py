"""The layout of a small ensemble for tests of what writes it."""

import numpy as np

from weather.grids import Grid
from weather.stores.layout import Layout

LAYOUT = Layout(
    init_time=np.datetime64("2018-09-15T00", "s"),
    num_lead_times=4,
    time_step=np.timedelta64(6, "h"),
    members=(0, 1, 2),
    group_size=2,
    variables=("u10", "v10"),
    grid=Grid((67.5, 22.5, -22.5, -67.5), (0.0, 90.0, 180.0, 270.0)),
)
"""Three members in two groups."""
