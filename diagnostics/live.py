"""Diagnostics of an ensemble while it is computed, without a truth: spread, spectra and lost members."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from diagnostics.finite_members import Apply, apply_to_finite
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
    apply: Apply = apply_to_finite,
) -> dict[str, Any]:
    """Return the diagnostics of a lead time, ready for JSON; `apply` computes them, where the groups are.

    Each of `groups` is (member, variable, latitude, longitude), numpy or torch; `start` is the `mean_spectra` of the
    initial state. `nonfinite_members` lists the members that are not finite everywhere; they are left out of the
    statistics. By variable, `spread` is None for fewer than two members, `power` is the members' mean spectrum, and
    `log_ratio` is, by band of scales, the logarithm (base 10) of the members' power over that of the initial state.
    """
    mask, figures = apply(("figures", grid), lambda finite: _measure(finite, grid), groups)
    powers, spreads = figures[:, :-1], np.sqrt(figures[:, -1])
    count = int(mask.sum())
    by_variable = {}
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
    return list(to_numpy(_measure([fields], grid))[:, :-1])


def _measure(groups: Sequence[Array], grid: Grid) -> Array:
    """Return of each variable the mean spectrum, then the variance of the members of all groups, float64 (variable, …).

    They are computed in blocks of members, for all variables at once. The variance is the square of the spread of
    `diagnostics.scores.moments`, and 0 for fewer than two members, as is all else for none.
    """
    xp, count = namespace(groups[0]), sum(len(group) for group in groups)
    if not count:
        shape = (groups[0].shape[1], grid.highest_wavenumber + 2)
        return xp.zeros(shape, dtype=xp.float64, device=array_api_compat.device(groups[0]))
    power = total = squares = 0
    for block in _blocks(groups):
        power = power + xp.sum(spherical_spectrum(block, grid), axis=0)
        total = total + xp.sum(block, axis=0)
    mean = total / count
    for block in _blocks(groups):
        squares = squares + xp.sum((block - mean) ** 2, axis=0)
    variance = area_mean(squares, grid.area_weights) / max(count - 1, 1)
    return xp.concat([power / count, variance[:, None]], axis=1)


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
