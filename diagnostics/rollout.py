"""What an ensemble looks like while it is made, without any truth: spread, power by scale, members that are lost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.moments import spread
from diagnostics.spectra import spherical_spectrum
from weather.grids import Grid

BANDS = {"planetary": (1, 10), "synoptic": (11, 40), "meso": (41, None)}
"""First and last total wavenumber of each band of scales."""

_BLOCK = 8


def lead_time_figures(
    ensemble: NDArray[np.float32],
    initial: NDArray[np.float32],
    members: Sequence[int],
    variables: Sequence[str],
    grid: Grid,
) -> dict[str, Any]:
    """Return the diagnostics of a lead time, ready for JSON.

    `ensemble` is (member, variable, latitude, longitude), `initial` the newest analyses, (analysis, variable, latitude,
    longitude). Members that are not finite everywhere are listed and left out. By variable: `spread` (None for fewer
    than two members), `power`, the mean spectrum of the members, and `log_ratio`, by band of scales, the logarithm
    (base 10) of their power over that of the initial state.
    """
    finite: NDArray[np.bool_] = np.all(np.isfinite(ensemble), axis=(1, 2, 3))
    sound = ensemble if finite.all() else ensemble[finite]
    figures = {}
    for index, name in enumerate(variables):
        power = _mean_power(sound[:, index], grid)
        start = _mean_power(initial[:, index], grid)
        figures[name] = {
            "spread": spread(sound[:, index].astype(np.float64), grid.area_weights) if len(sound) > 1 else None,
            "power": [float(f"{value:.5g}") for value in power] if len(sound) else None,
            "log_ratio": _log_ratios(power, start) if len(sound) else {},
        }
    lost = [member for member, is_finite in zip(members, finite, strict=True) if not is_finite]
    return {"variables": figures, "nonfinite_members": lost}


def _mean_power(fields: NDArray[np.float32], grid: Grid) -> NDArray[np.float64]:
    """Return the mean spectrum of fields (field, latitude, longitude), a few of which are transformed at once."""
    blocks = (fields[first : first + _BLOCK].astype(np.float64) for first in range(0, len(fields), _BLOCK))
    totals = [np.asarray(spherical_spectrum(block, grid)).sum(axis=0) for block in blocks]
    return np.asarray(sum(totals) / len(fields)) if totals else np.zeros(0)


def _log_ratios(power: NDArray[np.float64], start: NDArray[np.float64]) -> Mapping[str, float]:
    ratios = {}
    for band, (first, last) in BANDS.items():
        chosen = slice(first, None if last is None else last + 1)
        now, then = power[chosen].sum(), start[chosen].sum()
        if now > 0 and then > 0:
            ratios[band] = float(np.log10(now / then))
    return ratios
