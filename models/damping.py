"""Damping of states by total wavenumber and by latitude, as a linear operator on fields and a shift of zonal means."""

import numpy as np
import torch
from torch import Tensor

from models.harmonic_gains import HarmonicGains
from models.shapes import Fields
from weather.damping_spec import DampingSpec
from weather.grids import Grid


class Damping:
    """Multiply each spherical harmonic by the gain of its variable and total wavenumber, then change latitudes.

    The departures from the zonal mean are multiplied by the gain of their variable and latitude, and the zonal mean is
    shifted.
    """

    def __init__(self, spec: DampingSpec, grid: Grid, device: torch.device) -> None:
        self._multiply = HarmonicGains(spec.gains, grid, device)
        self._eddy_losses = None if spec.eddy_gains is None else _column(1 - np.asarray(spec.eddy_gains), device)
        self._shifts = None if spec.shifts is None else _column(np.asarray(spec.shifts), device)

    def __call__(self, states: Fields) -> Fields:
        """Return damped states, float32 (member, variable, latitude, longitude) on the operator's device.

        The call does not wait for the device. A member that is not finite becomes NaN everywhere.
        """
        damped = self._multiply(states)
        if self._eddy_losses is not None:
            damped = damped - self._eddy_losses * (damped - damped.mean(dim=-1, keepdim=True))
        return damped if self._shifts is None else damped + self._shifts


def _column(values: np.ndarray, device: torch.device) -> Tensor:
    """Return values (variable, latitude) as a float32 tensor that is the same for all longitudes."""
    return torch.from_numpy(values.astype(np.float32)[:, :, None]).to(device)
