"""`warmcast verify`: scores of one forecast on disk against what came."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diagnostics.comparison import References, combine, compare
from diagnostics.figures.example import Example
from diagnostics.forecasts import complete_lead_times, lead_time_fields, open_forecast
from diagnostics.report import score_page
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
    if len(layout.members) < 2:
        raise VerificationError("Scores need at least 2 members. Got: 1.")
    ready = complete_lead_times(opened)
    times = [layout.init_time + layout.lead_time(index) for index in range(ready)]
    frames = read_truth(truth, layout.variables, layout.grid, [layout.init_time, *times])
    start = frames.pop(layout.init_time, None)
    if not frames:
        raise VerificationError(f"The truth must have a time after {layout.init_time}, where the forecast begins.")
    past = Climatology.read(climatology, layout.variables, layout.grid).states if climatology else None
    scales = opened.attributes.get("warmcast_scales", [1.0] * len(layout.variables))
    records = {
        int(layout.lead_time(index) / np.timedelta64(1, "h")): compare(
            lead_time_fields(opened, index), frames[time], References(start, past), layout.variables, scales,
            layout.grid, (seed, index),
        )
        for index, time in enumerate(times)
        if time in frames
    }  # fmt: skip
    settings = {"store": str(opened.path), "truth": list(truth), "members": len(layout.members)}
    result = {"settings": settings | dict(opened.attributes)} | combine([records], len(layout.members), seed)
    if output is not None:
        output.write_text(json.dumps(result, indent=1) + "\n")
    if page is not None:
        page.write_text(score_page(f"Forecast from {layout.init_time} UTC", result, _example(opened, frames, ready)))
    return result


def _example(store: EnsembleStore, frames: dict[np.datetime64, Any], ready: int) -> Example:
    """Return the forecast with what came, NaN where that is not known."""
    layout = store.layout
    members = np.stack([lead_time_fields(store, index) for index in range(ready)])
    nothing = np.full(members.shape[2:], np.nan, np.float32)
    came = [frames.get(layout.init_time + layout.lead_time(index), nothing) for index in range(ready)]
    return Example.of_fields(members, np.stack(came), layout.variables, layout.grid, layout.init_time, layout.time_step)
