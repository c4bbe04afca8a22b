"""Diagnostics of an ensemble while it is computed, without a truth: spread, spectra and lost members."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.ensemble_summary import finite_mask, finite_members
from diagnostics.scores.arrays import area_mean
from diagnostics.scores.spectra import spherical_spectrum
from weather.grids import Grid

BANDS = {"planetary": (1, 10), "synoptic": (11, 40), "meso": (41, None)}
"""First and last total wavenumber of each band of scales; None is the last of the grid."""

Group = NDArray[np.float32]

_BLOCK = 8


def diagnose_lead_time(
    groups: Sequence[Group],
    start: Sequence[NDArray[np.float64]],
    members: Sequence[int],
    variables: Sequence[str],
    grid: Grid,
) -> dict[str, Any]:
    """Return the diagnostics of a lead time, ready for JSON.

    Each of `groups` is (member, variable, latitude, longitude); `start` is the `mean_spectra` of the initial state.
    `nonfinite_members` lists the members that are not finite everywhere; they are left out of the statistics. By
    variable, `spread` is None for fewer than two members, `power` is the members' mean spectrum, and `log_ratio` is, by
    band of scales, the logarithm (base 10) of the members' power over that of the initial state.
    """
    finite = [finite_members(group) for group in groups]
    count = sum(len(group) for group in finite)
    by_variable = {}
    for index, name in enumerate(variables):
        power = _mean_spectrum(finite, index, grid)
        by_variable[name] = {
            "spread": _spread([group[:, index] for group in finite], grid) if count > 1 else None,
            "power": [float(f"{value:.5g}") for value in power] if count else None,
            "log_ratio": _log_ratios(power, start[index]) if count else {},
        }
    mask = np.concatenate([finite_mask(group) for group in groups])
    lost = [member for member, is_finite in zip(members, mask, strict=True) if not is_finite]
    return {"variables": by_variable, "nonfinite_members": lost}


def mean_spectra(fields: Group, grid: Grid) -> list[NDArray[np.float64]]:
    """Return each variable's power by total wavenumber, mean over `fields` (field, variable, latitude, longitude)."""
    return [_mean_spectrum([fields], index, grid) for index in range(fields.shape[1])]


def _mean_spectrum(groups: Sequence[Group], index: int, grid: Grid) -> NDArray[np.float64]:
    """Return the mean spectrum of the variable at `index`, computed in blocks of fields; empty if there is no field."""
    total, count = np.zeros(0), sum(len(group) for group in groups)
    for group in groups:
        for first in range(0, len(group), _BLOCK):
            block = group[first : first + _BLOCK, index].astype(np.float64)
            power = np.asarray(spherical_spectrum(block, grid)).sum(axis=0)
            total = total + power if len(total) else power
    return total / max(count, 1)


def _spread(groups: Sequence[NDArray[np.float32]], grid: Grid) -> float:
    """Return `diagnostics.scores.moments.spread` of the members of all groups, without concatenating them."""
    count = sum(len(group) for group in groups)
    mean = sum(np.sum(group, axis=0, dtype=np.float64) for group in groups) / count
    squares = sum((field - mean) ** 2 for group in groups for field in group)
    return float(np.sqrt(float(area_mean(squares / (count - 1), grid.area_weights))))


def _log_ratios(power: NDArray[np.float64], start: NDArray[np.float64]) -> Mapping[str, float]:
    """Return the logarithm of `power` over `start` in each band in which both have power."""
    ratios = {}
    for band, (first, last) in BANDS.items():
        wavenumbers = slice(first, None if last is None else last + 1)
        current, initial = power[wavenumbers].sum(), start[wavenumbers].sum()
        if current > 0 and initial > 0:
            ratios[band] = float(np.log10(current / initial))
    return ratios
