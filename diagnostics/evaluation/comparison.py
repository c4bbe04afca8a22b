"""Scores of forecasts against the truth and references: a record per lead time, and their aggregate over starts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.evaluation.records import Record, score_event, score_field, score_references
from diagnostics.evaluation.resampling import Weights, aggregate_numbers, aggregate_records, select_starts
from diagnostics.scores.multivariate import energy_score_fair, energy_score_tiled, variogram_score
from diagnostics.scores.wind import WIND_SPEED, append_wind_speed
from weather.errors import VerificationError
from weather.grids import Grid

EVENT_SPEEDS = (10.0, 15.0)
"""Thresholds of wind speed, in m s-1, whose exceedance is scored as an event."""

Fields = NDArray[np.float32]

Starts = Sequence[Mapping[int, Mapping[str, Any]]]
"""The records of each start by hours of lead time, as `score_lead_time` returns them."""


@dataclass(frozen=True)
class References:
    """References to score next to a forecast; those that are None are not scored.

    `start` (variable, latitude, longitude) is the analysis at initial time, for persistence; `climatology` is
    (state, variable, latitude, longitude). `years` are the states of the same date in several years, (year, variable,
    latitude, longitude), whose spectra show what differs from year to year.
    """

    start: Fields | None = None
    climatology: Fields | None = None
    years: Fields | None = None


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
    _check_finite(members, variables, valid_time)
    units = np.asarray(scales, np.float32)[:, None, None]
    energy = _score_fields(members / units, truth / units, grid)
    ensemble, names = append_wind_speed(members, variables)
    true_fields = append_wind_speed(truth, variables)[0]
    start, climatology, years = (
        None if fields is None else append_wind_speed(fields, variables)[0]
        for fields in (references.start, references.climatology, references.years)
    )
    scores = {}
    for channel, name in enumerate(names):
        rng = np.random.default_rng([*seed, channel])
        scores[name] = score_field(ensemble[:, channel], true_fields[channel], grid, rng) | score_references(
            true_fields[channel],
            grid,
            None if start is None else start[channel],
            None if climatology is None else climatology[:, channel],
            None if years is None else years[:, channel],
        )
    speeds = EVENT_SPEEDS if WIND_SPEED in scores else ()
    events = {
        f"{WIND_SPEED} > {speed:g}": score_event(ensemble[:, -1], true_fields[-1], speed, grid) for speed in speeds
    }
    return {"scores": scores, "energy": energy, "events": events}


def _check_finite(members: Fields, variables: Sequence[str], valid_time: np.datetime64) -> None:
    lost = np.argwhere(~np.isfinite(members).all(axis=(2, 3)))
    if len(lost):
        raise VerificationError(
            f"All members must be finite to be scored. Got: `{variables[lost[0, 1]]}` of member {lost[0, 0]} "
            f"(the first is 0) is not, at {valid_time}."
        )


def _score_fields(members: Fields, truth: Fields, grid: Grid) -> dict[str, float]:
    """Return the scores of all variables, in units of their standard deviations, together."""
    return {
        "energy_score": energy_score_fair(members, truth, grid.area_weights),
        "energy_score_tiled": energy_score_tiled(members, truth, grid),
        "variogram_score": variogram_score(members, truth, grid.area_weights),
    }


def combine_starts(starts: Starts, members: int, weights: Weights) -> dict[str, Any]:
    """Average the records of many starts: `scores` by variable, `events` by event, `energy`; each a row per lead time.

    `members` is the number of members. A row is of the starts that have its lead time: their number is `starts`, if
    there are several in all. It then also has 95 % confidence intervals of its scores, from the resamples of starts
    with `weights`.
    """

    def head(hours: int, records: Sequence[Record]) -> dict[str, Any]:
        return {"lead_hours": hours} | ({"starts": len(records)} if len(starts) > 1 else {})

    first = next(record for start in starts for record in start.values())
    return {
        "scores": {
            name: [
                head(hours, records) | aggregate_records(records, members, present)
                for hours, records, present in by_lead_time(starts, weights, "scores", name)
            ]
            for name in first["scores"]
        },
        "energy": [
            head(hours, records) | aggregate_numbers(records, first["energy"], present)
            for hours, records, present in by_lead_time(starts, weights, "energy")
        ],
        "events": {
            name: [
                head(hours, records) | aggregate_numbers(records, ["brier_fair"], present)
                for hours, records, present in by_lead_time(starts, weights, "events", name)
            ]
            for name in first["events"]
        },
    }


def by_lead_time(
    starts: Starts, weights: Weights, kind: str, name: str | None = None
) -> Iterator[tuple[int, list[Record], Weights]]:
    """Yield each lead time in hours, the records of the starts that have it, and the weights of those in resamples.

    Records are of a `kind` and, where it has names, of a `name`.
    """
    for hours in sorted({hours for start in starts for hours in start}):
        present = [number for number, start in enumerate(starts) if hours in start]
        records = [starts[number][hours][kind] for number in present]
        yield hours, records if name is None else [record[name] for record in records], select_starts(weights, present)
