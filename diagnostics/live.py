"""Diagnostics of an ensemble while it is computed, without a truth: spread, spectra and lost members."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from diagnostics.ensemble_summary import finite_mask, finite_members
from diagnostics.scores.arrays import Array, area_mean, namespace, to_numpy
from diagnostics.scores.spectra import spherical_spectrum
from weather.grids import Grid

BANDS = {"planetary": (1, 10), "synoptic": (11, 40), "meso": (41, None)}
"""First and last total wavenumber of each band of scales; None is the last of the grid."""

_BLOCK = 8
_DEVICE_BLOCK = 64
"""Fields that are transformed together on a CPU, and on another device."""


def diagnose_lead_time(
    groups: Sequence[Array],
    start: Sequence[NDArray[np.float64]],
    members: Sequence[int],
    variables: Sequence[str],
    grid: Grid,
) -> dict[str, Any]:
    """Return the diagnostics of a lead time, ready for JSON, computed where the groups are.

    Each of `groups` is (member, variable, latitude, longitude), numpy or torch; `start` is the `mean_spectra` of the
    initial state. `nonfinite_members` lists the members that are not finite everywhere; they are left out of the
    statistics. By variable, `spread` is None for fewer than two members, `power` is the members' mean spectrum, and
    `log_ratio` is, by band of scales, the logarithm (base 10) of the members' power over that of the initial state.
    """
    finite = [finite_members(group) for group in groups]
    count = sum(len(group) for group in finite)
    by_variable = {}
    for index, name in enumerate(variables):
        power = _mean_spectrum(finite, index, grid)
        by_variable[name] = {
            "spread": _spread(finite, index, grid) if count > 1 else None,
            "power": [float(f"{value:.5g}") for value in power] if count else None,
            "log_ratio": _log_ratios(power, start[index]) if count else {},
        }
    mask = np.concatenate([to_numpy(finite_mask(group)) for group in groups])
    lost = [member for member, is_finite in zip(members, mask, strict=True) if not is_finite]
    return {"variables": by_variable, "nonfinite_members": lost}


def mean_spectra(fields: Array, grid: Grid) -> list[NDArray[np.float64]]:
    """Return each variable's power by total wavenumber, mean over `fields` (field, variable, latitude, longitude)."""
    return [_mean_spectrum([fields], index, grid) for index in range(fields.shape[1])]


def _mean_spectrum(groups: Sequence[Array], index: int, grid: Grid) -> NDArray[np.float64]:
    """Return the mean spectrum of the variable at `index`, computed in blocks of fields; empty if there is no field."""
    count = sum(len(group) for group in groups)
    if not count:
        return np.zeros(0)
    blocks = _blocks(groups, index)
    return to_numpy(sum(namespace(block).sum(spherical_spectrum(block, grid), axis=0) for block in blocks)) / count


def _blocks(groups: Sequence[Array], index: int) -> Iterator[Array]:
    """Yield the variable at `index` of all members in float64, some members at a time."""
    for group in groups:
        size = _BLOCK if str(array_api_compat.device(group)) == "cpu" else _DEVICE_BLOCK
        for first in range(0, len(group), size):
            xp = namespace(group)
            yield xp.astype(group[first : first + size, index], xp.float64)


def _spread(groups: Sequence[Array], index: int, grid: Grid) -> float:
    """Return `diagnostics.scores.moments.spread` of a variable of all groups, without concatenating them."""
    count = sum(len(group) for group in groups)
    mean = sum(namespace(block).sum(block, axis=0) for block in _blocks(groups, index)) / count
    squares = sum(namespace(block).sum((block - mean) ** 2, axis=0) for block in _blocks(groups, index))
    variance = squares / (count - 1)
    return float(np.sqrt(float(area_mean(variance, grid.area_weights))))


def _log_ratios(power: NDArray[np.float64], start: NDArray[np.float64]) -> Mapping[str, float]:
    """Return the logarithm of `power` over `start` in each band in which both have power."""
    ratios = {}
    for band, (first, last) in BANDS.items():
        wavenumbers = slice(first, None if last is None else last + 1)
        current, initial = power[wavenumbers].sum(), start[wavenumbers].sum()
        if current > 0 and initial > 0:
            ratios[band] = float(np.log10(current / initial))
    return ratios
