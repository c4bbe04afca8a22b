"""Paired differences of the scores of two forecasts from the same starts, with intervals."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.evaluation.comparison import Starts, by_lead_time
from diagnostics.evaluation.records import Record
from diagnostics.evaluation.resampling import Weights, average_records, derive_scores, interval

SCORES = ("crps_fair", "rmse", "spread", "spread_skill", "spectrum_deviation")
"""Scores of each variable whose differences are computed."""

Scalars = Mapping[str, NDArray[np.float64]]


def compare_starts(
    starts: Starts, others: Starts, members: tuple[int, int], weights: Weights
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the differences of the scores of `starts` from those of `others`: those of fewer are better than these.

    Both have the records of the same starts, as `combine_starts` takes them; lead times that one of them lacks are left
    out, and one or more must remain. `members` are the numbers of members of both. The result has the parts `scores` by
    variable, and `energy` under the name `all variables`, each a row per lead time. A row maps each score to
    `difference` (ours − theirs) and `relative` (ours ÷ theirs − 1; None where theirs is 0). With several starts it also
    has `interval` and `relative_interval`: the central 95 % of the resamples of `weights`, in which both forecasts have
    the same starts, so that what a start does to both cancels.
    """
    common = [mine.keys() & its.keys() for mine, its in zip(starts, others, strict=True)]
    starts, others = (
        [{hours: start[hours] for hours in sorted(both)} for start, both in zip(one, common, strict=True)]
        for one in (starts, others)
    )
    first = next(record for start in starts for record in start.values())

    def rows(kind: str, name: str | None, derive: Callable[[Scalars, int], Scalars]) -> list[dict[str, Any]]:
        pairs = zip(*(by_lead_time(one, weights, kind, name) for one in (starts, others)), strict=True)
        return [
            {"lead_hours": hours} | _compare(ours, theirs, members, present, derive)
            for (hours, ours, present), (_, theirs, _) in pairs
        ]

    return {
        "scores": {name: rows("scores", name, _select) for name in first["scores"]},
        "energy": {"all variables": rows("energy", None, lambda means, _: means)},
    }


def _select(means: Scalars, members: int) -> Scalars:
    derived = derive_scores(means, members)
    return {name: derived[name] for name in SCORES}


def _compare(
    ours: Sequence[Record],
    theirs: Sequence[Record],
    members: tuple[int, int],
    weights: Weights,
    derive: Callable[[Scalars, int], Scalars],
) -> dict[str, dict[str, Any]]:
    """Return differences and ratios of all scores that `derive` computes from means of the records of two forecasts."""
    forecasts = tuple(zip((ours, theirs), members, strict=True))
    mine, other = (derive(average_records(records), count) for records, count in forecasts)
    result: dict[str, dict[str, Any]] = {}
    for name, value in mine.items():
        result[name] = {"difference": float(value - other[name]), "relative": _relative(value, other[name])}
    if len(ours) > 1:
        mine, other = (derive(average_records(records, weights), count) for records, count in forecasts)
        for name, value in mine.items():
            result[name]["interval"] = interval(value - other[name])
            if np.all(other[name] != 0):
                result[name]["relative_interval"] = interval(value / other[name] - 1)
    return result


def _relative(value: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """Return value ÷ other − 1, or None if that is not defined."""
    return float(value / other - 1) if other != 0 else None
