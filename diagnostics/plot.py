"""`warmcast plot`: pictures of a forecast on disk."""

from pathlib import Path
from typing import Any

import numpy as np

from diagnostics.figures.ensemble import maps, plume, shown_quantity
from diagnostics.forecasts import complete_lead_times, lead_time_fields, open_forecast
from weather.errors import ConfigurationError, StoreError
from weather.store_template import Layout
from weather.times import parse_lead_time, short_lead_time

_DEFAULT_HOURS = (24, 120, 240)


def plot(*, folder: Path, lead_times: tuple[str, ...], latitude: float, longitude: float) -> dict[str, Any]:
    """Draw the maps and the plume of the lead times that all members have; returns the paths of the pictures."""
    store = open_forecast(folder)
    path, layout, ready = store.path, store.layout, complete_lead_times(store)
    indices = [_index(layout, text, ready) for text in lead_times] or _default_indices(layout, ready)
    quantity, fields = shown_quantity(np.stack([lead_time_fields(store, i) for i in range(ready)]), layout.variables)
    for index in indices:
        if not np.isfinite(fields[index]).all(axis=(1, 2)).any():
            raise StoreError(f"`{path}` has no finite member at {short_lead_time(layout.lead_time(index))}.")
    target = folder if path != folder else folder.parent
    pictures = [target / "maps.png", target / "plume.png"]
    maps(pictures[0], quantity, layout.grid, layout.init_time, [(layout.lead_time(i), fields[i]) for i in indices])
    row, column = _nearest(layout, latitude, longitude)
    place = (layout.grid.latitude[row], layout.grid.longitude[column])
    times = [layout.lead_time(i) for i in range(ready)]
    plume(pictures[1], quantity, layout.init_time, times, fields[:, :, row, column], place)
    return {"pictures": [str(picture) for picture in pictures], "lead_times": ready}


def _default_indices(layout: Layout, ready: int) -> list[int]:
    wanted = [_hours_index(layout, hours) for hours in _DEFAULT_HOURS]
    return [index for index in wanted if 0 <= index < ready] or [ready - 1]


def _hours_index(layout: Layout, hours: int) -> int:
    return int(np.timedelta64(hours, "h") / layout.time_step) - 1


def _index(layout: Layout, text: str, ready: int) -> int:
    lead_time = parse_lead_time(text)
    number, rest = divmod(lead_time, layout.time_step)
    if rest or not 1 <= number <= ready:
        raise ConfigurationError(
            f"`lead_time` must be a multiple of {short_lead_time(layout.time_step)} up to "
            f"{short_lead_time(layout.lead_time(ready - 1))}, the last complete one. Got: {text!r}."
        )
    return int(number) - 1


def _nearest(layout: Layout, latitude: float, longitude: float) -> tuple[int, int]:
    away = np.abs((np.asarray(layout.grid.longitude) - longitude + 180) % 360 - 180)
    return int(np.abs(np.asarray(layout.grid.latitude) - latitude).argmin()), int(away.argmin())
