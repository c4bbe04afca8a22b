"""The result of an evaluation: scores over all starts, of the forecast, the control and what it is compared with."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diagnostics.evaluation.comparison import Starts, combine_starts
from diagnostics.evaluation.differences import compare_starts
from diagnostics.evaluation.resampling import (
    Weights,
    aggregate_numbers,
    count_block_starts,
    resample_weights,
)
from diagnostics.evaluation.residual_records import combine_residuals
from training.evaluation.settings import Evaluation

Records = Sequence[Mapping[str, Any]]

CONTROL = "Gaussian noise, no flow"
"""Name of the control among the comparisons."""


def combine_records(
    records: Records, evaluation: Evaluation, time_step_hours: int, others: Mapping[str, tuple[Records, int]]
) -> dict[str, Any]:
    """Return the scores of all starts.

    They are those of `combine_starts`, `warm_start` (how well h fits the truth), `residuals`, and `control` with its
    scores. `comparisons` has the paired differences from the control and from each of `others`, records and number of
    members by name, at the lead times that both have. All intervals are from the same resamples of starts;
    `block_starts` is the number of starts in their blocks.
    """
    times = np.array([record["start"] for record in records], "datetime64[s]")
    block = count_block_starts(times, evaluation.block_days)
    weights, members = resample_weights(len(records), block, evaluation.seed), evaluation.num_members
    starts = _lead_times(records, "lead_times")
    result = combine_starts(starts, members, weights) | {
        "warm_start": _combine_fits([record["warm_start"] for record in records], weights),
        "residuals": combine_residuals([record["residuals"] for record in records], time_step_hours, weights),
        "block_starts": block,
        "comparisons": {},
    }
    if any(record.get("control") for record in records):
        control = _lead_times(records, "control")
        result["control"] = combine_starts(control, members, weights)
        result["comparisons"][CONTROL] = compare_starts(starts, control, (members, members), weights)
    for name, (other, number) in others.items():
        theirs = _lead_times(other, "lead_times")
        if any(theirs):
            comparison: dict[str, Any] = compare_starts(starts, theirs, (members, number), weights)
            comparison["scores_of_other"] = combine_starts(theirs, number, weights)["scores"]
            residuals = [record["residuals"] for record in other]
            comparison["residuals"] = combine_residuals(residuals, time_step_hours, weights)
            result["comparisons"][name] = comparison
    return result


def _lead_times(records: Records, key: str) -> Starts:
    """Return the records of lead times by hours, of each start; JSON has the hours as text."""
    return [{int(hours): scores for hours, scores in record[key].items()} for record in records]


def _combine_fits(fits: Sequence[Mapping[str, Any]], weights: Weights) -> dict[str, Any]:
    return {
        name: aggregate_numbers([fit[name] for fit in fits], ["coverage_50", "coverage_90"], weights)
        for name in fits[0]
    }
