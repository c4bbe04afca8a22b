"""Diagnostics of an ensemble while it is computed, without a truth: spread, spectra and lost members."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from diagnostics.ensemble_summary import split_finite
from diagnostics.scores.arrays import Array, area_mean, namespace, to_numpy
from diagnostics.scores.spectra import spherical_spectrum
from weather.grids import Grid

BANDS = {"planetary": (1, 10), "synoptic": (11, 40), "meso": (41, None)}
"""First and last total wavenumber of each band of scales; None is the last of the grid."""

_BLOCK = 8
"""Fields that are transformed together on a CPU."""
_DEVICE_BLOCK_BYTES = 2**28
"""Bytes of the fields that are transformed together on another device, which needs large blocks to be fast."""


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
    finite, mask = split_finite(groups)
    count = int(mask.sum())
    by_variable = {}
    powers, spreads = _measure(finite, grid) if count else (np.zeros(0), np.zeros(0))
    for index, name in enumerate(variables):
        by_variable[name] = {
            "spread": float(spreads[index]) if count > 1 else None,
            "power": [float(f"{value:.5g}") for value in powers[index]] if count else None,
            "log_ratio": _log_ratios(powers[index], start[index]) if count else {},
        }
    lost = [member for member, is_finite in zip(members, mask, strict=True) if not is_finite]
    return {"variables": by_variable, "nonfinite_members": lost}


def mean_spectra(fields: Array, grid: Grid) -> list[NDArray[np.float64]]:
    """Return each variable's power by total wavenumber, mean over `fields` (field, variable, latitude, longitude)."""
    return list(_measure([fields], grid)[0])


def _measure(groups: Sequence[Array], grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean spectrum (variable, wavenumber) and the spread (variable) of the members of all groups.

    They are computed in blocks of members, for all variables at once, and copied from a GPU together. The spread is
    that of `diagnostics.scores.moments`, and 0 for one member.
    """
    xp, count = namespace(groups[0]), sum(len(group) for group in groups)
    power = total = squares = 0
    for block in _blocks(groups):
        power = power + xp.sum(spherical_spectrum(block, grid), axis=0)
        total = total + xp.sum(block, axis=0)
    mean = total / count
    for block in _blocks(groups):
        squares = squares + xp.sum((block - mean) ** 2, axis=0)
    variance = area_mean(squares, grid.area_weights) / max(count - 1, 1)
    figures = to_numpy(xp.concat([power / count, variance[:, None]], axis=1))
    return figures[:, :-1], np.sqrt(figures[:, -1])


def _blocks(groups: Sequence[Array]) -> Iterator[Array]:
    """Yield members of each group in float64, some at a time, (member, variable, latitude, longitude)."""
    for group in groups:
        xp, fields, size = namespace(group), group.shape[1], 8 * int(np.prod(group.shape[1:]))
        is_on_cpu = str(array_api_compat.device(group)) == "cpu"
        number = max(_BLOCK // fields if is_on_cpu else _DEVICE_BLOCK_BYTES // size, 1)
        for first in range(0, len(group), number):
            yield xp.astype(group[first : first + number], xp.float64)


def _log_ratios(power: NDArray[np.float64], start: NDArray[np.float64]) -> Mapping[str, float]:
    """Return the logarithm of `power` over `start` in each band in which both have power."""
    ratios = {}
    for band, (first, last) in BANDS.items():
        wavenumbers = slice(first, None if last is None else last + 1)
        current, initial = power[wavenumbers].sum(), start[wavenumbers].sum()
        if current > 0 and initial > 0:
            ratios[band] = float(np.log10(current / initial))
    return ratios
