"""Gains by variable and total wavenumber, as a linear operator on fields."""

from collections.abc import Sequence

import numpy as np
import torch

from models.shapes import Fields
from weather.grids import Grid
from weather.harmonics import analysis_matrices, harmonic_values

_PRODUCTS = {"cuda": torch.float64}
"""Type of products by kind of device, if not float32: of that, a GPU rounds factors to TF32 if any thread allows it."""


class HarmonicGains:
    """Multiply each spherical harmonic by the gain of its variable and total wavenumber ℓ = 0 … L.

    Only the change passes through the harmonics: what a grid has beyond its limit L stays, and gains of 1 leave every
    bit. A field is treated as a scalar, also if it is a wind component, as in the spectra of `diagnostics`.
    """

    def __init__(self, gains: Sequence[Sequence[float]], grid: Grid, device: torch.device) -> None:
        analysis, values = analysis_matrices(grid), harmonic_values(grid)
        removed = [(analysis * (1 - np.asarray(of_variable))) @ values for of_variable in gains]
        self._removed = torch.from_numpy(np.stack(removed)).to(_PRODUCTS.get(device.type, torch.float32)).to(device)

    def __call__(self, fields: Fields, weight: float = 1.0) -> Fields:
        """Return changed fields, float32 (member, variable, latitude, longitude) on the operator's device.

        Of the change, the share `weight` is made: gains are 1 + weight·(gain − 1). The call does not wait for the
        device. A member that is not finite becomes NaN everywhere.
        """
        waves = torch.view_as_real(torch.fft.rfft(fields)[..., : self._removed.shape[1]])
        removed = torch.einsum("bvymp,vmyz->bvzmp", waves.to(self._removed.dtype), self._removed).float().contiguous()
        loss = torch.fft.irfft(torch.view_as_complex(removed), n=fields.shape[-1])
        changed: Fields = fields - (loss if weight == 1 else weight * loss)
        return changed
