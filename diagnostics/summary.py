"""What the records of many forecasts say together, with intervals from resampling the starts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.moments import spread_skill_ratio
from diagnostics.records import Record
from diagnostics.spectra import power_ratio, total_deviation

_RESAMPLES = 2000
_LEVEL = 0.95


def aggregate_records(records: Sequence[Record], members: int, draw: np.random.Generator) -> dict[str, Any]:
    """Return what `records` of one variable and lead time, one a start, say together.

    `crps_fair`, `crps_biased` and the references are means, `rmse` and `spread` roots of means, `spread_skill` their
    ratio for M members, `ranks` the mean histogram, `spectrum` and `spectrum_truth` mean spectra, `eta` their ratio,
    `spectrum_deviation` Σ|1−η|, also of climatology where the records have it. `intervals` holds the central 95 % of
    each number under resampling, where there is more than one start.
    """
    means = {name: np.mean(_column(records, name), axis=0) for name in records[0]}
    result: dict[str, Any] = {name: value.tolist() for name, value in _derived(means, members).items()}
    result |= {name: means[name].tolist() for name in ("ranks", "spectrum", "spectrum_truth")}
    result["eta"] = power_ratio(means["spectrum"], means["spectrum_truth"]).tolist()
    if len(records) > 1:
        shares = _shares(len(records), draw)
        resampled = {name: shares @ _column(records, name) for name in records[0] if name != "ranks"}
        result["intervals"] = {name: _interval(values) for name, values in _derived(resampled, members).items()}
    return result


def aggregate_numbers(records: Sequence[Record], names: Iterable[str], draw: np.random.Generator) -> dict[str, Any]:
    """Return the mean of every number and list of `records`, and `intervals` as above of the numbers in `names`."""
    means: dict[str, Any] = {name: np.mean(_column(records, name), axis=0).tolist() for name in records[0]}
    if len(records) > 1:
        shares = _shares(len(records), draw)
        means["intervals"] = {name: _interval(shares @ _column(records, name)) for name in names}
    return means


def _derived(means: Mapping[str, NDArray[np.float64]], members: int) -> dict[str, NDArray[np.float64]]:
    """Return the numbers that follow from means over starts, for one set of means or many (resample, …)."""
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
    return np.array([record[name] for record in records], np.float64)


def _shares(starts: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """Return how often each start is in each resample, as shares, (resample, start)."""
    return draw.multinomial(starts, np.full(starts, 1 / starts), _RESAMPLES) / starts


def _interval(values: NDArray[np.float64]) -> list[float]:
    """Return the central interval of `values` (resample)."""
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return [float(low), float(high)]
