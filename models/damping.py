"""Damping of states by total wavenumber, as a linear operator on fields."""

import numpy as np
import torch

from models.shapes import Fields
from weather.damping_spec import DampingSpec
from weather.grids import Grid
from weather.harmonics import analysis_matrices, harmonic_values


class Damping:
    """Multiply each spherical harmonic of a field by the gain of its variable and total wavenumber.

    Only the part that is taken away passes through the harmonics: what a grid has beyond its limit stays. A field is
    treated as a scalar, also if it is a wind component, as in the spectra of `diagnostics`.
    """

    def __init__(self, spec: DampingSpec, grid: Grid, device: torch.device) -> None:
        analysis, values = analysis_matrices(grid), harmonic_values(grid)
        removed = [(analysis * (1 - np.asarray(gains))) @ values for gains in spec.gains]
        self._removed = torch.from_numpy(np.stack(removed).astype(np.float32)).to(device)

    def __call__(self, states: Fields) -> Fields:
        """Return damped states, float32 (member, variable, latitude, longitude) on the operator's device.

        The call does not wait for the device. A member that is not finite becomes NaN everywhere.
        """
        waves = torch.view_as_real(torch.fft.rfft(states)[..., : self._removed.shape[1]])
        removed = torch.einsum("bvymp,vmyz->bvzmp", waves, self._removed).contiguous()
        damped: Fields = states - torch.fft.irfft(torch.view_as_complex(removed), n=states.shape[-1])
        return damped
