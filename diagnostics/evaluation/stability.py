"""The stability of long rollouts: when members are lost, the climate of latitude bands, and the growth of the mean."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.growth import growth_factor
from weather.grids import Grid

BAND_EDGES = (-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0)
"""Latitudes between which means and variances are computed."""

PARTS = ("mean", "variance")

FAR = 3.0
"""Standard deviations between years beyond which a mean or variance is far from that of the years."""

_MIN_OTHER_YEARS = 2
"""Smallest number of years whose standard deviation is known."""

Moments = NDArray[np.float64]
"""Area-weighted sums of 1, x and x² in bands, (3, variable, band); those of several sets of fields may be added."""


def band_moments(fields: NDArray[np.float32], grid: Grid) -> Moments:
    """Return the moments of fields (…, variable, latitude, longitude) in the latitude bands, summed."""
    rows = _band_weights(grid)
    values = fields.reshape(-1, *fields.shape[-3:]).astype(np.float64)
    sums = [np.einsum("nvl,lb->vb", powers.mean(axis=-1), rows) for powers in (np.ones_like(values), values, values**2)]
    return np.stack(sums)


def compare_bands(
    rollouts: Moments, years: Sequence[Moments], variables: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Compare mean and variance of each variable and latitude band in `rollouts` with those of several `years`.

    Each row has `south` and `north`, and of `mean` and `variance` the value in the rollouts, `…_years` its mean over
    the years, `…_std` its standard deviation between them, and `…_distance` (value − mean) / standard deviation. The
    variance is that over all points and times of a band. Needs at least two years.
    """
    ours, theirs = _statistics(rollouts), np.stack([_statistics(year) for year in years])
    centre, spread = theirs.mean(axis=0), theirs.std(axis=0, ddof=1)
    distance = (ours - centre) / spread
    return {
        name: [
            {"south": south, "north": north}
            | {
                key: float(values[part, channel, band])
                for part, statistic in enumerate(PARTS)
                for key, values in (
                    (statistic, ours),
                    (f"{statistic}_years", centre),
                    (f"{statistic}_std", spread),
                    (f"{statistic}_distance", distance),
                )
            }
            for band, (south, north) in enumerate(pairwise(BAND_EDGES))
        ]
        for channel, name in enumerate(variables)
    }


def summarise_growth(
    amplitudes: NDArray[np.float64], season_amplitudes: NDArray[np.float64], first_step: int
) -> dict[str, Any]:
    """Return the growth of amplitudes (start, step) of mean rollouts, whose first one is that of `first_step`.

    `rate` is the median over starts of `growth_factor`, `rates` are those of all starts, and `amplitudes` the medians
    over starts by step. `season_rate` and `season_amplitudes` are the same of the climatology of the dates, which a
    perfect mean becomes after weeks: its distance from the mean of all dates changes with the season. None stands for a
    value that is not finite, and counts as larger than any other.
    """
    known = np.nan_to_num(amplitudes, nan=np.inf, posinf=np.inf)
    rates, season_rates = _rates(known), _rates(season_amplitudes)
    return {
        "rate": _finite(float(np.median(rates))),
        "rates": [_finite(rate) for rate in rates.tolist()],
        "season_rate": _finite(float(np.median(season_rates))),
        "first_step": first_step,
        "amplitudes": [_finite(value) for value in np.median(known, axis=0).tolist()],
        "season_amplitudes": [_finite(value) for value in np.median(season_amplitudes, axis=0).tolist()],
    }


def _rates(amplitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the growth factor of each start, infinite where it is not known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rates: NDArray[np.float64] = np.nan_to_num(growth_factor(amplitudes.T), nan=np.inf, posinf=np.inf)
    return rates


def combine_stability(
    records: Sequence[Mapping[str, Any]], years: Sequence[Moments], variables: Sequence[str], first_step: int
) -> dict[str, Any]:
    """Combine the records of several starts.

    A record has `start`, `lost_hours` (the lead time at which the member was lost, or None), `moments` in the second
    half of the rollout, `truth_moments` of the truth of it (or None), and from `first_step` on `amplitudes` of the mean
    rollout and `season_amplitudes` of the climatology of its dates. `bands`, `largest_distance` and `far`, the number
    of means and variances beyond `FAR`, are there if no member was lost and there are two `years` or more. `truth` has
    the latter two of the truth, if that is known from all starts, and with three years or more there are
    `natural_distances`: the largest distance of each year from the others. A perfect model would have both, too.
    """
    lost = {record["start"]: record["lost_hours"] for record in records if record["lost_hours"] is not None}
    result: dict[str, Any] = {
        "starts": [record["start"] for record in records],
        "lost_hours": lost,
        "growth": summarise_growth(_column(records, "amplitudes"), _column(records, "season_amplitudes"), first_step),
    }
    if len(years) > 1 and not lost:
        total = np.sum([record["moments"] for record in records], axis=0)
        result["bands"] = compare_bands(total, years, variables)
        result |= _count_far(result["bands"])
        truth = [record["truth_moments"] for record in records]
        if None not in truth:
            result["truth"] = _count_far(compare_bands(np.sum(truth, axis=0), years, variables))
    if len(years) > _MIN_OTHER_YEARS and not lost:
        others = [[*years[:number], *years[number + 1 :]] for number in range(len(years))]
        result["natural_distances"] = [
            _count_far(compare_bands(year, rest, variables))["largest_distance"]
            for year, rest in zip(years, others, strict=True)
        ]
    return result


def _column(records: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([record[name] for record in records], np.float64)


def _count_far(bands: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the largest distance, of either sign, in the result of `compare_bands`, and how many are `far`."""
    distances = np.abs([row[f"{part}_distance"] for rows in bands.values() for row in rows for part in PARTS])
    return {"largest_distance": float(np.max(distances)), "far": int(np.sum(distances > FAR))}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _band_weights(grid: Grid) -> NDArray[np.float64]:
    """Return the area weight of each latitude in each band; a latitude on an edge counts half in both."""
    latitude = np.asarray(grid.latitude)[:, None]
    south, north = np.array(BAND_EDGES[:-1]), np.array(BAND_EDGES[1:])
    inside = 0.5 * ((latitude >= south) & (latitude <= north)) + 0.5 * ((latitude > south) & (latitude < north))
    at_pole = np.abs(latitude) == 90
    return np.where(at_pole & (inside > 0), 1.0, inside) * grid.area_weights[:, None]


def _statistics(moments: Moments) -> NDArray[np.float64]:
    """Return mean and variance, (2, variable, band)."""
    count, first, second = moments
    mean = first / count
    return np.stack([mean, second / count - mean**2])
