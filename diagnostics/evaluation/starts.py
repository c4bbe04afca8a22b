"""Verification of forecasts from several initial times against one truth: the scores of each, and of all together."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from diagnostics.evaluation.comparison import combine_starts
from diagnostics.evaluation.resampling import resample_weights
from weather.errors import VerificationError

StartRecords = Mapping[int, Mapping[str, Any]]
"""The records of a start by hours of lead time."""

_PERSISTENCE = "persistence_mae"


class StartScores(NamedTuple):
    """The scores of each start by its index, without those of which the truth has no valid time, and of all together.

    Both are in the form of `combine_starts`.
    """

    starts: dict[int, dict[str, Any]]
    pooled: dict[str, Any]


def combine_scores(found: Mapping[int, StartRecords], members: int, seed: int) -> StartScores:
    """Return the scores of forecasts of equal members from the records of each, as `score_records` returns them.

    Persistence is scored for all together only if the records of each start have it. Raises `VerificationError` if no
    start has records.
    """
    records = {index: of_start for index, of_start in found.items() if of_start}
    if not records:
        raise VerificationError("The truth must have a time after the initial time of one of the forecasts.")
    starts = {
        index: combine_starts([of_start], members, resample_weights(1, 1, seed)) for index, of_start in records.items()
    }
    common = list(records.values())
    if not all(map(_has_persistence, common)):
        common = [_without_persistence(of_start) for of_start in common]
    return StartScores(starts, combine_starts(common, members, resample_weights(len(common), 1, seed)))


def _has_persistence(records: StartRecords) -> bool:
    first = next(iter(records.values()))
    return all(_PERSISTENCE in scores for scores in first["scores"].values())


def _without_persistence(records: StartRecords) -> dict[int, dict[str, Any]]:
    return {
        hours: {
            **record,
            "scores": {
                variable: {name: value for name, value in scores.items() if name != _PERSISTENCE}
                for variable, scores in record["scores"].items()
            },
        }
        for hours, record in records.items()
    }
