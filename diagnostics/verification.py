"""`warmcast verify`: scores of one forecast on disk against what came."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.comparison import References, combine_starts, score_lead_time
from diagnostics.figures.example import Example
from diagnostics.forecasts import complete_lead_times, lead_time_fields, open_forecast
from diagnostics.report import render_score_page
from weather.climatology import Climatology
from weather.errors import VerificationError
from weather.frames import read_truth
from weather.store import EnsembleStore


def verify(
    *, store: Path, truth: Sequence[str], climatology: Path | None, seed: int, output: Path | None, page: Path | None
) -> dict[str, Any]:
    """Return the scores of a forecast at every complete lead time that the truth has.

    Persistence is scored where the truth also has the time that the forecast began at, climatology where a file of it
    is given. Writes `output` (JSON) and `page` (HTML) where they are given. Raises `VerificationError` where the
    forecast has fewer than two members or the truth does not fit.
    """
    opened = open_forecast(store)
    layout = opened.layout
    frames = read_truth(truth, layout.variables, layout.grid, verification_times(opened))
    past = Climatology.read(climatology, layout.variables, layout.grid).states if climatology else None
    result = score_forecast(opened, frames, past, seed)
    settings = {"store": str(opened.path), "truth": list(truth), "members": len(layout.members)}
    result = {"settings": settings | dict(opened.attributes)} | result
    for path in (output, page):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    if output is not None:
        output.write_text(json.dumps(result, indent=1) + "\n")
    if page is not None:
        ready = complete_lead_times(opened)
        page.write_text(render_score_page(f"Forecast from {layout.init_time} UTC", result, _example(opened, frames, ready)))
    return result


def verification_times(store: EnsembleStore) -> list[np.datetime64]:
    """Return the time that a forecast begins at and the valid times of its complete lead times.

    Raises `VerificationError` for fewer than two members, and `StoreError` where no lead time is complete.
    """
    layout = store.layout
    if len(layout.members) < 2:
        raise VerificationError("Scores need at least 2 members. Got: 1.")
    ready = complete_lead_times(store)
    return [layout.init_time, *(layout.init_time + layout.lead_time(index) for index in range(ready))]


def score_forecast(
    store: EnsembleStore,
    truth: Mapping[np.datetime64, NDArray[np.float32]],
    climatology: NDArray[np.float32] | None,
    seed: int,
) -> dict[str, Any]:
    """Return the scores at every time of `times_to_verify` that the truth has, (variable, latitude, longitude) each.

    Raises `VerificationError` where it has none after the beginning.
    """
    layout = store.layout
    start_time, *times = verification_times(store)
    frames = dict(truth)
    start = frames.pop(start_time, None)
    if not frames:
        raise VerificationError(f"The truth must have a time after {layout.init_time}, where the forecast begins.")
    scales = store.attributes.get("warmcast_scales", [1.0] * len(layout.variables))
    records = {
        layout.lead_hours(index): score_lead_time(
            lead_time_fields(store, index), frames[time], References(start, climatology), layout.variables, scales,
            layout.grid, time, (seed, index),
        )
        for index, time in enumerate(times)
        if time in frames
    }  # fmt: skip
    return combine_starts([records], len(layout.members), seed)


def _example(store: EnsembleStore, frames: dict[np.datetime64, Any], ready: int) -> Example:
    """Return the forecast with what came, NaN where that is not known."""
    layout = store.layout
    members = np.stack([lead_time_fields(store, index) for index in range(ready)])
    nothing = np.full(members.shape[2:], np.nan, np.float32)
    came = [frames.get(layout.init_time + layout.lead_time(index), nothing) for index in range(ready)]
    return Example.from_fields(members, np.stack(came), layout.variables, layout.grid, layout.init_time, layout.time_step)
