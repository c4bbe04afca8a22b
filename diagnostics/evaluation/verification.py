"""Verification of one forecast on disk against analyses: the functions behind `warmcast verify`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.evaluation.comparison import References, combine_starts, score_lead_time
from diagnostics.evaluation.report import render_score_page
from diagnostics.evaluation.resampling import resample_weights
from diagnostics.figures.example import Example
from storage.atomic import write_text
from weather.climatology import Climatology
from weather.errors import VerificationError
from weather.readers.series import read_truth
from weather.stores.ensemble import EnsembleStore, open_forecast


def verify(
    *, store: Path, truth: Sequence[str], climatology: Path | None, seed: int, output: Path | None, page: Path | None
) -> dict[str, Any]:
    """Score a forecast at every complete lead time whose valid time is in `truth`; write and return the scores.

    `store` is the forecast's folder or store, `truth` the paths of analyses. Persistence is scored if the truth also
    contains the initial time, climatology if a file of it is given. Writes `output` (JSON) and `page` (HTML) if they
    are given. Raises `VerificationError` for a forecast of fewer than two members and for a truth that does not fit.
    """
    opened = open_forecast(store)
    layout = opened.layout
    frames = read_truth(truth, layout.variables, layout.grid, verification_times(opened))
    past_states = Climatology.read(climatology, layout.variables, layout.grid).states if climatology else None
    result = score_forecast(opened, frames, past_states, seed)
    settings = {"store": str(opened.path), "truth": list(truth), "members": len(layout.members)}
    result = {"settings": settings | dict(opened.attributes)} | result
    for path in (output, page):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    if output is not None:
        write_text(output, json.dumps(result, indent=1) + "\n")
    if page is not None:
        ready = opened.num_complete()
        example = _example(opened, frames, ready)
        write_text(page, render_score_page(f"Forecast from {layout.init_time} UTC", result, example))
    return result


def verification_times(store: EnsembleStore) -> list[np.datetime64]:
    """Return a forecast's initial time followed by the valid times of its complete lead times.

    Raises `VerificationError` for fewer than two members, and `StoreError` if no lead time is complete.
    """
    layout = store.layout
    if len(layout.members) < 2:
        raise VerificationError("Scores need at least 2 members. Got: 1.")
    ready = store.num_complete()
    return [layout.init_time, *(layout.valid_time(index) for index in range(ready))]


def score_forecast(
    store: EnsembleStore,
    truth: Mapping[np.datetime64, NDArray[np.float32]],
    climatology: NDArray[np.float32] | None,
    seed: int,
) -> dict[str, Any]:
    """Return the scores of a forecast at every complete lead time whose valid time is in `truth`.

    `truth` maps times, of those of `verification_times`, to fields (variable, latitude, longitude). The field at
    initial time, if given, is scored as persistence; `climatology` is (state, variable, latitude, longitude). `seed`
    seeds the random breaking of ties between ranks. Raises `VerificationError` if `truth` has no time after the initial
    time.
    """
    records = score_records(store, truth, climatology, seed)
    if not records:
        start = store.layout.init_time
        raise VerificationError(f"The truth must have a time after {start}, the forecast's initial time.")
    return combine_starts([records], len(store.layout.members), resample_weights(1, 1, seed))


def score_records(
    store: EnsembleStore,
    truth: Mapping[np.datetime64, NDArray[np.float32]],
    climatology: NDArray[np.float32] | None,
    seed: int,
) -> dict[int, dict[str, Any]]:
    """Return the records of `score_lead_time` by hours of lead time, empty if `truth` has none of the valid times."""
    layout = store.layout
    start_time, *times = verification_times(store)
    frames = dict(truth)
    start = frames.pop(start_time, None)
    scales = store.attributes.get("warmcast_scales", [1.0] * len(layout.variables))
    references = References(start, climatology)
    records: dict[int, dict[str, Any]] = {}
    for index, time in enumerate(times):
        if time in frames:
            members = store.fields(index)
            records[layout.lead_hours(index)] = score_lead_time(
                members, frames[time], references, layout.variables, scales, layout.grid, time, (seed, index)
            )
    return records


def _example(store: EnsembleStore, frames: dict[np.datetime64, Any], ready: int) -> Example:
    """Return the forecast's complete lead times with the truth of `frames`, NaN at lead times that `frames` lacks."""
    layout = store.layout
    members = np.stack([store.fields(index) for index in range(ready)])
    unknown = np.full(members.shape[2:], np.nan, np.float32)
    truth = [frames.get(layout.valid_time(index), unknown) for index in range(ready)]
    return Example.from_fields(
        members, np.stack(truth), layout.variables, layout.grid, layout.init_time, layout.time_step
    )
