"""Scores of forecasts against the truth and references: a record per lead time, and their aggregate over starts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.evaluation.records import Record, score_event, score_field, score_references
from diagnostics.evaluation.resampling import aggregate_numbers, aggregate_records
from diagnostics.scores.multivariate import energy_score_fair
from diagnostics.scores.wind import WIND_SPEED, append_wind_speed
from weather.errors import VerificationError
from weather.grids import Grid

EVENT_SPEEDS = (10.0, 15.0)
"""Thresholds of wind speed, in m s-1, whose exceedance is scored as an event."""

Fields = NDArray[np.float32]


@dataclass(frozen=True)
class References:
    """References to score next to a forecast; those that are None are not scored.

    `start` (variable, latitude, longitude) is the analysis at initial time, for persistence; `climatology` is
    (state, variable, latitude, longitude).
    """

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
    """Return the record of one lead time: `scores` by variable and of wind speed, `energy`, and `events`.

    `members` is (member, variable, latitude, longitude), `truth` the same without the member axis, both at
    `valid_time`. `scales` are the standard deviations that the energy score divides each variable by; `seed` seeds the
    random breaking of ties between ranks. Raises `VerificationError` with the variable and the number of the first
    member that is not finite: scores of the remaining members alone would be biased.
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
    true_fields = append_wind_speed(truth, variables)[0]
    start, climatology = (
        None if fields is None else append_wind_speed(fields, variables)[0]
        for fields in (references.start, references.climatology)
    )
    scores = {}
    for channel, name in enumerate(names):
        rng = np.random.default_rng([*seed, channel])
        scores[name] = score_field(ensemble[:, channel], true_fields[channel], grid, rng) | score_references(
            true_fields[channel],
            grid,
            None if start is None else start[channel],
            None if climatology is None else climatology[:, channel],
        )
    speeds = EVENT_SPEEDS if WIND_SPEED in scores else ()
    events = {
        f"{WIND_SPEED} > {speed:g}": score_event(ensemble[:, -1], true_fields[-1], speed, grid) for speed in speeds
    }
    return {"scores": scores, "energy": energy, "events": events}


def combine_starts(starts: Sequence[Mapping[int, Mapping[str, Any]]], members: int, seed: int) -> dict[str, Any]:
    """Average the records of many starts: `scores` by variable, `events` by event, `energy`; each a row per lead time.

    Each of `starts` maps hours of lead time to the record that `score_lead_time` returned; all have the same hours.
    `members` is the number of members. With several starts, a row has 95 % confidence intervals of its scores, from
    resampling the starts with `seed`.
    """
    rng = np.random.default_rng(seed)
    first = next(iter(starts[0].values()))
    return {
        "scores": {
            name: [
                {"lead_hours": hours} | aggregate_records(records, members, rng)
                for hours, records in _by_lead_time(starts, "scores", name)
            ]
            for name in first["scores"]
        },
        "energy": [
            {"lead_hours": hours} | aggregate_numbers(records, ["energy_score"], rng)
            for hours, records in _by_lead_time(starts, "energy")
        ],
        "events": {
            name: [
                {"lead_hours": hours} | aggregate_numbers(records, ["brier_fair"], rng)
                for hours, records in _by_lead_time(starts, "events", name)
            ]
            for name in first["events"]
        },
    }


def _by_lead_time(
    starts: Sequence[Mapping[int, Mapping[str, Any]]], kind: str, name: str | None = None
) -> Iterator[tuple[int, list[Record]]]:
    """Yield each lead time in hours and the records of all starts, of a `kind` and, where it has names, of a `name`."""
    for hours in starts[0]:
        records = [start[hours][kind] for start in starts]
        yield hours, records if name is None else [record[name] for record in records]
