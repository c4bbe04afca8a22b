"""The record of one start of a validation, as arrays, and the scores that follow from the means of all records."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.arrays import Array, area_mean, to_numpy
from diagnostics.scores.crps import crps_fair
from diagnostics.scores.moments import ensemble_mean_squared_error, ensemble_variance, spread_skill_ratio
from diagnostics.scores.residuals import time_correlation
from diagnostics.scores.spectra import power_ratio, spherical_spectrum, total_deviation
from models.shapes import Fields
from weather.grids import Grid
from weather.manifest import Normalisation

Scores = dict[str, float | list[float]]
"""Scores by name; the lists are spectra by total wavenumber."""

Record = dict[tuple[str, int], NDArray[np.float64]]
"""Values by name and number of time steps, each (variable) or (variable, wavenumber)."""

_CORRELATION_STEPS = (1, 2)


def correlate_residuals(of: str, residuals: Array, grid: Grid) -> Record:
    """Return the correlation of residuals (step, …, variable, latitude, longitude) with those one and two steps later.

    Members, if any, are averaged. Lags that are longer than the residuals are left out.
    """
    record: Record = {}
    for steps in _CORRELATION_STEPS:
        if len(residuals) > steps:
            correlation = _to_float64(time_correlation(residuals[:-steps], residuals[steps:], grid.area_weights))
            record[f"residual_correlation_{of}", steps] = correlation.reshape(-1, correlation.shape[-1]).mean(axis=0)
    return record


def score_members(steps: int, members: Fields, truth: Array, grid: Grid) -> Record:
    """Return the area means of the fair CRPS, of the variance and of the squared error of the mean after `steps`.

    `members` is (member, variable, latitude, longitude), `truth` the same without members, in physical units.
    """
    fields = {
        "crps": crps_fair(members, truth),
        "variance": ensemble_variance(members),
        "squared_error": ensemble_mean_squared_error(members, truth),
    }
    return {(name, steps): _to_float64(area_mean(field, grid.area_weights)) for name, field in fields.items()}


def score_spectra(members: Array, truth: Array, grid: Grid) -> Record:
    """Return the mean spectra of residuals of members and of truth, both (…, variable, latitude, longitude)."""
    spectra = {"spectrum": members, "spectrum_truth": truth}
    return {(name, 1): _to_float64(spherical_spectrum(fields, grid).mean(0)) for name, fields in spectra.items()}


def combine_records(
    records: Sequence[Record], variables: Sequence[Normalisation], time_step_hours: int, num_members: int
) -> Scores:
    """Return the scores that follow from the means over all records, by name; docs/validation.md defines each."""
    names, stds = [variable.name for variable in variables], np.array([variable.std for variable in variables])
    means = {key: np.mean([record[key] for record in records], axis=0) for key in records[0]}
    scores: Scores = {}
    for (name, steps), values in means.items():
        lead = f"{steps * time_step_hours}h"
        if name == "crps":
            scores[f"crps_{lead}"] = float((values / stds).mean())
            scores |= name_by_variable(f"crps_{lead}", names, values.tolist())
            variance, error = means["variance", steps], means["squared_error", steps]
            ratio = spread_skill_ratio((variance / stds**2).mean(), (error / stds**2).mean(), num_members)
            scores[f"spread_skill_{lead}"] = float(ratio)
            ratios = spread_skill_ratio(variance, error, num_members)
            scores |= name_by_variable(f"spread_skill_{lead}", names, ratios.tolist())
        elif name == "spectrum":
            eta = power_ratio(values, means["spectrum_truth", steps])
            scores |= name_by_variable("residual_deviation", names, total_deviation(eta).tolist())
            scores |= name_by_variable("residual_eta", names, eta.tolist())
        elif name.startswith("residual_correlation"):
            scores |= name_by_variable(f"{name}_{lead}", names, values.tolist())
    return scores


def name_by_variable(score: str, names: Sequence[str], values: Sequence[float | list[float]]) -> Scores:
    """Return the values of a score of each variable by the name of both."""
    return {f"{score}_{name}": value for name, value in zip(names, values, strict=True)}


def _to_float64(array: Array) -> NDArray[np.float64]:
    return to_numpy(array).astype(np.float64)
