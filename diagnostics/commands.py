"""`warmcast plot` and `warmcast verify`: pictures and scores of a forecast on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.figures.ensemble import Quantity, maps, plume
from diagnostics.records import score_field, summarise
from weather.errors import ConfigurationError, StoreError, VerificationError
from weather.frames import read_truth
from weather.lead_times import parse_lead_time, short_lead_time
from weather.store import EnsembleStore
from weather.store_template import Layout
from weather.variables import KNOWN

_DEFAULT_HOURS = (24, 120, 240)


def plot(*, folder: Path, lead_times: tuple[str, ...], latitude: float, longitude: float) -> dict[str, Any]:
    """Draw the maps and the plume of the lead times that all members have; returns the paths of the pictures."""
    store = _open(folder)
    path, layout, ready = store.path, store.layout, _complete(store)
    indices = [_index(layout, text, ready) for text in lead_times] or _default_indices(layout, ready)
    quantity, fields = Quantity("10 m wind speed", "m s-1"), [_drawn(store, index) for index in range(ready)]
    if not {"u10", "v10"} <= set(layout.variables):
        variable = KNOWN[layout.variables[0]]
        quantity = Quantity(variable.long_name, variable.units)
    for index in indices:
        if not np.isfinite(fields[index]).all(axis=(1, 2)).any():
            raise StoreError(f"`{path}` has no finite member at {short_lead_time(layout.lead_time(index))}.")
    target = folder if path != folder else folder.parent
    pictures = [target / "maps.png", target / "plume.png"]
    maps(pictures[0], quantity, layout.grid, layout.init_time, [(layout.lead_time(i), fields[i]) for i in indices])
    row, column = _nearest(layout, latitude, longitude)
    place = (layout.grid.latitude[row], (layout.grid.longitude[column] + 180) % 360 - 180)
    series = np.stack([field[:, row, column] for field in fields])
    plume(
        pictures[1], quantity, layout.init_time, [layout.lead_time(i) for i in range(ready)], series,
        (round(place[0], 2), round(place[1], 2)),
    )  # fmt: skip
    return {"pictures": [str(picture) for picture in pictures], "lead_times": ready}


def verify(*, store: Path, truth: Sequence[str], seed: int) -> dict[str, Any]:
    """Return the scores of a forecast at every complete lead time that the truth has, by variable.

    Raises `VerificationError` where the forecast has fewer than two members or the truth does not fit.
    """
    opened = _open(store)
    layout = opened.layout
    if len(layout.members) < 2:
        raise VerificationError("Scores need at least 2 members. Got: 1.")
    ready = _complete(opened)
    times = [layout.init_time + layout.lead_time(index) for index in range(ready)]
    frames = read_truth(truth, layout.variables, layout.grid, times)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in layout.variables}
    for index, time in enumerate(times):
        if time not in frames:
            continue
        fields = np.concatenate([opened.fields(group, index) for group in range(layout.num_groups)])
        for channel, name in enumerate(layout.variables):
            draw = np.random.default_rng([seed, index, channel])
            record = score_field(fields[:, channel], frames[time][channel], layout.grid, draw)
            hours = int(layout.lead_time(index) / np.timedelta64(1, "h"))
            scores[name].append({"lead_hours": hours} | summarise([record], len(layout.members)))
    return {"store": str(opened.path), "truth": list(truth), "lead_times": len(frames), "scores": scores}


def _open(folder: Path) -> EnsembleStore:
    """Return the store in a forecast's folder, or the store itself."""
    return EnsembleStore.open(folder if (folder / "zarr.json").exists() else folder / "ensemble.zarr")


def _complete(store: EnsembleStore) -> int:
    """Return how many lead times all groups have; raises `StoreError` where there is none yet."""
    ready = min(store.committed(group) for group in range(store.layout.num_groups))
    if not ready:
        raise StoreError(f"`{store.path}` has no complete lead time yet. Wait for the first, or resume the forecast.")
    return ready


def _drawn(store: EnsembleStore, lead_index: int) -> NDArray[np.float32]:
    """Return what is drawn of a lead time, (member, latitude, longitude): wind speed, or the first variable."""
    layout = store.layout
    fields = np.concatenate([store.fields(group, lead_index) for group in range(layout.num_groups)])
    if not {"u10", "v10"} <= set(layout.variables):
        return fields[:, 0]
    u10, v10 = (fields[:, layout.variables.index(name)] for name in ("u10", "v10"))
    return np.asarray(np.hypot(u10, v10))


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
