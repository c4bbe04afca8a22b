"""What an ensemble looks like while it is made, without any truth: spread, power by scale, members that are lost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.arrays import area_mean
from diagnostics.sound import finite_mask, finite_members
from diagnostics.spectra import spherical_spectrum
from weather.grids import Grid

BANDS = {"planetary": (1, 10), "synoptic": (11, 40), "meso": (41, None)}
"""First and last total wavenumber of each band of scales."""

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

    Each of `groups` is (member, variable, latitude, longitude); `start` is the `mean_power` of the initial state.
    Members that are not finite everywhere are listed and left out. By variable: `spread` (None for fewer than two
    members), `power`, the mean spectrum of the members, and `log_ratio`, by band of scales, the logarithm (base 10) of
    their power over that of the initial state.
    """
    sound = [finite_members(group) for group in groups]
    count = sum(len(group) for group in sound)
    figures = {}
    for index, name in enumerate(variables):
        power = _mean_spectrum(sound, index, grid)
        figures[name] = {
            "spread": _spread([group[:, index] for group in sound], grid) if count > 1 else None,
            "power": [float(f"{value:.5g}") for value in power] if count else None,
            "log_ratio": _log_ratios(power, start[index]) if count else {},
        }
    there = np.concatenate([finite_mask(group) for group in groups])
    lost = [member for member, is_there in zip(members, there, strict=True) if not is_there]
    return {"variables": figures, "nonfinite_members": lost}


def mean_spectra(fields: Group, grid: Grid) -> list[NDArray[np.float64]]:
    """Return for each variable the mean spectrum of `fields`, (field, variable, latitude, longitude)."""
    return [_mean_spectrum([fields], index, grid) for index in range(fields.shape[1])]


def _mean_spectrum(groups: Sequence[Group], index: int, grid: Grid) -> NDArray[np.float64]:
    """Return the mean spectrum of a variable, a few of whose fields are transformed at once; empty without any."""
    total, count = np.zeros(0), sum(len(group) for group in groups)
    for group in groups:
        for first in range(0, len(group), _BLOCK):
            block = group[first : first + _BLOCK, index].astype(np.float64)
            power = np.asarray(spherical_spectrum(block, grid)).sum(axis=0)
            total = total + power if len(total) else power
    return total / max(count, 1)


def _spread(groups: Sequence[NDArray[np.float32]], grid: Grid) -> float:
    """Return `diagnostics.moments.spread` of fields in parts, without a copy of them all."""
    count = sum(len(group) for group in groups)
    mean = sum(np.sum(group, axis=0, dtype=np.float64) for group in groups) / count
    squares = sum((field - mean) ** 2 for group in groups for field in group)
    return float(np.sqrt(float(area_mean(squares / (count - 1), grid.area_weights))))


def _log_ratios(power: NDArray[np.float64], start: NDArray[np.float64]) -> Mapping[str, float]:
    ratios = {}
    for band, (first, last) in BANDS.items():
        chosen = slice(first, None if last is None else last + 1)
        now, then = power[chosen].sum(), start[chosen].sum()
        if now > 0 and then > 0:
            ratios[band] = float(np.log10(now / then))
    return ratios
