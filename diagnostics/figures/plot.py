"""Maps and plume of a forecast on disk: the command `warmcast plot` and the pictures that the service returns."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diagnostics.figures.ensemble import draw_maps, draw_plume, select_quantity
from storage.atomic import replace_file
from storage.errors import ConfigurationError
from weather.errors import StoreError
from weather.stores.ensemble import EnsembleStore, complete_lead_times, lead_time_fields, open_forecast
from weather.stores.layout import Layout
from weather.times import parse_lead_time, short_lead_time

_DEFAULT_HOURS = (24, 120, 240)


def plot(*, folder: Path, lead_times: tuple[str, ...], latitude: float, longitude: float) -> dict[str, Any]:
    """Draw maps and a plume of a forecast's complete lead times as PNG files next to its store; returns their paths."""
    store = open_forecast(folder)
    target = folder if str(store.path) != str(folder) else folder.parent
    pictures = [target / "maps.png", target / "plume.png"]
    with replace_file(pictures[0]) as partial:
        plot_maps(store, partial, lead_times)
    with replace_file(pictures[1]) as partial:
        plot_plume(store, partial, latitude, longitude)
    return {"pictures": [str(picture) for picture in pictures], "lead_times": complete_lead_times(store)}


def plot_maps(store: EnsembleStore, target: Path | BinaryIO, lead_times: tuple[str, ...]) -> None:
    """Write maps at `lead_times`, such as `24h`, to a PNG; by default at 1, 5 and 10 days.

    Raises `ConfigurationError` for a lead time that is not complete, and `StoreError` if no member is finite.
    """
    layout, ready = store.layout, complete_lead_times(store)
    indices = [_index(layout, text, ready) for text in lead_times] or _default_indices(layout, ready)
    quantity, fields = select_quantity(np.stack([lead_time_fields(store, i) for i in indices]), layout.variables)
    for index, members in zip(indices, fields, strict=True):
        if not np.isfinite(members).all(axis=(1, 2)).any():
            raise StoreError(f"`{store.path}` has no finite member at {short_lead_time(layout.lead_time(index))}.")
    by_lead_time = [(layout.lead_time(index), members) for index, members in zip(indices, fields, strict=True)]
    draw_maps(target, quantity, layout.grid, layout.init_time, by_lead_time)


def plot_plume(store: EnsembleStore, target: Path | BinaryIO, latitude: float, longitude: float) -> None:
    """Write the plume at the grid point nearest to a place, over all complete lead times, to a PNG."""
    layout, ready = store.layout, complete_lead_times(store)
    row, column = _nearest(layout, latitude, longitude)
    place = (layout.grid.latitude[row], layout.grid.longitude[column])
    values = [lead_time_fields(store, index)[:, :, row, column] for index in range(ready)]
    quantity, series = select_quantity(np.stack(values)[..., None, None], layout.variables)
    times = [layout.lead_time(index) for index in range(ready)]
    draw_plume(target, quantity, layout.init_time, times, series[..., 0, 0], place)


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
