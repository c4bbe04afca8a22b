"""A forecast beside what came and beside references: one lead time as a record, many starts as a result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.energy import energy_score_fair
from diagnostics.records import Record, score_event, score_field, score_references
from diagnostics.summary import aggregate_records, aggregate_numbers
from diagnostics.wind import WIND_SPEED, append_wind_speed
from weather.errors import VerificationError
from weather.grids import Grid

EVENT_SPEEDS = (10.0, 15.0)
"""Wind speeds in m s-1 whose exceedance is scored."""

Fields = NDArray[np.float32]


@dataclass(frozen=True)
class References:
    """What a forecast is compared with: the state it began from, (variable, lat, lon), and states of climatology."""

    start: Fields | None = None
    climatology: Fields | None = None


def score_lead_time(
    members: Fields,
    truth: Fields,
    references: References,
    variables: Sequence[str],
    scales: Sequence[float],
    grid: Grid,
    valid_time: np.datetime64,
    seed: Sequence[int],
) -> dict[str, Any]:
    """Return the record of one lead time: `scores` by variable and wind speed, `energy_score`, `events`.

    `members` is (member, variable, latitude, longitude), `truth` the same without members, both at `valid_time`.
    `scales` are standard deviations that make variables comparable in the energy score; `seed` breaks ties of ranks.
    Raises `VerificationError` that names a member which is not finite: without it, the others would be flattered.
    """
    lost = np.argwhere(~np.isfinite(members).all(axis=(2, 3)))
    if len(lost):
        raise VerificationError(
            f"All members must be finite to be scored. Got: `{variables[lost[0, 1]]}` of member {lost[0, 0]} "
            f"(the first is 0) is not, at {valid_time}."
        )
    units = np.asarray(scales, np.float32)[:, None, None]
    energy = {"energy_score": energy_score_fair(members / units, truth / units, grid.area_weights)}
    ensemble, names = append_wind_speed(members, variables)
    came = append_wind_speed(truth, variables)[0]
    start, climatology = (
        None if fields is None else append_wind_speed(fields, variables)[0]
        for fields in (references.start, references.climatology)
    )
    scores = {}
    for channel, name in enumerate(names):
        draw = np.random.default_rng([*seed, channel])
        scores[name] = score_field(ensemble[:, channel], came[channel], grid, draw) | score_references(
            came[channel],
            grid,
            None if start is None else start[channel],
            None if climatology is None else climatology[:, channel],
        )
    speeds = EVENT_SPEEDS if WIND_SPEED in scores else ()
    events = {f"{WIND_SPEED} > {speed:g}": score_event(ensemble[:, -1], came[-1], speed, grid) for speed in speeds}
    return {"scores": scores, "energy": energy, "events": events}


def combine_starts(starts: Sequence[Mapping[int, Mapping[str, Any]]], members: int, seed: int) -> dict[str, Any]:
    """Return what the records of many starts say, rows by lead time: `scores` and `events` by name, `energy`.

    Each of `starts` maps hours of lead time to what `compare` returned; all have the same hours.
    """
    draw = np.random.default_rng(seed)
    hours = list(starts[0])

    def rows(kind: str, name: str | None) -> list[tuple[int, list[Record]]]:
        records = [
            [start[lead][kind] if name is None else start[lead][kind][name] for start in starts] for lead in hours
        ]
        return list(zip(hours, records, strict=True))

    first = starts[0][hours[0]]
    return {
        "scores": {
            name: [{"lead_hours": lead} | aggregate_records(entries, members, draw) for lead, entries in rows("scores", name)]
            for name in first["scores"]
        },
        "energy": [
            {"lead_hours": lead} | aggregate_numbers(entries, ["energy_score"], draw)
            for lead, entries in rows("energy", None)
        ],
        "events": {
            name: [
                {"lead_hours": lead} | aggregate_numbers(entries, ["brier_fair"], draw)
                for lead, entries in rows("events", name)
            ]
            for name in first["events"]
        },
    }
