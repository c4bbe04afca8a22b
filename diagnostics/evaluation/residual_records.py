"""Records of the normalised residuals z = (x − μ)/σ of truth and of members: their power, and correlation in time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.evaluation.records import Record
from diagnostics.evaluation.resampling import Weights, interval
from diagnostics.scores.arrays import Array, area_mean, to_numpy
from diagnostics.scores.spectra import power_ratio, spherical_spectrum, total_deviation, wavenumber_bands
from weather.grids import Grid

LAGS = (1, 2, 3, 4, 8)
"""Time steps between two residuals whose correlation is measured."""

ALL = "all"
"""Name of the band of all wavenumbers but 0."""


def record_residuals(truth: Array, members: Array, variables: Sequence[str], grid: Grid) -> dict[str, dict[str, Any]]:
    """Return the record of one start by variable: sums over time steps, to be added over starts.

    `truth` is (step, variable, latitude, longitude): residuals of the truth after 1, 2, … steps, each from the warm
    start of the true frames before it. `members` is (step, member, …): those of members from the frames of their own;
    at the first step these are the true ones. `spectrum_truth` is the sum over `steps_truth`, `spectrum` the mean over
    members at the first step. `product_…`, `earlier_…` and `later_…` are sums of ⟨a·b⟩, ⟨a²⟩ and ⟨b²⟩ over all pairs of
    residuals that are each of `LAGS` apart, of which there may be none.
    """
    spectra = to_numpy(spherical_spectrum(truth, grid)).sum(axis=0), to_numpy(spherical_spectrum(members[0], grid))
    pairs = _sum_pairs(truth[:, None], grid), _sum_pairs(members, grid)
    records = {}
    for channel, name in enumerate(variables):
        record: dict[str, Any] = {
            "steps_truth": float(truth.shape[0]),
            "spectrum_truth": spectra[0][channel].tolist(),
            "spectrum": spectra[1].mean(axis=0)[channel].tolist(),
        }
        for kind, sums in zip(("truth", "members"), pairs, strict=True):
            record |= {f"{part}_{kind}": values[:, channel].tolist() for part, values in sums.items()}
        records[name] = record
    return records


def combine_residuals(
    starts: Sequence[Mapping[str, Record]], time_step_hours: int, weights: Weights
) -> dict[str, dict[str, Any]]:
    """Combine the records of all starts by variable.

    `eta` is the mean power of members' residuals divided by that of the truth's, for each total wavenumber, and
    `deviation` is Σ|1−η|. `power` is the same ratio of the power in bands of wavenumbers. `correlation_truth` and
    `correlation_members` are the correlations of residuals that are `lag_hours` apart, with Σ⟨a·b⟩ / √(Σ⟨a²⟩ Σ⟨b²⟩)
    over all starts, 0 if there is no power. `intervals` has those of the last three, if there are several starts.
    """
    combined = {}
    for name in starts[0]:
        records = [start[name] for start in starts]
        columns = {key: np.array([record[key] for record in records], np.float64) for key in records[0]}
        sums = {key: column.sum(axis=0) for key, column in columns.items()}
        result = _derive(sums, len(records), time_step_hours)
        result |= {key: (sums[key] / divisor).tolist() for key, divisor in _spectra(sums, len(records))}
        if len(records) > 1:
            resampled = {key: len(records) * np.tensordot(weights, column, axes=1) for key, column in columns.items()}
            derived = _derive(resampled, len(records), time_step_hours)
            result["intervals"] = {
                "power": {band: interval(np.asarray(ratio)) for band, ratio in derived["power"].items()},
                **{
                    key: [interval(column) for column in np.asarray(derived[key]).T]
                    for key in ("correlation_truth", "correlation_members")
                },
            }
        combined[name] = _to_lists(result)
    return combined


def _sum_pairs(residuals: Array, grid: Grid) -> dict[str, NDArray[np.float64]]:
    """Return ⟨a·b⟩, ⟨a²⟩ and ⟨b²⟩, summed over pairs of steps and averaged over members, each (lag, variable)."""
    parts: dict[str, list[NDArray[np.float64]]] = {"product": [], "earlier": [], "later": []}
    for lag in LAGS:
        count = max(residuals.shape[0] - lag, 0)
        earlier, later = residuals[:count], residuals[residuals.shape[0] - count :]
        for name, values in (
            ("product", earlier * later),
            ("earlier", earlier * earlier),
            ("later", later * later),
        ):
            means = to_numpy(area_mean(values, grid.area_weights)).astype(np.float64)
            parts[name].append(means.mean(axis=1).sum(axis=0))
    return {name: np.stack(values) for name, values in parts.items()}


def _spectra(sums: Mapping[str, NDArray[np.float64]], starts: int) -> list[tuple[str, Any]]:
    """Return the spectra of `sums` with the numbers that they are divided by for means."""
    return [("spectrum_truth", sums["steps_truth"][..., None]), ("spectrum", starts)]


def _derive(sums: Mapping[str, NDArray[np.float64]], starts: int, time_step_hours: int) -> dict[str, Any]:
    """Return what follows from sums over starts; they may have a leading axis of resamples."""
    truth, members = (sums[key] / divisor for key, divisor in _spectra(sums, starts))
    bands = wavenumber_bands(truth.shape[-1] - 1) | {ALL: slice(1, None)}
    eta = power_ratio(members, truth)
    known = sums["earlier_truth"].reshape(-1, len(LAGS)).min(axis=0) > 0
    result: dict[str, Any] = {
        "eta": eta,
        "deviation": total_deviation(eta[..., 1:]),
        "power": {
            band: members[..., part].sum(axis=-1) / truth[..., part].sum(axis=-1) for band, part in bands.items()
        },
        "lag_hours": [lag * time_step_hours for lag, is_known in zip(LAGS, known, strict=True) if is_known],
    }
    for kind in ("truth", "members"):
        product, earlier, later = (sums[f"{part}_{kind}"][..., known] for part in ("product", "earlier", "later"))
        size = np.sqrt(earlier * later)
        result[f"correlation_{kind}"] = np.divide(product, size, out=np.zeros_like(product), where=size > 0)
    return result


def _to_lists(value: Any) -> Any:
    """Return a value that JSON has: arrays and numbers of numpy as lists and floats."""
    if isinstance(value, dict):
        return {key: _to_lists(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
