"""Means of the records of many starts, with confidence intervals from resampling the starts (bootstrap)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.evaluation.records import Record
from diagnostics.scores.moments import spread_skill_ratio
from diagnostics.scores.spectra import power_ratio, total_deviation

_RESAMPLES = 2000
_LEVEL = 0.95


def aggregate_records(records: Sequence[Record], members: int, rng: np.random.Generator) -> dict[str, Any]:
    """Aggregate the `records` of one variable and lead time, one per start, into scores.

    `crps_fair`, `crps_biased` and the scores of references are means over starts; `rmse` and `spread` are roots of
    means, and `spread_skill` is their ratio for M `members`. `ranks` is the mean histogram; `spectrum` and
    `spectrum_truth` are mean spectra, `eta` their ratio, `spectrum_deviation` is Σ|1−η|, and `climatology_deviation`
    the same of climatology if the records have it. For more than one start, `intervals` holds the central 95 %
    interval of each scalar under resampling.
    """
    means = {name: np.mean(_column(records, name), axis=0) for name in records[0]}
    result: dict[str, Any] = {name: value.tolist() for name, value in _derive_scores(means, members).items()}
    result |= {name: means[name].tolist() for name in ("ranks", "spectrum", "spectrum_truth")}
    result["eta"] = power_ratio(means["spectrum"], means["spectrum_truth"]).tolist()
    if len(records) > 1:
        weights = _resample_weights(len(records), rng)
        resampled = {name: weights @ _column(records, name) for name in records[0] if name != "ranks"}
        result["intervals"] = {name: _interval(values) for name, values in _derive_scores(resampled, members).items()}
    return result


def aggregate_numbers(records: Sequence[Record], names: Iterable[str], rng: np.random.Generator) -> dict[str, Any]:
    """Return the mean over `records` of every value, and `intervals` (central 95 %) of the scalars in `names`."""
    means: dict[str, Any] = {name: np.mean(_column(records, name), axis=0).tolist() for name in records[0]}
    if len(records) > 1:
        weights = _resample_weights(len(records), rng)
        means["intervals"] = {name: _interval(weights @ _column(records, name)) for name in names}
    return means


def _derive_scores(means: Mapping[str, NDArray[np.float64]], members: int) -> dict[str, NDArray[np.float64]]:
    """Return the scalar scores that follow from means over starts; means may have a leading axis of resamples."""
    error, variance, truth = means["squared_error"], means["variance"], means["spectrum_truth"]
    result = {
        "crps_fair": means["crps_fair"],
        "crps_biased": means["crps_biased"],
        "rmse": np.sqrt(error),
        "spread": np.sqrt(variance),
        "spread_skill": spread_skill_ratio(variance, error, members),
        "spectrum_deviation": total_deviation(power_ratio(means["spectrum"], truth)),
    }
    result |= {name: means[name] for name in ("persistence_mae", "climatology_crps") if name in means}
    if "spectrum_climatology" in means:
        result["climatology_deviation"] = total_deviation(power_ratio(means["spectrum_climatology"], truth))
    return result


def _column(records: Sequence[Record], name: str) -> NDArray[np.float64]:
    """Return the values of `name` in all records, (start, …)."""
    return np.array([record[name] for record in records], np.float64)


def _resample_weights(starts: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the weight of each start in each bootstrap resample, (resample, start), with sum 1 per resample."""
    return rng.multinomial(starts, np.full(starts, 1 / starts), _RESAMPLES) / starts


def _interval(values: NDArray[np.float64]) -> list[float]:
    """Return the bounds of the central 95 % interval of `values` (resample)."""
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return [float(low), float(high)]
