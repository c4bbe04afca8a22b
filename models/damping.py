"""Damping of states by total wavenumber and by latitude, as a linear operator on fields and a shift of zonal means."""

import numpy as np
import torch
from torch import Tensor

from models.shapes import Fields
from weather.damping_spec import DampingSpec
from weather.grids import Grid
from weather.harmonics import analysis_matrices, harmonic_values


class Damping:
    """Multiply each spherical harmonic by the gain of its variable and total wavenumber, then change latitudes.

    Only the part that is taken away passes through the harmonics: what a grid has beyond its limit stays. A field is
    treated as a scalar, also if it is a wind component, as in the spectra of `diagnostics`. Then the departures from
    the zonal mean are multiplied by the gain of their variable and latitude, and the zonal mean is shifted.
    """

    def __init__(self, spec: DampingSpec, grid: Grid, device: torch.device) -> None:
        analysis, values = analysis_matrices(grid), harmonic_values(grid)
        removed = [(analysis * (1 - np.asarray(gains))) @ values for gains in spec.gains]
        self._removed = torch.from_numpy(np.stack(removed).astype(np.float32)).to(device)
        self._eddy_losses = None if spec.eddy_gains is None else _column(1 - np.asarray(spec.eddy_gains), device)
        self._shifts = None if spec.shifts is None else _column(np.asarray(spec.shifts), device)

    def __call__(self, states: Fields) -> Fields:
        """Return damped states, float32 (member, variable, latitude, longitude) on the operator's device.

        The call does not wait for the device. A member that is not finite becomes NaN everywhere.
        """
        waves = torch.view_as_real(torch.fft.rfft(states)[..., : self._removed.shape[1]])
        removed = torch.einsum("bvymp,vmyz->bvzmp", waves, self._removed).contiguous()
        damped: Fields = states - torch.fft.irfft(torch.view_as_complex(removed), n=states.shape[-1])
        if self._eddy_losses is not None:
            damped = damped - self._eddy_losses * (damped - damped.mean(dim=-1, keepdim=True))
        return damped if self._shifts is None else damped + self._shifts


def _column(values: np.ndarray, device: torch.device) -> Tensor:
    """Return values (variable, latitude) as a float32 tensor that is the same for all longitudes."""
    return torch.from_numpy(values.astype(np.float32)[:, :, None]).to(device)
