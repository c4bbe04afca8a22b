"""Scores of one forecast at one lead time as a record of plain numbers, ready to be stored, joined and resampled."""

from collections.abc import Mapping

import numpy as np

from diagnostics.scores.arrays import Array, area_mean, to_numpy
from diagnostics.scores.crps import crps_biased, crps_fair
from diagnostics.scores.moments import ensemble_mean_squared_error, ensemble_variance
from diagnostics.scores.probability import brier_fair, coverage, pit_gaussian, rank_histogram, reliability
from diagnostics.scores.spectra import spherical_spectrum
from weather.grids import Grid

_PIT_BINS = 20

Values = float | list[float] | list[list[float]]

Record = Mapping[str, Values]


def score_field(ensemble: Array, truth: Array, grid: Grid, rng: np.random.Generator) -> dict[str, Values]:
    """Return the scores of `ensemble` (member, latitude, longitude) for `truth` (latitude, longitude).

    `crps_fair`, `crps_biased`, `squared_error` (of the ensemble mean) and `variance` (unbiased) are area means, in the
    unit of the field or its square; `ranks` are the fractions of the area with each rank 0 … M; `spectrum` (mean over
    members) and `spectrum_truth` are power by total wavenumber.
    """
    weights = grid.area_weights
    counts = rank_histogram(ensemble, truth, rng, weights[:, None])
    return {
        "crps_fair": float(area_mean(crps_fair(ensemble, truth), weights)),
        "crps_biased": float(area_mean(crps_biased(ensemble, truth), weights)),
        "squared_error": float(area_mean(ensemble_mean_squared_error(ensemble, truth), weights)),
        "variance": float(area_mean(ensemble_variance(ensemble), weights)),
        "ranks": (counts / counts.sum()).tolist(),
        "spectrum": to_numpy(spherical_spectrum(ensemble, grid)).mean(axis=0).tolist(),
        "spectrum_truth": to_numpy(spherical_spectrum(truth, grid)).tolist(),
    }


def score_references(
    truth: Array, grid: Grid, start: Array | None, climatology: Array | None, years: Array | None = None
) -> dict[str, Values]:
    """Return the scores of reference forecasts for `truth` (latitude, longitude), for those that are given.

    `persistence_mae` is the mean absolute error of `start` (latitude, longitude), the analysis at initial time;
    `climatology_crps` is the fair CRPS of the states of `climatology` (state, latitude, longitude), and
    `spectrum_climatology` is their mean spectrum. Both scores are area means. `spectra_years` are the spectra of
    `years` (year, latitude, longitude), states of the same date.
    """
    result: dict[str, Values] = {}
    if start is not None:
        result["persistence_mae"] = float(area_mean(abs(start - truth), grid.area_weights))
    if climatology is not None:
        result["climatology_crps"] = float(area_mean(crps_fair(climatology, truth), grid.area_weights))
        result["spectrum_climatology"] = to_numpy(spherical_spectrum(climatology, grid)).mean(axis=0).tolist()
    if years is not None:
        result["spectra_years"] = to_numpy(spherical_spectrum(years, grid)).tolist()
    return result


def score_event(ensemble: Array, truth: Array, threshold: float, grid: Grid) -> dict[str, Values]:
    """Return the scores of the event that a value exceeds `threshold`.

    `ensemble` is (member, latitude, longitude), `truth` (latitude, longitude). `brier_fair` is an area mean. `forecast`
    is the fraction of the area where i = 0 … M members exceed the threshold, and `occurred` the fraction where in
    addition the truth does: `occurred` / `forecast` against i/M is the reliability diagram.
    """
    forecast, occurred = reliability(ensemble, truth, threshold, grid.area_weights[:, None])
    return {
        "brier_fair": float(area_mean(brier_fair(ensemble, truth, threshold), grid.area_weights)),
        "forecast": (forecast / forecast.sum()).tolist(),
        "occurred": (occurred / forecast.sum()).tolist(),
    }


def score_gaussian(mean: Array, std: Array, truth: Array, grid: Grid) -> dict[str, Values]:
    """Return the calibration of a Gaussian forecast (mean, std) of `truth`, all (latitude, longitude).

    `pit` is the histogram of Φ((truth − mean)/std) in 20 bins, as fractions of the area, flat if the Gaussian is
    reliable; `coverage_50` and `coverage_90` are the fractions of the area whose truth is within the central 50 % and
    90 % intervals.
    """
    pit = pit_gaussian(mean, std, truth)
    weights = np.broadcast_to(grid.area_weights[:, None], pit.shape)
    fractions = np.histogram(pit, _PIT_BINS, (0, 1), weights=weights)[0] / weights.sum()
    covered = {level: float((coverage(pit, level) * weights).sum() / weights.sum()) for level in (0.5, 0.9)}
    return {"pit": fractions.tolist(), "coverage_50": covered[0.5], "coverage_90": covered[0.9]}
