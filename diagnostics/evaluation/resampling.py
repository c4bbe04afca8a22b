"""Means of the records of many starts, with confidence intervals from resampling blocks of starts (bootstrap)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.evaluation.records import Record
from diagnostics.scores.moments import spread_skill_ratio
from diagnostics.scores.spectra import power_ratio, total_deviation, wavenumber_bands

_RESAMPLES = 2000
_LEVEL = 0.95

Weights = NDArray[np.float64]
"""Weight of each start in each resample, (resample, start), with sum 1 in a resample."""

Means = Mapping[str, NDArray[np.float64]]
"""Means of records over starts by name; a leading axis of resamples is possible."""


def resample_weights(starts: int, block: int, seed: int) -> Weights:
    """Return the weights of 2000 bootstrap resamples of starts in order of time, (resample, start).

    A resample is drawn in blocks of `block` neighbouring starts, the last and the first being neighbours, so that
    intervals allow for the correlation of starts within a block; 1 is right for independent starts. All scores of an
    evaluation use the same resamples. Source: Politis & Romano (1992), circular block bootstrap.
    """
    block = min(block, starts)
    firsts = np.random.default_rng(seed).integers(0, starts, (_RESAMPLES, -(-starts // block)))
    chosen = ((firsts[:, :, None] + np.arange(block)) % starts).reshape(_RESAMPLES, -1)[:, :starts]
    weights = np.zeros((_RESAMPLES, starts))
    np.add.at(weights, (np.arange(_RESAMPLES)[:, None], chosen), 1 / starts)
    return weights


def select_starts(weights: Weights, present: Sequence[int]) -> Weights:
    """Return the weights of some of the starts, whose sum is again 1; a resample that has none of them is left out."""
    if len(present) == weights.shape[1]:
        return weights
    chosen = weights[:, list(present)]
    sums = chosen.sum(axis=1, keepdims=True)
    return np.asarray(chosen[sums[:, 0] > 0] / sums[sums[:, 0] > 0])


def count_block_starts(times: NDArray[Any], days: float) -> int:
    """Return how many starts a block of `days` has: those within it of a start, by the median distance of starts."""
    if len(times) < 2:
        return 1
    spacing = np.median(np.diff(np.sort(times))) / np.timedelta64(1, "s") / 86400
    return max(int(np.ceil(days / spacing)), 1)


def aggregate_records(records: Sequence[Record], members: int, weights: Weights) -> dict[str, Any]:
    """Aggregate the `records` of one variable and lead time, one per start, into scores.

    The scalars are those of `derive_scores`, for M `members`. `ranks` is the mean histogram; `spectrum` and
    `spectrum_truth` are mean spectra, `eta` their ratio. `bands` has, for each band of wavenumbers, Σ|1−η| of the
    forecast, of climatology and of the natural variability, as far as the records have them. `natural_deviation` is the
    median of Σ|1−η| of one year against another, `natural_range` the least and the largest. `intervals` holds the
    central 95 % interval of each scalar in the resamples of `weights`, if there is more than one start.
    """
    means = average_records(records)
    result: dict[str, Any] = {name: value.tolist() for name, value in derive_scores(means, members).items()}
    result |= {name: means[name].tolist() for name in ("ranks", "spectrum", "spectrum_truth")}
    result["eta"] = power_ratio(means["spectrum"], means["spectrum_truth"]).tolist()
    etas = {"forecast": np.asarray(result["eta"])}
    if "spectrum_climatology" in means:
        etas["climatology"] = power_ratio(means["spectrum_climatology"], means["spectrum_truth"])
    if "spectra_years" in means:
        etas["natural"] = _year_against_year(means["spectra_years"])
        deviations = total_deviation(etas["natural"])
        result["natural_deviation"] = float(np.median(deviations))
        result["natural_range"] = [float(deviations.min()), float(deviations.max())]
    result["bands"] = {
        band: {kind: float(np.median(total_deviation(eta[..., chosen]))) for kind, eta in etas.items()}
        for band, chosen in wavenumber_bands(len(result["eta"]) - 1).items()
    }
    if len(records) > 1:
        resampled = derive_scores(average_records(records, weights), members)
        result["intervals"] = {name: interval(values) for name, values in resampled.items()}
    return result


def aggregate_numbers(records: Sequence[Record], names: Iterable[str], weights: Weights) -> dict[str, Any]:
    """Return the mean over `records` of every value, and `intervals` (central 95 %) of the scalars in `names`."""
    means: dict[str, Any] = {name: value.tolist() for name, value in average_records(records).items()}
    if len(records) > 1:
        resampled = average_records([{name: record[name] for name in names} for record in records], weights)
        means["intervals"] = {name: interval(values) for name, values in resampled.items()}
    return means


def average_records(records: Sequence[Record], weights: Weights | None = None) -> dict[str, NDArray[np.float64]]:
    """Return the means of all values over starts, or with `weights` those of each resample, (resample, …)."""
    columns = {name: np.array([record[name] for record in records], np.float64) for name in records[0]}
    if weights is None:
        return {name: column.mean(axis=0) for name, column in columns.items()}
    return {name: np.tensordot(weights, column, axes=1) for name, column in columns.items()}


def derive_scores(means: Means, members: int) -> dict[str, NDArray[np.float64]]:
    """Return the scalar scores that follow from means of records over starts, for M `members`.

    `crps_fair`, `crps_biased` and the scores of references are means; `rmse` and `spread` are roots of means, and
    `spread_skill` is their ratio. `crps_of_persistence` and `crps_of_climatology` are the fair CRPS divided by that of
    a reference (persistence's is its mean absolute error). `rank_lowest` and `rank_highest` are the end bins of the
    rank histogram, 1 if it is flat. `spectrum_deviation` is Σ|1−η|, and `climatology_deviation` that of climatology.
    """
    error, variance, truth = means["squared_error"], means["variance"], means["spectrum_truth"]
    result = {
        "crps_fair": means["crps_fair"],
        "crps_biased": means["crps_biased"],
        "rmse": np.sqrt(error),
        "spread": np.sqrt(variance),
        "spread_skill": spread_skill_ratio(variance, error, members),
        "rank_lowest": means["ranks"][..., 0] * (members + 1),
        "rank_highest": means["ranks"][..., -1] * (members + 1),
        "spectrum_deviation": total_deviation(power_ratio(means["spectrum"], truth)),
    }
    for name, ratio in (("persistence_mae", "crps_of_persistence"), ("climatology_crps", "crps_of_climatology")):
        if name in means:
            result |= {name: means[name], ratio: np.asarray(means["crps_fair"] / means[name])}
    if "spectrum_climatology" in means:
        result["climatology_deviation"] = total_deviation(power_ratio(means["spectrum_climatology"], truth))
    return result


def interval(values: NDArray[np.float64]) -> list[float]:
    """Return the bounds of the central 95 % interval of `values` (resample)."""
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return [float(low), float(high)]


def _year_against_year(spectra: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return η of each year's spectrum against that of each other year, (pair, wavenumber)."""
    pairs = [(one, other) for one in range(len(spectra)) for other in range(len(spectra)) if one != other]
    return np.stack([power_ratio(spectra[one], spectra[other]) for one, other in pairs])
