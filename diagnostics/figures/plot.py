"""Maps and plume of a forecast on disk: the command `warmcast plot` and the pictures that the service returns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.figures.maps import draw_maps
from diagnostics.figures.plume import Location, draw_plume
from diagnostics.figures.quantity import select_quantity
from diagnostics.figures.style import to_png
from diagnostics.scores.wind import SpeedUnits
from storage.atomic import write_bytes
from storage.errors import ConfigurationError
from storage.paths import StoragePath, storage_path
from weather.errors import StoreError, VerificationError
from weather.ingest.exchange import INITIAL_STATE, load_initial_state
from weather.readers.series import read_truth
from weather.region import Region
from weather.stores.ensemble import EnsembleStore, open_forecast
from weather.stores.layout import Layout
from weather.times import format_lead_time, parse_lead_time

_DEFAULT_HOURS = (24, 120, 240)

Truth = Mapping[np.datetime64, NDArray[np.float32]]
"""Analyses of a forecast's valid times, (variable, latitude, longitude)."""


def plot(
    *,
    folder: Path,
    lead_times: tuple[str, ...],
    latitude: float,
    longitude: float,
    units: SpeedUnits = "ms",
    bbox: str | None = None,
    truth: Sequence[str] = (),
) -> dict[str, Any]:
    """Draw maps and a plume of a forecast's complete lead times as PNG files next to its store; returns their paths.

    `units` are those of wind, `bbox` is the region of the maps, as `Region.parse` reads it. `truth` are the paths of
    analyses of valid times of the forecast, which are drawn above its maps. The plume starts with the analysis if the
    forecast's folder contains its initial state. Raises `VerificationError` for a truth that does not fit.
    """
    region = None if bbox is None else Region.parse(bbox)
    store = open_forecast(folder)
    analyses = _read_analyses(store, truth) if truth else None
    target = folder if str(store.path) != str(folder) else folder.parent
    pictures = {
        target / "maps.png": plot_maps(store, lead_times, units, region, analyses),
        target / "plume.png": plot_plume(store, storage_path(target / INITIAL_STATE), latitude, longitude, units),
    }
    for path, picture in pictures.items():
        write_bytes(path, picture)
    return {"pictures": [str(path) for path in pictures], "lead_times": store.num_complete()}


def plot_maps(
    store: EnsembleStore,
    lead_times: tuple[str, ...],
    units: SpeedUnits = "ms",
    region: Region | None = None,
    truth: Truth | None = None,
) -> bytes:
    """Return maps at `lead_times`, such as `24h`, as PNG; by default at 1, 5 and 10 days, where `truth` has them.

    Raises `ConfigurationError` for a lead time that is not complete and for units that do not fit, `StoreError` if no
    member is finite, and `VerificationError` for a lead time that `truth` lacks.
    """
    layout, ready = store.layout, store.num_complete()
    known = [index for index in range(ready) if truth is None or layout.valid_time(index) in truth]
    indices = [_index(layout, text, ready) for text in lead_times] or _default_indices(layout, known)
    if missing := [format_lead_time(layout.lead_time(index)) for index in indices if index not in known]:
        raise VerificationError(f"The truth must have all lead times that are drawn. It lacks {', '.join(missing)}.")
    stacked = np.stack([store.fields(index) for index in indices])
    quantity, fields = select_quantity(stacked, layout.variables, units)
    for index, members in zip(indices, fields, strict=True):
        if not np.isfinite(members).all(axis=(1, 2)).any():
            raise StoreError(
                f"`{store.path.name}` has no finite member at {format_lead_time(layout.lead_time(index))}."
            )
    by_lead_time = [(layout.lead_time(index), members) for index, members in zip(indices, fields, strict=True)]
    analyses = [] if truth is None else [truth[layout.valid_time(index)] for index in indices]
    drawn = select_quantity(np.stack(analyses), layout.variables, units)[1] if analyses else ()
    return to_png(draw_maps(quantity, layout.grid, layout.init_time, by_lead_time, list(drawn), region))


def plot_plume(
    store: EnsembleStore, initial_state: StoragePath, latitude: float, longitude: float, units: SpeedUnits = "ms"
) -> bytes:
    """Return the plume at the grid point nearest to a place, over all complete lead times, as PNG.

    It starts with the analysis if `initial_state`, the folder of the forecast's initial state, exists. Raises
    `ConfigurationError` for units that do not fit.
    """
    layout, ready = store.layout, store.num_complete()
    row, column = _nearest(layout, latitude, longitude)
    lead_times = [layout.lead_time(index) for index in range(ready)]
    values = [store.fields(index)[:, :, row, column] for index in range(ready)]
    if initial_state.exists():
        analyses = load_initial_state(initial_state).newest[:, :, row, column]
        lead_times.insert(0, np.timedelta64(0, "s"))
        values.insert(0, analyses[np.array(layout.members) % len(analyses)])
    quantity, series = select_quantity(np.stack(values)[..., None, None], layout.variables, units)
    location = Location((latitude, longitude), (layout.grid.latitude[row], layout.grid.longitude[column]))
    return to_png(draw_plume(quantity, layout.init_time, lead_times, series[..., 0, 0], location))


def _read_analyses(store: EnsembleStore, sources: Sequence[str]) -> Truth:
    """Return the analyses of the valid times of complete lead times; raises `VerificationError` if there are none."""
    layout = store.layout
    valid_times = [layout.valid_time(index) for index in range(store.num_complete())]
    return read_truth(sources, layout.variables, layout.grid, valid_times)


def _default_indices(layout: Layout, known: Sequence[int]) -> list[int]:
    """Return the default lead times among the indices `known`, else the last of these."""
    defaults = [int(np.timedelta64(hours, "h") / layout.time_step) - 1 for hours in _DEFAULT_HOURS]
    return [index for index in defaults if index in known] or [known[-1]]


def _index(layout: Layout, text: str, ready: int) -> int:
    """Return the index of a lead time such as `24h`; raises `ConfigurationError` if it is not one of `ready` ones."""
    lead_time = parse_lead_time(text)
    number, remainder = divmod(lead_time, layout.time_step)
    if remainder or not 1 <= number <= ready:
        raise ConfigurationError(
            f"`lead_time` must be a multiple of {format_lead_time(layout.time_step)} up to "
            f"{format_lead_time(layout.lead_time(ready - 1))}, the last complete one. Got: {text!r}.",
            ("lead_time",),
        )
    return int(number) - 1


def _nearest(layout: Layout, latitude: float, longitude: float) -> tuple[int, int]:
    """Return row and column of the grid point nearest to a place."""
    distances = np.abs((np.asarray(layout.grid.longitude) - longitude + 180) % 360 - 180)
    return int(np.abs(np.asarray(layout.grid.latitude) - latitude).argmin()), int(distances.argmin())
